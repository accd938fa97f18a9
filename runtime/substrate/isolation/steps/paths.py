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
        if not self.paths:
            return
        plan = out.plan
        # The host's null device by its own path, not one the image could have put in /dev
        # (CVE-2025-31133).
        null, blank = out.new_cell("null"), out.new_cell("blank")
        out.open_host("/dev/null", recursive=False, store=null)
        # Read-only, or a payload that is the host's uid 0 could change the mode of its node.
        set_attributes(out, null, MountOptions(flags_set=MountAttr.RDONLY | MountAttr.NOEXEC))
        attributes = MountAttr.RDONLY | MountAttr.NOSUID | MountAttr.NODEV | MountAttr.NOEXEC
        new_filesystem(out, "tmpfs", None, (("size", "4k"), ("mode", "0")), blank, attributes)
        for path in self.paths:
            target, opened = out.open(path, O.PATH, ignore=_MISSING)
            directory = out.new_cell("directory")
            kind = plan.call(
                "openat", target, plan.text("."), O.PATH | O.DIRECTORY | O.CLOEXEC, 0,
                store=directory, ignore=(errno.ENOTDIR,),
            )  # fmt: skip
            _cover(out, blank, target)
            done = plan.jump()
            plan.skip_to_here(kind)
            _cover(out, null, target)
            plan.skip_to_here(done)
            out.close(target)
            plan.skip_to_here(opened)
        out.close(null)
        out.close(blank)


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


def _cover(out: Lowering, source: Cell, target: Cell) -> None:
    """Mount a copy of a detached mount over a descriptor's file."""
    copy = out.new_cell("mask")
    flags = OpenTree.CLONE | OpenTree.CLOEXEC | At.EMPTY_PATH
    out.plan.call("open_tree", source, out.plan.text(""), flags, store=copy)
    out.move_mount(copy, target)
    out.close(copy)
