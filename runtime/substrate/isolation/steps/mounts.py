"""The world's file system tree: root, mounts, propagation."""

from __future__ import annotations

import struct

from substrate.kernel.constants import At, Fsconfig, MountAttr, MoveMount, Ms, O
from substrate.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.bundle.mount_options import MountOptions
    from substrate.isolation.lowering import Lowering
    from substrate.kernel.plan import Cell

_ANCHORS = (("proc", "/proc"), ("sysfs", "/sys"))
MOUNT_ATTR = struct.Struct("=4Q")


@record
class SetPropagation:
    """Set how mounts propagate between the world's tree and its parents."""

    flags: int

    def describe(self) -> str:
        """Say what the step does."""
        return "set the propagation of all mounts"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        out.plan.call("mount", 0, out.plan.text("/"), 0, self.flags, 0)


@record
class AttachDirectoryRoot:
    """Make a directory of the host the world's root.

    `from_runtime`: it comes as a descriptor. `nodev`: device nodes of the image are dead.
    """

    path: str
    from_runtime: bool = False
    nodev: bool = False

    def describe(self) -> str:
        """Say what the step does."""
        return f"use {self.path} as the root file system"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        if self.from_runtime:
            tree = out.plan.cell("mount:root")
        else:
            tree = out.new_cell("root")
            out.open_host(self.path, recursive=True, store=tree)
        if self.nodev:
            _mount_setattr(out, tree, MountAttr.NODEV, 0, At.RECURSIVE)
        _attach_root(out, tree)


@record
class AttachSkeletonRoot:
    """Make an empty tmpfs the world's root, for the host's directories to be attached in."""

    def describe(self) -> str:
        """Say what the step does."""
        return "make an empty root file system"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        tree = out.new_cell("skeleton")
        new_filesystem(out, "tmpfs", None, (("mode", "755"), ("size", "1m")), tree)
        _attach_root(out, tree)
        out.claim_root()


@record
class MakeSymlink:
    """A symlink of the skeleton, such as /bin -> usr/bin."""

    path: str
    target: str

    def describe(self) -> str:
        """Say what the step does."""
        return f"link {self.path} to {self.target}"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        out.make_directory(self.path.rpartition("/")[0])
        out.make_symlink(self.path, self.target)


@record
class MakeDirectory:
    """A directory of the world that something later needs to be there."""

    path: str
    mode: int = 0o755

    def describe(self) -> str:
        """Say what the step does."""
        return f"make the directory {self.path}"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        out.make_directory(self.path, self.mode)


@record
class BindMount:
    """A file or directory of the host in the world.

    `name` is set when the runtime prepared it, with its attributes, and sent it as a descriptor.
    """

    source: str
    destination: str
    options: MountOptions
    is_directory: bool
    name: str | None = None

    def describe(self) -> str:
        """Say what the step does."""
        return f"bind {self.source} on {self.destination}"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        if self.name is not None:
            tree = out.plan.cell(f"mount:{self.name}")
        else:
            tree = out.new_cell(self.source)
            out.open_host(self.source, recursive=self.options.recursive_bind, store=tree)
            set_attributes(out, tree, self.options)
        out.attach(tree, self.destination, is_directory=self.is_directory)
        set_propagation(out, tree, self.options.propagation)
        out.close(tree)


@record
class FilesystemMount:
    """A new instance of a file system (proc, tmpfs, devpts, …) in the world."""

    type: str
    source: str | None
    destination: str
    options: MountOptions

    def describe(self) -> str:
        """Say what the step does."""
        return f"mount {self.type} on {self.destination}"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        data = self.options.data + _superblock_flags(self.options)
        # /proc/sys is written through this handle, never through a path of the world.
        is_proc = self.type == "proc" and self.destination == "/proc"
        tree = out.proc if is_proc else out.new_cell(self.type)
        new_filesystem(out, self.type, self.source, data, tree, self.options.flags_set)
        out.attach(tree, self.destination, ours=self.type == "tmpfs")
        set_propagation(out, tree, self.options.propagation)
        if (self.type, self.destination) in _ANCHORS:
            out.anchors[self.destination] = tree
        else:
            out.close(tree)


@record
class RemountAttributes:
    """Change the attributes of a mount that is in the world already (option `remount`)."""

    destination: str
    options: MountOptions

    def describe(self) -> str:
        """Say what the step does."""
        return f"change the mount options of {self.destination}"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        target, _ = out.open(self.destination, O.PATH)
        set_attributes(out, target, self.options)
        out.close(target)


@record
class ReadOnlyRoot:
    """Make the root mount itself read-only; what is mounted below keeps its own attributes."""

    def describe(self) -> str:
        """Say what the step does."""
        return "make the root file system read-only"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        _mount_setattr(out, out.root, MountAttr.RDONLY, 0, 0)


@record
class PivotRoot:
    """Make the new tree the root and let go of the old one."""

    pivot: bool
    propagation: int

    def describe(self) -> str:
        """Say what the step does."""
        return "switch to the new root file system"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        out.plan.call("fchdir", out.root)
        dot = out.plan.text(".")
        if self.pivot:
            # pivot_root(2), "pivot_root(\".\", \".\")": the old root ends up on top of the new
            # one, and is detached from there, so no directory is needed to hold it.
            out.plan.call("pivot_root", dot, dot)
            # Before the detaching, or the unmounting would propagate to the host.
            out.plan.call("mount", 0, dot, 0, Ms.SLAVE | Ms.REC, 0)
            out.plan.call("umount2", dot, 2)
        else:
            # The new root already covers the old one's "/"; only reachable by a chroot escape.
            out.plan.call("chroot", dot)
        out.plan.call("chdir", out.plan.text("/"))
        if self.propagation:
            out.plan.call("mount", 0, out.plan.text("/"), 0, self.propagation, 0)


def new_filesystem(
    out: Lowering,
    type_: str,
    source: str | None,
    data: tuple[tuple[str, str | None], ...],
    mount: Cell,
    attributes: int = 0,
) -> None:
    """Create a file system; its detached mount is put into the cell `mount`."""
    context = new_context(out, type_, source, data)
    out.plan.call("fsmount", context, Fsconfig.FSMOUNT_CLOEXEC, attributes, store=mount)
    out.close(context)


def new_context(
    out: Lowering, type_: str, source: str | None, data: tuple[tuple[str, str | None], ...]
) -> Cell:
    """Create a file system and return the cell of its context, which holds it until it is closed.

    Nothing is mounted yet.
    """
    plan = out.plan
    context = out.new_cell(f"fs:{type_}")
    plan.call("fsopen", plan.text(type_), Fsconfig.FSOPEN_CLOEXEC, store=context)
    if source and type_ not in ("proc", "sysfs", "mqueue", "devpts", "tmpfs", "cgroup2"):
        plan.call(
            "fsconfig", context, Fsconfig.SET_STRING, plan.text("source"), plan.text(source), 0
        )
    for key, value in data:
        if value is None:
            plan.call("fsconfig", context, Fsconfig.SET_FLAG, plan.text(key), 0, 0)
        else:
            text = plan.text(value)
            plan.call("fsconfig", context, Fsconfig.SET_STRING, plan.text(key), text, 0)
    plan.call("fsconfig", context, Fsconfig.CMD_CREATE, 0, 0, 0)
    return context


def set_attributes(out: Lowering, tree: Cell, options: MountOptions) -> None:
    """Set the attributes of a mount, then those of its whole tree."""
    if options.flags_set or options.flags_clear:
        _mount_setattr(out, tree, options.flags_set, options.flags_clear, 0)
    if options.recursive_set or options.recursive_clear:
        _mount_setattr(out, tree, options.recursive_set, options.recursive_clear, At.RECURSIVE)


def set_propagation(out: Lowering, tree: Cell, flags: int) -> None:
    """Set a mount's propagation type, when one was asked for."""
    if flags:
        recursive = At.RECURSIVE if flags & Ms.REC else 0
        _mount_setattr(out, tree, 0, 0, recursive, flags & ~Ms.REC)


def _mount_setattr(
    out: Lowering, tree: Cell, set_: int, clear: int, flags: int, propagation: int = 0
) -> None:
    attributes = out.plan.constant(MOUNT_ATTR.pack(set_, clear, propagation, 0))
    out.plan.call(
        "mount_setattr", tree, out.plan.text(""), At.EMPTY_PATH | flags, attributes,
        MOUNT_ATTR.size,
    )  # fmt: skip


def _superblock_flags(options: MountOptions) -> tuple[tuple[str, str | None], ...]:
    names = {Ms.SYNCHRONOUS: "sync", Ms.DIRSYNC: "dirsync", Ms.LAZYTIME: "lazytime"}
    return tuple((name, None) for bit, name in names.items() if options.sb_flags & bit)


def _attach_root(out: Lowering, tree: Cell) -> None:
    # On top of "/": our own root directory stays the one below, so host paths keep resolving
    # until pivot_root, and no directory is needed that the mapped user may reach.
    out.plan.call(
        "move_mount", tree, out.plan.text(""), At.FDCWD, out.plan.text("/"), MoveMount.F_EMPTY_PATH
    )
    # From here on every path of the world is resolved below this descriptor.
    out.root = tree
