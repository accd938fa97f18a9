"""What steps share while they write themselves into a plan: the builder and well-known cells.

Every path inside the world goes through here: it is opened below the root's descriptor with
openat2(RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS), made one component at a time when it is missing,
and acted on by descriptor. A symlink in a hostile root file system can lead elsewhere in that
file system, never out of it (CVE-2021-30465 and its kin).
"""

from __future__ import annotations

import errno
import struct

from substrate.kernel.constants import At, MoveMount, O, OpenTree, Resolve
from substrate.kernel.plan import PlanBuilder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Protocol

    from substrate.kernel.plan import Cell

    class Step(Protocol):
        """One entry of the isolation sequence."""

        def describe(self) -> str:
            """Say what the step does, as "cannot …" can be put before it."""
            ...

        def lower(self, out: Lowering) -> None:
            """Append the step's system calls to the plan."""
            ...


OPEN_HOW = struct.Struct("=3Q")
_INSIDE = Resolve.IN_ROOT | Resolve.NO_MAGICLINKS
S_IFREG = 0o100000


class Lowering:
    """A plan being written. `sync` reaches the runtime, `root` is the world's root directory."""

    def __init__(self) -> None:
        self.plan = PlanBuilder()
        self.sync = self.plan.input("sync")
        self.root = self.plan.cell("root")  # replaced by the step that attaches the root
        self.proc = self.plan.cell("proc")
        self.plan.report_to(self.sync)
        # The world's own procfs and sysfs by where they were attached. What is below is reached
        # through them: the directory may have been renamed since, with all that is mounted on it.
        self.anchors: dict[str, Cell] = {}
        self._known: set[str] = {""}
        self._ours: dict[str, bool] = {"": False}
        self._open: dict[str, Cell] = {}
        self._serial = 0

    def copy(self) -> Lowering:
        """Return what goes on from here, with this one left as it is."""
        made = Lowering()
        for name, value in vars(self).items():
            copied = isinstance(value, (set, dict, PlanBuilder))
            setattr(made, name, value.copy() if copied else value)
        return made

    def new_cell(self, purpose: str) -> Cell:
        """Return a fresh cell for a descriptor."""
        self._serial += 1
        return self.plan.cell(f"{purpose}#{self._serial}")

    def open(self, path: str, flags: int, *, ignore: tuple[int, ...] = ()) -> tuple[Cell, int]:
        """Open a path of the world; returns its cell and the call's index, for `skip_to_here`."""
        cell = self.new_cell(path)
        how = self.plan.constant(OPEN_HOW.pack(flags | O.CLOEXEC, 0, _INSIDE))
        start, inside = self._start_of(path)
        index = self.plan.call(
            "openat2", start, self.plan.text(inside.strip("/") or "."), how, OPEN_HOW.size,
            store=cell, ignore=ignore,
        )  # fmt: skip
        return cell, index

    def close(self, cell: Cell) -> None:
        """Close a descriptor that is no longer needed."""
        self.plan.call("close", cell)

    def make_directory(self, path: str, mode: int = 0o755) -> None:
        """Make a directory of the world and its parents, where they are missing."""
        known = ""
        for name in _components(path):
            parent, known = known, f"{known}/{name}"
            if known not in self._known:
                self._make(parent, name, "mkdirat", (mode,))
                self._known.add(known)

    def make_file(self, path: str) -> None:
        """Make an empty file to mount on, where it is missing, and the directories above it."""
        parent, name = _split(path)
        self.make_directory(parent)
        if path not in self._known:
            self._make(parent, name, "mknodat", (S_IFREG | 0o644, 0))
            self._known.add(path)

    def make_symlink(self, path: str, target: str) -> None:
        """Make a symlink in a file system of our own; one that is there already stays."""
        parent, name = _split(path)
        directory = self._directory(parent)
        self.plan.call(
            "symlinkat", self.plan.text(target), directory, self.plan.text(name),
            ignore=(errno.EEXIST,),
        )  # fmt: skip
        self._let_go(parent, directory)

    def attach(
        self, mount: Cell, path: str, *, is_directory: bool = True, ours: bool = False
    ) -> None:
        """Attach a detached mount at a path of the world, which is made if it is missing.

        `ours`: the mount is a new, empty file system, in which nothing hostile can be.
        """
        if is_directory:
            self.make_directory(path)
        else:
            self.make_file(path)
        parent, name = _split(path)
        if self._is_ours(parent):
            # One component, not followed: no need for a descriptor of the target.
            directory = self._directory(parent)
            self.plan.call(
                "move_mount", mount, self.plan.text(""), directory, self.plan.text(name),
                MoveMount.F_EMPTY_PATH,
            )  # fmt: skip
        else:
            # A world's own kernel file systems never go behind a symlink of its image
            # (CVE-2019-19921, CVE-2026-41579).
            nofollow = O.NOFOLLOW if path in ("/proc", "/sys", "/dev") else 0
            kind = O.DIRECTORY if is_directory else 0
            target, _ = self.open(path, O.PATH | nofollow | kind)
            self.move_mount(mount, target)
            self.close(target)
        self.anchors.pop(path, None)
        self._forget_below(path)
        self._ours[path] = ours

    def claim_root(self) -> None:
        """Take the root as a new, empty file system of our own."""
        self._ours[""] = True

    def move_mount(self, mount: Cell, target: Cell, *, ignore: tuple[int, ...] = ()) -> int:
        """Attach a detached mount on a descriptor."""
        empty = self.plan.text("")
        flags = MoveMount.F_EMPTY_PATH | MoveMount.T_EMPTY_PATH
        return self.plan.call("move_mount", mount, empty, target, empty, flags, ignore=ignore)

    def open_host(self, path: str, *, recursive: bool, store: Cell) -> None:
        """Clone the mount at a path of the host, as this process may reach it.

        The path must have no symlink in it (`os.path.realpath`). One that came in since is refused
        (ELOOP): with `..` in it, it could lead into the world's root, which already covers "/",
        and from there, by a link of a hostile image, to any file of the host.
        """
        source = self.new_cell(path)
        self.open_path(path, store=source)
        flags = OpenTree.CLONE | OpenTree.CLOEXEC | At.EMPTY_PATH
        flags |= At.RECURSIVE if recursive else 0
        self.plan.call("open_tree", source, self.plan.text(""), flags, store=store)
        self.close(source)

    def _start_of(self, path: str) -> tuple[Cell, str]:
        """Return the directory a path is opened from, and the path as seen from there."""
        for place, cell in self.anchors.items():
            if path.startswith(place + "/"):
                return cell, path.removeprefix(place)
        return self.root, path

    def open_path(self, path: str, *, store: Cell) -> None:
        """Open a path of the host that has no symlink in it, see `open_host`."""
        resolve = Resolve.NO_SYMLINKS | Resolve.NO_MAGICLINKS
        how = self.plan.constant(OPEN_HOW.pack(O.PATH | O.CLOEXEC, 0, resolve))
        self.plan.call("openat2", At.FDCWD, self.plan.text(path), how, OPEN_HOW.size, store=store)

    def _make(self, parent: str, name: str, call: str, words: tuple[int, ...]) -> None:
        directory = self._directory(parent)
        # The last component is never followed, so this cannot create anything elsewhere.
        self.plan.call(call, directory, self.plan.text(name), *words, ignore=(errno.EEXIST,))
        self._let_go(parent, directory)

    def _directory(self, path: str) -> Cell:
        """Open a directory, once for all where nobody but us can have changed it."""
        if path in self._open:
            return self._open[path]
        directory, _ = self.open(path, O.PATH | O.DIRECTORY)
        if self._is_ours(path):
            self._open[path] = directory
        return directory

    def _let_go(self, path: str, directory: Cell) -> None:
        if path not in self._open:
            self.close(directory)

    def _is_ours(self, path: str) -> bool:
        """Whether a path lies in a file system of our own: its innermost mount decides."""
        while path not in self._ours:
            path = path.rpartition("/")[0]
        return self._ours[path]

    def _forget_below(self, path: str) -> None:
        """Forget what is known at and below a target: the new mount hides it."""
        prefix = path.rstrip("/") + "/"
        self._known = {known for known in self._known if not known.startswith(prefix)}
        for known in [known for known in self._open if (known + "/").startswith(prefix)]:
            del self._open[known]


def _split(path: str) -> tuple[str, str]:
    parent, _, name = ("/" + "/".join(_components(path))).rpartition("/")
    return parent, name


def _components(path: str) -> list[str]:
    return [name for name in path.split("/") if name not in ("", ".")]


def lower_all(steps: Iterable[Step], out: Lowering) -> None:
    """Write every step into the plan, under its own description."""
    for step in steps:
        out.plan.begin_step(step.describe())
        step.lower(out)
