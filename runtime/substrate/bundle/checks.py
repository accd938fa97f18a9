"""The rules of a bundle that a schema cannot say: what one value demands of another.

Each check takes the raw configuration and yields `<JSON path>: expected ...` for every fault; a
value of the wrong type reads as absent, its type is the schema's and the parser's business. The
rules of the `substrate` object are in `extension_checks.py`. Cheap to import: the runtime runs
them on every create.
"""

from __future__ import annotations

import os

from substrate.bundle.extension_checks import EXTENSION_CHECKS
from substrate.bundle.fields import child, describe
from substrate.bundle.mount_options import parse_mount_options
from substrate.bundle.sysctl import sysctl_owner, sysctl_path
from substrate.bundle.view import View
from substrate.errors import BundleError
from substrate.kernel.capabilities import CAPABILITIES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

LONGEST_UTS_NAME = 64
CAPABILITY_SETS = ("bounding", "effective", "inheritable", "permitted", "ambient")
RLIMITS = (
    "RLIMIT_AS",
    "RLIMIT_CORE",
    "RLIMIT_CPU",
    "RLIMIT_DATA",
    "RLIMIT_FSIZE",
    "RLIMIT_LOCKS",
    "RLIMIT_MEMLOCK",
    "RLIMIT_MSGQUEUE",
    "RLIMIT_NICE",
    "RLIMIT_NOFILE",
    "RLIMIT_NPROC",
    "RLIMIT_RSS",
    "RLIMIT_RTPRIO",
    "RLIMIT_RTTIME",
    "RLIMIT_SIGPENDING",
    "RLIMIT_STACK",
)
PROPAGATIONS = ("private", "shared", "slave", "unbindable")
HOOK_POINTS = (
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
)
ID_LIMIT = 1 << 32
# user_namespaces(7): lines in uid_map and gid_map since Linux 4.15.
MOST_MAPPINGS = 340


def check_config(data: Any) -> list[str]:
    """Return the faults of a configuration, each as `<JSON path>: expected ...`."""
    if not isinstance(data, dict):
        # The one thing there is to say of it is for the schema to say.
        return []
    config = View(data, "$")
    problems = list(_unsayable(data, "$"))
    for check in CHECKS:
        problems.extend(check(config))
    return problems


def check_process(data: Any, where: str = "$.process") -> list[str]:
    """Return the faults of a `process` object; the file of `exec --process` is one by itself."""
    process = View(data, where)
    return list(_unsayable(data, where)) + list(_process_faults(process))


def _unsayable(data: Any, where: str) -> Iterator[str]:
    """Find strings no system call can take, wherever they are."""
    # A stack, not recursion: depth is the file's choice. A place is (place above, key), made
    # into a path only for a fault: a seccomp filter alone has hundreds of strings.
    stack: list[tuple[Any, Any]] = [((None, where), data)]
    while stack:
        place, value = stack.pop()
        if isinstance(value, str):
            if "\0" in value:
                yield f"{_path(place)}: expected a string without NUL, got {describe(value)}"
            elif not value.isascii() and not _is_encodable(value):
                yield f"{_path(place)}: expected Unicode text, got half of a surrogate pair"
        elif isinstance(value, dict):
            for key in reversed(value):
                stack.append(((place, key), value[key]))
                stack.append(((place, key), key))
        elif isinstance(value, list):
            stack.extend(
                ((place, number), value[number]) for number in range(len(value) - 1, -1, -1)
            )


def _path(place: Any) -> str:
    keys: list[str | int] = []
    while place[0] is not None:
        place, key = place
        keys.append(key)
    path: str = place[1]
    for key in reversed(keys):
        path = child(path, key)
    return path


def _is_encodable(text: str) -> bool:
    # U+DC80 to U+DCFF stand for the bytes of a name that is not UTF-8 (PEP 383).
    return not any(
        "\ud800" <= letter <= "\udfff" and not "\udc80" <= letter <= "\udcff" for letter in text
    )


def _check_version(config: View) -> Iterator[str]:
    version = config.text("ociVersion")
    if version and not version.startswith("1."):
        yield f"$.ociVersion: expected version 1 of the specification, got {describe(version)}"


def _check_process(config: View) -> Iterator[str]:
    if config.has("process"):
        yield from _process_faults(config.object("process"))


def _process_faults(process: View) -> Iterator[str]:
    yield from _absolute(process, "cwd")
    for number, (path, word) in enumerate(process.texts("args")):
        if number == 0 and not word:
            yield f"{path}: expected the name of a program, got an empty string"
    for path, entry in process.texts("env"):
        if entry.find("=") < 1:
            yield f"{path}: expected NAME=value, got {describe(entry)}"
    yield from _capability_faults(process.object("capabilities"))
    yield from _rlimit_faults(process.objects("rlimits"))


def _capability_faults(sets: View) -> Iterator[str]:
    for key in CAPABILITY_SETS:
        for path, name in sets.texts(key):
            if name not in CAPABILITIES:
                yield f"{path}: expected a capability like CAP_CHOWN, got {describe(name)}"


def _rlimit_faults(limits: list[View]) -> Iterator[str]:
    seen: set[str] = set()
    for limit in limits:
        type_, soft, hard = limit.text("type"), limit.integer("soft"), limit.integer("hard")
        if type_ and type_ not in RLIMITS:
            yield f"{limit.at('type')}: expected one of {', '.join(RLIMITS)}, got {describe(type_)}"
        if type_ in seen:
            yield f"{limit.at('type')}: {type_} is there twice"
        seen.add(type_)
        if soft is not None and hard is not None and soft > hard:
            yield f"{limit.at('soft')}: expected at most the hard limit {hard}, got {soft}"


def _check_mounts(config: View) -> Iterator[str]:
    for mount in config.objects("mounts"):
        if "destination" in mount.data and not mount.text("destination"):
            yield f"{mount.at('destination')}: expected a path in the world"
        elif config.has("substrate"):
            # The deprecated relative form is for old OCI bundles alone.
            yield from _absolute(mount, "destination")
        options = [word for _, word in mount.texts("options")]
        type_ = mount.text("type")
        try:
            parsed = parse_mount_options(options, type_, mount.at("options"))
        except BundleError as error:
            yield from error.problems
            continue
        if parsed.bind and not mount.text("source"):
            yield f"{mount.path}: expected a source for a bind mount"
        if not (parsed.bind or parsed.remount or parsed.propagation or type_):
            yield f"{mount.path}: expected a type, or the option bind"
        if mount.has("uidMappings") != mount.has("gidMappings"):
            yield f"{mount.path}: expected both uidMappings and gidMappings, or neither"
        for key in ("uidMappings", "gidMappings"):
            yield from _mapping_faults(mount, key)


def _check_hooks(config: View) -> Iterator[str]:
    hooks = config.object("hooks")
    for point in HOOK_POINTS:
        for hook in hooks.objects(point):
            yield from _absolute(hook, "path")
            for path, entry in hook.texts("env"):
                if entry.find("=") < 1:
                    yield f"{path}: expected NAME=value, got {describe(entry)}"


def _check_namespaces(config: View) -> Iterator[str]:
    linux = config.object("linux")
    seen: set[str] = set()
    for namespace in linux.objects("namespaces"):
        type_ = namespace.text("type")
        if type_ in seen:
            yield f"{namespace.at('type')}: the namespace {type_} is there twice"
        seen.add(type_)
        if namespace.text("path"):
            yield from _absolute(namespace, "path")
    demands = (
        (config, "hostname", "uts"),
        (config, "domainname", "uts"),
        (linux, "timeOffsets", "time"),
    )
    for view, key, type_ in demands:
        if view.data.get(key) and type_ not in seen:
            yield f"{view.at(key)}: expected a {type_} namespace in $.linux.namespaces"
    for key in ("hostname", "domainname"):
        # __NEW_UTS_LEN of the kernel.
        if len(os.fsencode(config.text(key))) > LONGEST_UTS_NAME:
            yield f"{config.at(key)}: expected at most {LONGEST_UTS_NAME} bytes"


def _check_mappings(config: View) -> Iterator[str]:
    linux = config.object("linux")
    user = [space for space in linux.objects("namespaces") if space.text("type") == "user"]
    mapped = [key for key in ("uidMappings", "gidMappings") if linux.data.get(key)]
    if mapped and not user:
        yield f"{linux.at(mapped[0])}: expected a user namespace in $.linux.namespaces"
    if len(mapped) == 1:
        yield f"{linux.path}: expected both uidMappings and gidMappings, or neither"
    if user and not mapped and not user[0].text("path") and not config.has("substrate"):
        # With a substrate object the runtime computes the mapping from who calls.
        yield f"{linux.path}: expected uidMappings and gidMappings for the user namespace"
    for key in mapped:
        yield from _mapping_faults(linux, key)


def _mapping_faults(view: View, key: str) -> Iterator[str]:
    mappings = view.objects(key)
    if len(mappings) > MOST_MAPPINGS:
        yield f"{view.at(key)}: expected at most {MOST_MAPPINGS} mappings, got {len(mappings)}"
    for side in ("containerID", "hostID"):
        ranges: list[tuple[int, int, str]] = []
        for mapping in mappings:
            first, size = mapping.integer(side), mapping.integer("size")
            if first is None or size is None:
                continue
            if size < 1 and side == "containerID":
                yield f"{mapping.at('size')}: expected at least 1, got {size}"
            if first + size > ID_LIMIT:
                yield f"{mapping.at(side)}: expected ids below 2^32, got {first} + {size}"
            ranges.append((first, first + size, mapping.at(side)))
        previous = (0, 0, "")
        for current in sorted(ranges):
            if current[0] < previous[1]:
                yield f"{current[2]}: overlaps the range of {previous[2]}"
            previous = current


def _check_sysctls(config: View) -> Iterator[str]:
    linux = config.object("linux")
    own = {space.text("type") for space in linux.objects("namespaces")}
    sysctls = linux.object("sysctl")
    for name in sysctls.data:
        where = sysctls.at(name)
        path = sysctl_path(name)
        if path is None:
            yield f"{where}: expected the name of a sysctl; it contains an invalid path"
            continue
        owner = sysctl_owner(path)
        if path == "kernel/hostname":
            yield f"{where}: expected the host name in $.hostname"
        elif owner is None:
            yield f"{where}: expected a sysctl of a namespace; this one belongs to the host"
        elif owner not in own:
            yield f"{where}: expected a {owner} namespace in $.linux.namespaces"


def _check_devices(config: View) -> Iterator[str]:
    for device in config.object("linux").objects("devices"):
        yield from _absolute(device, "path")
        # A FIFO may carry numbers: engines pass what stat(2) told them.
        if device.text("type") in {"c", "b", "u"}:
            for key in ("major", "minor"):
                if device.integer(key) is None:
                    yield f"{device.at(key)}: expected the {key} number of a device"


def _check_paths(config: View) -> Iterator[str]:
    linux = config.object("linux")
    for key in ("maskedPaths", "readonlyPaths"):
        for path, value in linux.texts(key):
            if not value.startswith("/"):
                yield f"{path}: expected an absolute path, got {describe(value)}"
    if ".." in linux.text("cgroupsPath").split("/"):
        yield f"{linux.at('cgroupsPath')}: expected a path without .."
    propagation = linux.text("rootfsPropagation")
    if propagation and propagation.removeprefix("r") not in PROPAGATIONS:
        expected = f"one of {', '.join(PROPAGATIONS)}, with r in front or not"
        where = linux.at("rootfsPropagation")
        yield f"{where}: expected {expected}, got {describe(propagation)}"


def _check_root(config: View) -> Iterator[str]:
    host_view = config.object("substrate").object("rootfs").text("kind") == "host"
    if host_view and config.has("root"):
        yield "$.root: expected no root directory: $.substrate.rootfs.kind is host"
    elif not host_view and not config.has("root"):
        yield "$: root is missing"
    root = config.object("root")
    if "path" in root.data and root.data["path"] == "":
        yield "$.root.path: expected a directory, got an empty string"


def _absolute(view: View, key: str) -> Iterator[str]:
    value = view.data.get(key)
    if isinstance(value, str) and not value.startswith("/"):
        yield f"{view.at(key)}: expected an absolute path, got {describe(value)}"


CHECKS: tuple[Callable[[View], Iterator[str]], ...] = (
    _check_version,
    _check_process,
    _check_root,
    _check_mounts,
    _check_hooks,
    _check_namespaces,
    _check_mappings,
    _check_sysctls,
    _check_devices,
    _check_paths,
    *EXTENSION_CHECKS,
)
