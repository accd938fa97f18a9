"""Which cgroup hierarchies this machine has, and where in them the worlds of this caller go.

Read only: nothing is made here. What a caller may use follows from three files of /proc and from
who may write which `cgroup.procs`; versions and names of distributions play no part.
"""

from __future__ import annotations

import os
import posixpath

from substrate.cgroups.owned import FOLDER
from substrate.errors import RefusedError, UnsupportedError, UsageError
from substrate.kernel import procfs
from substrate.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

UNIFIED, HYBRID, LEGACY = "unified", "hybrid", "legacy"
_DELEGATION_MARKS = ("trusted.delegate", "user.delegate")
_SCOPE_HINT = "systemd-run --user --scope -p Delegate=yes COMMAND"
_NAME_LIMIT = 255


@record
class Hierarchy:
    """The cgroup2 hierarchy as this process sees it; `mount` "" means there is none.

    `root` is the cgroup shown at the mount, `own` the caller's; both as in /proc/self/cgroup.
    `v1` are the controllers that v1 hierarchies hold: v2 cannot have them meanwhile.
    """

    mount: str
    root: str
    own: str
    v1: tuple[str, ...] = ()

    @property
    def mode(self) -> str:
        """`unified` (v2 alone), `hybrid` (v1 has controllers) or `legacy` (no v2 at all)."""
        if not self.mount:
            return LEGACY
        return HYBRID if self.v1 else UNIFIED

    @property
    def own_directory(self) -> str | None:
        """The directory of the caller's cgroup, None when the mount does not show it."""
        if not self.mount or ".." in self.own.split("/"):
            return None
        root = self.root.rstrip("/")
        if self.own != root and not self.own.startswith(root + "/"):
            return None
        return (self.mount + self.own[len(root) :]).rstrip("/")

    def why_not(self, controller: str) -> str:
        """Say why a controller is not offered."""
        if not self.mount:
            return "no cgroup2 file system is mounted"
        if controller in self.v1:
            return f"this machine's cgroup v1 hierarchies hold the {controller} controller"
        return f"the {controller} controller is not delegated to {self.mount}, or not in the kernel"


@record
class Place:
    """Where a world's cgroup goes: `parts` below the directory `base`, which is there already."""

    base: str
    parts: tuple[str, ...]

    @property
    def directory(self) -> str:
        """The whole path, to be stored before anything is made."""
        return posixpath.join(self.base, *self.parts)


def find_hierarchy() -> Hierarchy:
    """Return this machine's hierarchy."""
    return parse_hierarchy(
        _content("/proc/self/mountinfo"), _content("/proc/self/cgroup"), _content("/proc/cgroups")
    )


def parse_hierarchy(mountinfo: str, self_cgroup: str, controllers: str) -> Hierarchy:
    """Return the hierarchy that these files of /proc describe; see cgroups(7)."""
    mounts = [
        (line.point, line.root)
        for line in procfs.parse_mount_lines(mountinfo.splitlines())
        if line.type == "cgroup2" and "rw" in line.options
    ]
    own = "/"
    for line in self_cgroup.splitlines():
        if line.startswith("0::"):
            own = line[3:]
    v1 = [
        words[0]
        for words in (line.split() for line in controllers.splitlines() if line[:1] != "#")
        if len(words) == 4 and words[1] != "0"
    ]
    # The usual places first, then whatever there is; of equal ones the topmost mount.
    usual = {"/sys/fs/cgroup": 0, "/sys/fs/cgroup/unified": 1}
    mounts.reverse()
    mounts.sort(key=lambda entry: usual.get(entry[0], 2))
    mount, root = mounts[0] if mounts else ("", "/")
    return Hierarchy(mount, root, own, tuple(v1))


def choose_place(
    hierarchy: Hierarchy, cgroups_path: str | None, name: str, *, privileged: bool,
    base: str | None = None,
) -> Place:  # fmt: skip
    """Return where the world called `name` goes.

    An absolute `linux.cgroupsPath` is below the mount, a relative one below our folder; without
    one the world has its own name there. `base` overrides where our folder is. Raises
    `UnsupportedError` where nothing is delegated to the caller, `UsageError` for a bad path.
    """
    if not hierarchy.mount:
        message = "there is no cgroup2 file system that can be written"
        raise UnsupportedError(message, "boot with systemd.unified_cgroup_hierarchy=1")
    path = expand_slice(cgroups_path or name)
    parts = _parts(path)
    if not parts:
        message = f"linux.cgroupsPath is {path!r}: the root cgroup cannot be a world's"
        raise RefusedError(message, 'use a path like "/substrate/mine"')
    if path.startswith("/") and base is None:
        return Place(hierarchy.mount, parts)
    if base is None:
        base = hierarchy.mount if privileged else delegated_directory(hierarchy)
    return Place(base, (FOLDER, *parts))


def delegated_directory(
    hierarchy: Hierarchy, may_write: Callable[[str], bool] | None = None
) -> str:
    """Return the cgroup below which an ordinary caller may make others; raises UnsupportedError.

    The nearest one at or above the caller's own that was marked as delegated (systemd does), else
    the highest one with which the caller may do as it likes. A process can only be put into a
    cgroup when the caller may write the `cgroup.procs` of their common ancestor, so a subtree
    that the caller is not in would be of no use.
    """
    may_write = may_write or _may_write
    own = hierarchy.own_directory
    if own is None:
        message = f"this process's cgroup {hierarchy.own} is not below {hierarchy.mount}"
        raise UnsupportedError(message, "mount cgroup2 in this cgroup namespace")
    highest = None
    here = own
    while may_write(here):
        highest = here
        if is_delegated(here) or here == hierarchy.mount:
            break
        here = posixpath.dirname(here)
    if highest is None:
        message = f"the cgroup {own} is not delegated to uid {os.geteuid()}"
        raise UnsupportedError(message, _SCOPE_HINT)
    return highest


def is_delegated(directory: str) -> bool:
    """Whether whoever made the cgroup has marked it as somebody else's, as systemd does."""
    for mark in _DELEGATION_MARKS:
        try:
            if os.getxattr(directory, mark) == b"1":
                return True
        except OSError:  # not there, or not for us to see
            continue
    return False


def expand_slice(path: str) -> str:
    """Return the directory that systemd would use for `SLICE:PREFIX:NAME`; others unchanged.

    The form belongs to --systemd-cgroup, but engines send it whenever their own manager is
    systemd. `a-b.slice` lies in `a.slice`; see systemd.slice(5).
    """
    words = path.split(":")
    if len(words) != 3 or "/" in path:
        return path
    slice_, prefix, name = words
    parts: list[str] = []
    if slice_ not in ("", "-.slice"):
        names = slice_.removesuffix(".slice").split("-")
        parts = ["-".join(names[: count + 1]) + ".slice" for count in range(len(names))]
    unit = name if name.endswith(".slice") else f"{prefix}-{name}.scope" if prefix else name
    return "/" + "/".join([*parts, unit])


def _parts(path: str) -> tuple[str, ...]:
    parts = tuple(part for part in path.split("/") if part not in ("", "."))
    for part in parts:
        # The kernel's own files begin with the name of a controller; "cgroup." is the general one.
        if part == ".." or part.startswith("cgroup.") or len(part.encode()) > _NAME_LIMIT or (
            "\n" in part or "\0" in part
        ):  # fmt: skip
            message = f"linux.cgroupsPath is {path!r}: {part!r} cannot be part of it"
            raise UsageError(message, 'use a path like "/substrate/mine"')
    return parts


def _may_write(directory: str) -> bool:
    return all(
        os.access(f"{directory}/{name}", os.W_OK)
        for name in ("cgroup.procs", "cgroup.subtree_control")
    ) and os.access(directory, os.W_OK | os.X_OK)


def _content(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except FileNotFoundError:
        # A kernel without v1 has no /proc/cgroups.
        return ""
