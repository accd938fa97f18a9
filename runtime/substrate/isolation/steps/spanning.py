"""A span's own view of the project: a fresh layer over all earlier ones, for its processes alone.

The overlay is made where the host's directories are still in reach and carried into the world as
a descriptor, so that nothing inside can name a layer. It takes the place of the mount the world
has there, in a mount namespace of the span's own: the layer lives exactly as long as somebody can
write to it.
"""

from __future__ import annotations

import struct

from substrate.filesystem.layers import Stacked, lower_layers, short_names, stack_options
from substrate.isolation.steps.mounts import new_context, new_filesystem
from substrate.isolation.steps.project import PROJECT_ATTRIBUTES, pinned
from substrate.isolation.steps.staging import new_overlay, put_on_stage
from substrate.kernel.constants import At, Clone, MoveMount, Ms, O, OpenTree, Resolve
from substrate.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.isolation.lowering import Lowering
    from substrate.kernel.plan import Cell

CHECK_AT_REST = "check that nobody writes to the layer before"
MAKE_LAYER = "make the span's layer over "
# The cell the finished overlay is carried in.
OVERLAY = "overlay of the span"
_MNT_DETACH = 2
# See `steps/project.py`.
_PROJECT_FD, _DATA_FD = 1000, 1001
_MERGED = "merged"
_PROBE = "probe"
_OPEN_HOW = struct.Struct("=3Q")


@record
class SpanOverlay:
    """The layers of a span, and how they are mounted.

    `data` is the world's data directory; `stack` names the directories of the layers relative to
    it. `before` is the layer that must be at rest, "" for none. `protected` is what of the project
    is read-only, relative to it. `owner` and `group` are the world's root outside where the layers
    are id-mapped. `in_one_option`: before Linux 6.5 the layers below are one option and cannot be
    named one by one.
    """

    project: str
    at: str
    data: str
    stack: Stacked
    before: str
    rootful: bool
    own_userns: bool
    owner: int | None = None
    group: int | None = None
    protected: tuple[str, ...] = ()
    in_one_option: bool = False


@record
class MakeSpanOverlay:
    """Mount the layers as root, on the stage where `StageLayers` has put them."""

    overlay: SpanOverlay

    def describe(self) -> str:
        """Say what the step does."""
        return MAKE_LAYER + self.overlay.project

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        overlay = self.overlay
        names = _link_short_names(out, overlay, out.plan.cell("stage"), "lower", "layer")
        options = stack_options(overlay.stack, "lower", "layer", userxattr=False, names=names)
        tree = out.plan.cell(OVERLAY)
        new_overlay(out, options, tree, overlay.owner, overlay.group)
        if overlay.own_userns:
            put_on_stage(out, tree, _MERGED, is_directory=True)


@record
class CheckAtRest:
    """Fail with EBUSY while the layer before is mounted: then somebody can still write to it.

    The kernel knows it exactly, whatever namespaces and descriptors are involved: with `index=on`
    it refuses a lower directory that is an upper one elsewhere (ovl_report_in_use).
    """

    before: str

    def describe(self) -> str:
        """Say what the step does."""
        return CHECK_AT_REST

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        plan, stage = out.plan, out.plan.cell("stage")
        for name in (_PROBE, f"{_PROBE}/upper", f"{_PROBE}/work"):
            plan.call("mkdirat", stage, plan.text(name), 0o700)
        options = (
            ("lowerdir", f"layer/{self.before}/upper"),
            ("upperdir", f"{_PROBE}/upper"),
            ("workdir", f"{_PROBE}/work"),
            ("index", "on"),
            # Or its end would write all of the file system to the disk.
            ("ro", None),
        )
        _try(out, options)


@record
class CarryOverlay:
    """Take the overlay along as a descriptor, with the locks the passage put on it."""

    def describe(self) -> str:
        """Say what the step does."""
        return "take the span's layer along"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        flags = OpenTree.CLONE | OpenTree.CLOEXEC
        merged = out.plan.text(_MERGED)
        out.plan.call("open_tree", At.FDCWD, merged, flags, store=out.plan.cell(OVERLAY))


@record
class MakeSpanOverlayInside:
    """Mount the layers as an ordinary user, who may do so in the world's user namespace only."""

    overlay: SpanOverlay

    def describe(self) -> str:
        """Say what the step does."""
        return MAKE_LAYER + self.overlay.project

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        overlay, plan = self.overlay, out.plan
        # A copy of the host's mounts that this user namespace has rights over.
        plan.call("unshare", Clone.NEWNS)
        plan.call("mount", 0, plan.text("/"), 0, Ms.REC | Ms.SLAVE, 0)
        lower = pinned(out, overlay.project, _PROJECT_FD)
        data = pinned(out, overlay.data, _DATA_FD)
        if overlay.before:
            _check_at_rest_inside(out, f"{data}/{overlay.before}", lower)
            plan.begin_step(self.describe())
        names: tuple[str, ...] = ()
        if overlay.in_one_option:
            folder = out.new_cell("short names")
            new_filesystem(out, "tmpfs", None, (("mode", "755"),), folder)
            plan.call("fchdir", folder)
            names = _link_short_names(out, overlay, folder, lower, data)
        options = stack_options(overlay.stack, lower, data, userxattr=True, names=names)
        new_filesystem(out, "overlay", None, options, plan.cell(OVERLAY), PROJECT_ATTRIBUTES)


def _link_short_names(
    out: Lowering, overlay: SpanOverlay, folder: Cell, project: str, data: str
) -> tuple[str, ...]:
    """Make short names for the layers below in the working directory, where they are needed."""
    if not overlay.in_one_option:
        return ()
    lowers = lower_layers(overlay.stack, project, data)
    names = short_names(len(lowers))
    for name, lower in zip(names, lowers, strict=True):
        out.plan.call("symlinkat", out.plan.text(lower), folder, out.plan.text(name))
    return names


def _check_at_rest_inside(out: Lowering, before: str, lower: str) -> None:
    """As `CheckAtRest`; an ordinary user's overlay has no index, so as the upper directory."""
    out.plan.begin_step(CHECK_AT_REST)
    options = (
        ("lowerdir", lower),
        ("upperdir", f"{before}/upper"),
        ("workdir", f"{before}/rest"),
        ("index", "on"),
        ("userxattr", None),
        ("ro", None),
    )
    _try(out, options)


def _try(out: Lowering, options: tuple[tuple[str, str | None], ...]) -> None:
    """Make an overlay that is mounted nowhere, and drop it: a mount would cost as much again."""
    probe = new_context(out, "overlay", None, options)
    out.close(probe)


@record
class ShowSpanOverlay:
    """Put the overlay where the world has the project, in a mount namespace of the span's own."""

    at: str

    def describe(self) -> str:
        """Say what the step does."""
        return f"show the span's layer on {self.at}"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        plan = out.plan
        plan.call("unshare", Clone.NEWNS)
        # What is unmounted here stays mounted for the world.
        plan.call("mount", 0, plan.text("/"), 0, Ms.REC | Ms.SLAVE, 0)
        root, parent, old = out.new_cell("/"), out.new_cell("parent"), out.new_cell(self.at)
        flags = O.PATH | O.DIRECTORY | O.CLOEXEC
        plan.call("openat", At.FDCWD, plan.text("/"), flags, store=root)
        folder, _, name = self.at.rstrip("/").rpartition("/")
        # No links: earlier spans may have renamed directories and put links in their place.
        resolve = Resolve.IN_ROOT | Resolve.NO_SYMLINKS | Resolve.NO_MAGICLINKS
        how = plan.constant(_OPEN_HOW.pack(flags, 0, resolve))
        place, size = plan.text(folder.lstrip("/") or "."), _OPEN_HOW.size
        plan.call("openat2", root, place, how, size, store=parent)
        plan.call("openat2", parent, plan.text(name), how, size, store=old)
        plan.call("fchdir", old)
        # Replaced, not covered: what is below could be uncovered. Fails where nothing is mounted.
        plan.call("umount2", plan.text("."), _MNT_DETACH)
        plan.call(
            "move_mount", plan.cell(OVERLAY), plan.text(""), parent, plan.text(name),
            MoveMount.F_EMPTY_PATH,
        )  # fmt: skip
        plan.call("fchdir", root)
        for cell in (old, parent, root, plan.cell(OVERLAY)):
            out.close(cell)


@record
class JoinMountNamespace:
    """Enter the mount namespace of a span that still has processes: input "namespace:mount"."""

    def describe(self) -> str:
        """Say what the step does."""
        return "join the mount namespace of the span before"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        out.plan.call("setns", out.plan.input("namespace:mount"), Clone.NEWNS)
