"""The mounts of host files for a world of root's, made by a process that still has root's rights.

The world's own processes could not: their user is a powerless one outside, who may not reach every
source, and only the initial user namespace can make an id-mapped mount. They are made on a stage
of their own, locked against the world, and returned as descriptors.

A mount's flags and its cover over what is below are locked only when a mount namespace is copied
into a less privileged user namespace (mount_namespaces(7); lock_mnt_tree() in fs/namespace.c):
not when a detached mount is attached there. So the stage makes one such passage. A payload with
CAP_SYS_ADMIN in its user namespace could otherwise remount /usr writable.
"""

from __future__ import annotations

import errno
import struct

from substrate.bundle.mount_options import MountOptions
from substrate.filesystem.layers import Layer, overlay_options
from substrate.isolation.steps.mounts import MOUNT_ATTR, new_filesystem, set_attributes
from substrate.isolation.steps.project import PROJECT_ATTRIBUTES
from substrate.isolation.steps.sending import send_descriptors
from substrate.kernel import messages
from substrate.kernel.constants import At, Clone, MountAttr, MoveMount, Ms, OpenTree
from substrate.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.isolation.lowering import Lowering
    from substrate.kernel.plan import Cell

# What mount_setattr(2) answers for a file system that has no id-mapped mounts.
NO_ID_MAPS = (errno.EINVAL, errno.EPERM, errno.EOPNOTSUPP)
MAP_PROJECT_IDS = "show the project with mapped ids"
STAGE_OVERLAY = "stage the overlay of "
_S_IFREG = 0o100000
_CAPABILITY_VERSION_3 = 0x20080522

# Whether a mount is id-mapped: not at all, where its file system can, or else the plan fails.
NEVER, WHERE_POSSIBLE, ALWAYS = "never", "where possible", "always"


@record
class SetStage:
    """A mount namespace with an empty directory for the mounts."""

    def describe(self) -> str:
        """Say what the step does."""
        return "set a stage for the mounts"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        plan = out.plan
        plan.call("unshare", Clone.NEWNS)
        # Not private: a mount that the bundle wants as a slave of the host's stays one.
        plan.call("mount", 0, plan.text("/"), 0, Ms.REC | Ms.SLAVE, 0)
        stage = plan.cell("stage")
        new_filesystem(out, "tmpfs", None, (("mode", "755"),), stage)
        empty = plan.text("")
        # Over "/": host paths keep resolving below it.
        plan.call("move_mount", stage, empty, At.FDCWD, plan.text("/"), MoveMount.F_EMPTY_PATH)
        # The working directory is what the copy of the namespace takes along.
        plan.call("fchdir", stage)


@record
class StageBind:
    """A file or directory of the host, with its attributes, as mount `number`."""

    number: int
    source: str
    options: MountOptions
    is_directory: bool
    id_maps: str = NEVER

    def describe(self) -> str:
        """Say what the step does."""
        return f"stage {self.source}"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        tree = out.new_cell(self.source)
        out.open_host(self.source, recursive=self.options.recursive_bind, store=tree)
        set_attributes(out, tree, self.options)
        if self.id_maps != NEVER:
            map_ids(out, tree, self.options, None if self.id_maps == ALWAYS else self.number)
        put_on_stage(out, tree, str(self.number), is_directory=self.is_directory)


@record
class StageOverlay:
    """The project's overlay as mount `number`. `owner` and `group` are the world's root outside.

    Not id-mapped when they are None.
    """

    number: int
    project: str
    owner: int | None = None
    group: int | None = None

    def describe(self) -> str:
        """Say what the step does."""
        return f"{STAGE_OVERLAY}{self.project}"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        tree = out.new_cell("overlay")
        # Named by the stage: no character of a host path can be taken for an option's.
        layer = Layer("layer/upper", "layer/work", "lower", "")
        new_overlay(out, overlay_options(layer), tree, self.owner, self.group)
        put_on_stage(out, tree, str(self.number), is_directory=True)


@record
class StageLayers:
    """The project and its layer, with mapped ids or not, for the overlay to be mounted over."""

    project: str
    layer: str
    mapped: bool

    def describe(self) -> str:
        """Say what the step does."""
        return MAP_PROJECT_IDS if self.mapped else f"stage {self.project} and its layer"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        for path, name in ((self.project, "lower"), (self.layer, "layer")):
            tree = out.new_cell(path)
            out.open_host(path, recursive=False, store=tree)
            if self.mapped:
                map_ids(out, tree, MountOptions(bind=True), None)
            put_on_stage(out, tree, name, is_directory=True)


@record
class StageProject:
    """The project itself as mount `number`, its ids mapped when `mapped`."""

    number: int
    path: str
    options: MountOptions
    mapped: bool

    def describe(self) -> str:
        """Say what the step does."""
        return MAP_PROJECT_IDS if self.mapped else f"stage {self.path}"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        maps = ALWAYS if self.mapped else NEVER
        StageBind(self.number, self.path, self.options, is_directory=True, id_maps=maps).lower(out)


@record
class PassIntoUserNamespace:
    """Copy the mount namespace into the world's user namespace, which locks every mount."""

    def describe(self) -> str:
        """Say what the step does."""
        return "lock the mounts against the world"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        out.plan.call("setns", out.plan.input("userns"), Clone.NEWUSER)
        out.plan.call("unshare", Clone.NEWNS)


@record
class ReturnMounts:
    """Send copies of the now locked mounts to the runtime."""

    count: int

    def describe(self) -> str:
        """Say what the step does."""
        return "return the locked mounts"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        plan = out.plan
        flags = OpenTree.CLONE | OpenTree.CLOEXEC | At.RECURSIVE
        send_descriptors(
            out, messages.READY, self.count,
            lambda number, cell: plan.call(
                "open_tree", At.FDCWD, plan.text(str(number)), flags, store=cell
            ),
        )  # fmt: skip


def new_overlay(
    out: Lowering,
    options: tuple[tuple[str, str | None], ...],
    tree: Cell,
    owner: int | None,
    group: int | None,
) -> None:
    """Make an overlay; over id-mapped layers as `owner` and `group`, the world's root outside."""
    if owner is None or group is None:
        new_filesystem(out, "overlay", None, options, tree, PROJECT_ATTRIBUTES)
        return
    # An overlay keeps the credentials of who mounts it, and over id-mapped layers they must be
    # ids the layers know: with fsuid 0 it would silently be read-only.
    plan = out.plan
    header = plan.data(struct.pack("=Ii", _CAPABILITY_VERSION_3, 0))
    sets = plan.data(bytes(24))
    plan.call("capget", header, sets)
    plan.call("setfsgid", group)
    plan.call("setfsuid", owner)
    # Leaving fsuid 0 took the file capabilities out of the effective set.
    plan.call("capset", header, sets)
    new_filesystem(out, "overlay", None, options, tree, PROJECT_ATTRIBUTES)
    plan.call("setfsuid", 0)
    plan.call("setfsgid", 0)


def map_ids(out: Lowering, tree: Cell, options: MountOptions, number: int | None) -> None:
    """Show a mount's files with the ids of the world's user namespace.

    With a number, a file system that cannot is reported by it and the plan goes on: what root
    owns there shows as nobody's, so the world may read what everybody may, and write nothing.
    """
    plan = out.plan
    attributes = plan.data(MOUNT_ATTR.pack(MountAttr.IDMAP, 0, 0, 0))
    # struct mount_attr ends in the user namespace's descriptor.
    plan.input_at("userns", attributes.offset + 24)
    recursive = At.RECURSIVE if options.recursive_bind else 0
    mapped = plan.call(
        "mount_setattr", tree, plan.text(""), At.EMPTY_PATH | recursive, attributes,
        MOUNT_ATTR.size, ignore=() if number is None else NO_ID_MAPS,
    )  # fmt: skip
    if number is None:
        return
    done = plan.jump()
    plan.skip_to_here(mapped)
    message = plan.constant(messages.pack(messages.UNMAPPED, number))
    plan.call("write", out.sync, message, messages.SIZE, expect=messages.SIZE)
    plan.skip_to_here(done)


def put_on_stage(out: Lowering, tree: Cell, name: str, *, is_directory: bool) -> None:
    """Attach a mount on the stage under a name."""
    plan, stage, text = out.plan, out.plan.cell("stage"), out.plan.text(name)
    if is_directory:
        plan.call("mkdirat", stage, text, 0o755)
    else:
        plan.call("mknodat", stage, text, _S_IFREG | 0o644, 0)
    plan.call("move_mount", tree, plan.text(""), stage, text, MoveMount.F_EMPTY_PATH)
    out.close(tree)
