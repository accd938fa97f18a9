"""Parts of a project that a world must not change, in each mount namespace that shows it."""

from __future__ import annotations

import errno
import struct

from substrate.isolation.steps.mounts import MOUNT_ATTR
from substrate.kernel.constants import At, MountAttr, O, OpenTree, Resolve
from substrate.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from substrate.isolation.lowering import Lowering
    from substrate.kernel.plan import Cell

_OPEN_HOW = struct.Struct("=3Q")
_MISSING = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


@record
class ProtectPaths:
    """Bind paths of the project read-only on themselves, and the directories above as they are.

    A mount point cannot be renamed, replaced or removed: so none of them can be moved out of the
    way, with what is mounted on it, for the next command to find in another place. `entered`: the
    process is in the world already, else it is still being made.
    """

    at: str
    paths: tuple[str, ...]
    entered: bool

    def describe(self) -> str:
        """Say what the step does."""
        return f"make {len(self.paths)} paths of the project read-only"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        root = out.root
        if self.entered:
            root = out.new_cell("/")
            flags = O.PATH | O.DIRECTORY | O.CLOEXEC
            out.plan.call("openat", At.FDCWD, out.plan.text("/"), flags, store=root)
        protected = set(self.paths)
        # The upper ones first: what is below is then found in their mounts.
        for path in sorted((*above(self.paths), *self.paths), key=lambda path: path.split("/")):
            _bind(out, root, f"{self.at}/{path}", readonly=path in protected)
        if self.entered:
            out.close(root)


def _bind(out: Lowering, root: Cell, path: str, *, readonly: bool) -> None:
    plan = out.plan
    # No links: earlier commands may have put some there. What is gone is not protected.
    resolve = Resolve.IN_ROOT | Resolve.NO_SYMLINKS | Resolve.NO_MAGICLINKS
    how = plan.constant(_OPEN_HOW.pack(O.PATH | O.NOFOLLOW | O.CLOEXEC, 0, resolve))
    target, tree, empty = out.new_cell(path), out.new_cell("bound"), plan.text("")
    opened = plan.call(
        "openat2", root, plan.text(path.lstrip("/")), how, _OPEN_HOW.size, store=target,
        ignore=_MISSING,
    )  # fmt: skip
    flags = OpenTree.CLONE | OpenTree.CLOEXEC | At.EMPTY_PATH
    plan.call("open_tree", target, empty, flags, store=tree)
    if readonly:
        attributes = plan.constant(MOUNT_ATTR.pack(MountAttr.RDONLY, 0, 0, 0))
        plan.call("mount_setattr", tree, empty, At.EMPTY_PATH, attributes, MOUNT_ATTR.size)
    out.move_mount(tree, target)
    out.close(tree)
    out.close(target)
    plan.skip_to_here(opened)


def above(paths: Iterable[str]) -> list[str]:
    """Return the directories that lead to these paths, the upper ones first."""
    found: set[str] = set()
    for path in paths:
        names = path.split("/")
        found.update("/".join(names[:length]) for length in range(1, len(names)))
    return sorted(found)
