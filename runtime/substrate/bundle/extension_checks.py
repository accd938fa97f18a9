"""The rules of the `substrate` object that a schema cannot say; see `checks.py`."""

from __future__ import annotations

from substrate.bundle.degradable import is_degradable, known_names
from substrate.bundle.fields import describe
from substrate.domains import EXAMPLES, domain_fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from substrate.bundle.view import View

FILTERING = ("filtered", "pinned")
NAME_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")


def _check_project(config: View) -> Iterator[str]:
    project = config.object("substrate").object("project")
    at = project.text("at")
    if at and (not at.startswith("/") or ".." in at.split("/")):
        yield f"{project.at('at')}: expected an absolute path without .., got {describe(at)}"
    patterns = (entry for key in ("deny", "readonly", "risky") for entry in project.texts(key))
    for path, pattern in patterns:
        if not pattern or pattern.startswith("/") or ".." in pattern.split("/"):
            yield f"{path}: expected a pattern relative to the project, got {describe(pattern)}"


def _check_rootfs(config: View) -> Iterator[str]:
    rootfs = config.object("substrate").object("rootfs")
    for key in ("expose", "hide"):
        entries = rootfs.texts(key)
        if entries and rootfs.text("kind") != "host":
            yield f"{rootfs.at(key)}: expected {rootfs.at('kind')} to be host"
        for path, value in entries:
            absolute = value.startswith(("/", "~/"))
            if not absolute or ".." in value.split("/"):
                expected = "an absolute path, or one below ~/, without .."
                yield f"{path}: expected {expected}, got {describe(value)}"


def _check_network(config: View) -> Iterator[str]:
    network = config.object("substrate").object("network")
    mode = network.text("mode")
    if network.has("allowedDomains") and not mode:
        mode = "filtered"
    for key in ("allowedDomains", "denied"):
        entries = network.texts(key)
        if network.has(key) and mode not in FILTERING:
            yield f"{network.at(key)}: expected {network.at('mode')} to be filtered or pinned"
        for path, entry in entries:
            # The one list that allows all; it cannot be narrowed by other entries.
            if key == "allowedDomains" and entry == "*" and len(entries) == 1:
                continue
            fault = domain_fault(entry)
            if fault:
                yield f"{path}: expected {EXAMPLES}, got {describe(entry)}: {fault}"
    spaces = config.object("linux").objects("namespaces")
    own = [space for space in spaces if space.text("type") == "network"]
    if mode == "host" and own:
        yield f"{network.at('mode')}: host expects no network namespace in $.linux.namespaces"
    elif mode in {"none", *FILTERING} and not own:
        yield f"{network.at('mode')}: {mode} expects a network namespace in $.linux.namespaces"
    elif mode in FILTERING and own[0].text("path"):
        yield f"{network.at('mode')}: {mode} expects a network namespace of the world's own"


def _check_seccomp(config: View) -> Iterator[str]:
    seccomp = config.object("substrate").object("seccomp")
    profile = seccomp.text("profile")
    if profile and not _is_name(profile):
        yield f"{seccomp.at('profile')}: expected the name of a profile, got {describe(profile)}"
    if profile and config.object("linux").has("seccomp"):
        yield f"{seccomp.at('profile')}: expected no $.linux.seccomp beside it: one filter decides"


def _check_degraded(config: View) -> Iterator[str]:
    for path, name in config.object("substrate").texts("allowDegraded"):
        if not is_degradable(name):
            yield f"{path}: expected one of {known_names()}, got {describe(name)}"


def _is_name(text: str) -> bool:
    return bool(text) and NAME_LETTERS.issuperset(text) and text[0] != "-" and len(text) <= 64


EXTENSION_CHECKS: tuple[Callable[[View], Iterator[str]], ...] = (
    _check_project,
    _check_rootfs,
    _check_network,
    _check_seccomp,
    _check_degraded,
)
