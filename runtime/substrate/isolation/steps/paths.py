"""Paths of /proc and /sys that the payload may not read, or not write."""

from __future__ import annotations

import errno

from substrate.bundle.mount_options import MountOptions
from substrate.isolation.steps.mounts import MOUNT_ATTR, new_filesystem, set_attributes
from substrate.kernel.constants import At, MountAttr, O, OpenTree
from substrate.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.isolation.lowering import Lowering
    from substrate.kernel.plan import Cell

_MISSING = (errno.ENOENT, errno.ENOTDIR)


@record
class MaskPaths:
    """Hide files behind /dev/null and directories behind an empty read-only tmpfs."""

    paths: tuple[str, ...]

    def describe(self) -> str:
        """Say what the step does."""
        return f"mask {len(self.paths)} paths"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        plan = out.plan
        for path in self.paths:
            target, opened = out.open(path, O.PATH, ignore=_MISSING)
            directory = out.new_cell("directory")
            kind = plan.call(
                "openat", target, plan.text("."), O.PATH | O.DIRECTORY | O.CLOEXEC, 0,
                store=directory, ignore=(errno.ENOTDIR,),
            )  # fmt: skip
            _cover_directory(out, target)
            done = plan.jump()
            plan.skip_to_here(kind)
            _cover_file(out, target)
            plan.skip_to_here(done)
            out.close(target)
            plan.skip_to_here(opened)


@record
class ReadOnlyPaths:
    """Make parts of the tree read-only by binding them on themselves."""

    paths: tuple[str, ...]

    def describe(self) -> str:
        """Say what the step does."""
        return f"make {len(self.paths)} paths read-only"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        plan = out.plan
        empty = plan.text("")
        flags = OpenTree.CLONE | OpenTree.CLOEXEC | At.EMPTY_PATH | At.RECURSIVE
        attributes = plan.constant(MOUNT_ATTR.pack(MountAttr.RDONLY, 0, 0, 0))
        for path in self.paths:
            target, opened = out.open(path, O.PATH, ignore=_MISSING)
            tree = out.new_cell("readonly")
            plan.call("open_tree", target, empty, flags, store=tree)
            plan.call(
                "mount_setattr", tree, empty, At.EMPTY_PATH | At.RECURSIVE, attributes,
                MOUNT_ATTR.size,
            )  # fmt: skip
            out.move_mount(tree, target)
            out.close(tree)
            out.close(target)
            plan.skip_to_here(opened)


def _cover_directory(out: Lowering, target: Cell) -> None:
    """Mount an empty directory over a descriptor's; a new one each: see `_cover_file`."""
    blank = out.new_cell("blank")
    attributes = MountAttr.RDONLY | MountAttr.NOSUID | MountAttr.NODEV | MountAttr.NOEXEC
    new_filesystem(out, "tmpfs", None, (("size", "4k"), ("mode", "0")), blank, attributes)
    out.move_mount(blank, target)
    out.close(blank)


def _cover_file(out: Lowering, target: Cell) -> None:
    """Mount the null device over a descriptor's file."""
    null = out.new_cell("null")
    # The host's, by its own path: not one the image could have put in /dev (CVE-2025-31133). Each
    # time anew: before Linux 6.15 a detached mount cannot be cloned.
    out.open_host("/dev/null", recursive=False, store=null)
    # Read-only, or a payload that is the host's uid 0 could change the mode of its node.
    set_attributes(out, null, MountOptions(flags_set=MountAttr.RDONLY | MountAttr.NOEXEC))
    out.move_mount(null, target)
    out.close(null)
