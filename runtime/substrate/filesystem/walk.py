"""The walk over an upper directory: every difference between before and after.

Each step looks at one directory of the merged tree with up to three sides:

    upper   what the world wrote here, or nothing
    below   the lower directory the overlay merges with it, or nothing (new, opaque)
    base    the lower directory it is compared with: what was at this path before, or, in a
            directory that was renamed, what was at its old path

In most directories `below` is `base`, and all that is not in `upper` is unchanged without a
look. They differ after renames onto something and in opaque directories; then all three are
listed. Deletions are only noted here (`gone`): what was moved away is known after the walk.
"""

from __future__ import annotations

import stat

from substrate.filesystem.compare import Unreadable, same_content, same_metadata
from substrate.filesystem.descriptors import is_gone
from substrate.filesystem.items import Item, is_whiteout_device

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from substrate.filesystem.descriptors import Folder
    from substrate.filesystem.marks import Marks
    from substrate.filesystem.merged import Merged

# More upper entries than this and listing the directory below is cheaper than a look for each.
LIST_BELOW = 25
# Notes on an entry. The file could not be read, so it counts as changed:
NOT_COMPARED = "not-compared"
# The file had several names and only some of them have changed with it:
LINK_SPLIT = "link-split"
# Several changed paths are names of this one file:
LINKED = "hard-linked"


class Found:
    """One difference; a plain class because one is made per changed file."""

    __slots__ = ("after", "before", "change", "notes", "path")

    def __init__(
        self,
        change: str,
        path: str,
        after: Item,
        before: Item | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        self.change = change
        self.path = path
        self.after = after
        self.before = before
        self.notes = notes


class Step:
    """One directory of the merged tree that is still to be visited."""

    __slots__ = ("base", "below", "marks", "path", "upper")

    def __init__(
        self,
        path: str,
        upper: Folder | None,
        marks: Marks | None,
        below: Folder | None,
        base: Folder | None,
    ) -> None:
        self.path = path
        self.upper = upper
        self.marks = marks
        self.below = below
        self.base = base

    def path_of(self, name: str) -> str:
        """Return the path of an entry in the merged tree."""
        return f"{self.path}/{name}" if self.path else name


class Walk:
    """The differences of one upper directory, filled in by `run`."""

    def __init__(
        self, merged: Merged, copies: Mapping[int, Item], moved: frozenset[str] = frozenset()
    ) -> None:
        """Prepare a walk; `copies` are the hidden copies of `index.py`.

        If there are any, directories that have nothing in the upper are looked at too: a name
        of a changed file may be in them. `moved` is what an earlier walk left in `disputed`.
        """
        self.merged = merged
        self.found: list[Found] = []
        self.gone: list[tuple[Folder, str]] = []
        self.renames: dict[str, str] = {}
        self.items_of_renames: dict[str, Item] = {}
        self._copies = copies
        self._moved = moved
        self._compared_elsewhere: set[str] = set()
        self._steps: list[Step] = []

    def run(self) -> None:
        """Walk the whole tree."""
        merged = self.merged
        upper, lower = merged.upper.root, merged.lower.root
        marks = merged.marks_of_folder(upper)
        after = Item(upper, "", upper.status(), marks)
        before = Item(lower, "", lower.status())
        if not same_metadata(after, before, merged.prefix):
            self.found.append(Found("meta", ".", after, before))
        self._steps.append(Step("", upper, marks, lower, lower))
        while self._steps:
            step = self._steps.pop()
            try:
                self._visit(step)
            except OSError as error:
                # A running world may remove or exchange a directory while it is read.
                if not is_gone(error):
                    raise

    @property
    def disputed(self) -> frozenset[str]:
        """What was moved out of a moved directory, and something new has its name there.

        The new one was compared with it before the move was seen: walk again, knowing it.
        """
        found = self._compared_elsewhere.intersection(self.renames)
        return self._moved.union(found) if found else frozenset()

    def _visit(self, step: Step) -> None:
        base = step.base
        same = step.below is base
        listing = [] if step.upper is None else step.upper.entries()
        base_names: set[str] | None = None
        if base is not None and (not same or len(listing) > LIST_BELOW):
            base_names = set(base.names())
        covered: set[str] = set()
        shown: set[str] = set()
        for name, status in listing:
            covered.add(name)
            assert step.upper is not None  # noqa: S101 -- the listing is its own
            if self.merged.is_whiteout(step.upper, name, status, step.marks):
                if same and base is not None and (base_names is None or name in base_names):
                    self.gone.append((base, name))
                continue
            shown.add(name)
            before = self._before(step, base_names, name)
            if stat.S_ISDIR(status.st_mode):
                self._upper_folder(step, name, status, before)
            else:
                self._upper_file(step, name, status, before)
        if not same or self._copies:
            self._visit_below(step, covered, shown, base_names)
        if not same and base is not None and base_names is not None:
            self.gone += [(base, name) for name in base_names - shown]

    def _before(self, step: Step, names: set[str] | None, name: str) -> Item | None:
        """Return what was there before; nothing when that has been moved somewhere else."""
        base = step.base
        if base is None or (names is not None and name not in names):
            return None
        if step.path != base.path:
            old_path = base.path_of(name)
            if old_path in self.renames or old_path in self._moved:
                return None
            self._compared_elsewhere.add(old_path)
        status = self.merged.lower_status(base, name)
        return None if status is None else Item(base, name, status)

    def _visit_below(
        self, step: Step, covered: set[str], shown: set[str], base_names: set[str] | None
    ) -> None:
        """Look at what shows through from below, where that is not simply unchanged."""
        below, base = step.below, step.base
        if below is None:
            return
        for name, status in below.entries():
            if name in covered or is_whiteout_device(status):
                continue
            shown.add(name)
            if below is base:
                before: Item | None = Item(below, name, status)
            else:
                before = self._before(step, base_names, name)
            path = step.path_of(name)
            after = Item(below, name, status)
            if stat.S_ISDIR(status.st_mode):
                self._folder(Step(path, None, None, below.child(name), None), after, before)
                continue
            copied = status.st_nlink > 1 and status.st_ino in self._copies
            if copied:
                after = self._copy_of(after)
            times = before is None or before.status.st_mtime_ns != status.st_mtime_ns
            self._compare(path, after, before, touched=copied or times)

    def _copy_of(self, original: Item) -> Item:
        copy = self._copies[original.status.st_ino]
        after = Item(copy.folder, copy.name, copy.status, copy.marks)
        if copy.marks is not None and copy.marks.metacopy:
            after.data = original
        return after

    def _upper_folder(
        self, step: Step, name: str, status: os.stat_result, before: Item | None
    ) -> None:
        upper = step.upper
        assert upper is not None  # noqa: S101 -- only called for entries of the upper directory
        marks = self.merged.marks_of(upper, name)
        after = Item(upper, name, status, marks)
        below: Folder | None
        if before is not None and step.below is step.base and not (marks.opaque or marks.redirect):
            is_folder = stat.S_ISDIR(before.status.st_mode)
            below = before.folder.child(name) if is_folder else None
        else:
            below = self.merged.folder_below(step.below, name, marks)
        path = step.path_of(name)
        self._folder(Step(path, upper.child(name), marks, below, None), after, before)

    def _folder(self, step: Step, after: Item, before: Item | None) -> None:
        """Compare a directory with what was there, and queue the visit of its entries."""
        below = step.below
        if before is None:
            origin = None
            if step.marks is not None and step.marks.redirect and below is not None:
                origin = self._claim(below.path, step.path, after)
            if origin is None:
                self.found.append(Found("write", step.path, after))
            else:
                self._changed_metadata(step.path, after, origin)
                step.base = below
        elif not stat.S_ISDIR(before.status.st_mode):
            self.found.append(Found("mod", step.path, after, before))
        else:
            self._changed_metadata(step.path, after, before)
            base = before.folder.child(before.name)
            step.base = below if below is not None and below.path == base.path else base
        if step.upper is not None or step.below is not step.base or self._copies:
            self._steps.append(step)

    def _upper_file(
        self, step: Step, name: str, status: os.stat_result, before: Item | None
    ) -> None:
        merged, upper = self.merged, step.upper
        assert upper is not None  # noqa: S101 -- only called for entries of the upper directory
        after = Item(upper, name, status)
        path = step.path_of(name)
        origin: tuple[Folder, str, os.stat_result] | None = None
        # Without the mark `impure` everything in the directory was made in it: nothing has been
        # copied up (ovl_do_copy_up sets it) or moved in (ovl_rename), so nothing carries marks.
        if merged.follows and step.marks is not None and step.marks.impure:
            marks = after.marks = merged.marks_of(upper, name)
            if marks.metacopy or marks.redirect:
                origin = merged.below(step.below, name, marks)
            if marks.metacopy:
                after.data = None if origin is None else Item(*origin)
                after.data_missing = after.data is None or after.data.kind != "file"
        if before is not None:
            self._compare(path, after, before, touched=True)
            return
        if origin is not None and stat.S_IFMT(origin[2].st_mode) == stat.S_IFMT(status.st_mode):
            moved = self._claim(origin[0].path_of(origin[1]), path, after)
            if moved is not None:
                self._compare(path, after, moved, touched=False)
                return
        self.found.append(Found("write", path, after))

    def _compare(self, path: str, after: Item, before: Item | None, *, touched: bool) -> None:
        """Note how a file differs; `touched`: note it too when at most its times do."""
        if before is None:
            self.found.append(Found("write", path, after))
            return
        if before.kind != after.kind:
            self.found.append(Found("mod", path, after, before))
            if before.kind == "dir":
                old = before.folder.child(before.name)
                self.gone += [(old, name) for name in old.names()]
            return
        notes: tuple[str, ...] = ()
        change = ""
        try:
            if not same_content(after, before):
                change = "mod"
        except Unreadable:
            change, notes = "mod", (NOT_COMPARED,)
        if not change and not same_metadata(after, before, self.merged.prefix):
            change = "meta"
        if not change:
            if touched:
                self.found.append(Found("touched", path, after, before))
            return
        indexed = after.marks is not None and after.marks.indexed
        if before.status.st_nlink > 1 and not indexed:
            notes += (LINK_SPLIT,)
        self.found.append(Found(change, path, after, before, notes))

    def _changed_metadata(self, path: str, after: Item, before: Item) -> None:
        if not same_metadata(after, before, self.merged.prefix):
            self.found.append(Found("meta", path, after, before))

    def _claim(self, origin: str, path: str, after: Item) -> Item | None:
        """Return what was at `origin` before if `path` is where it has been moved to.

        It has not been moved when something is at its old path: then this is one more name of it
        (a hard link), or the old path is in use again and the plain lists say it best.
        """
        if origin in self.renames or self.merged.shows(origin):
            return None
        found = self.merged.lower.find(origin)
        if found is None:
            return None
        self.renames[origin] = path
        self.items_of_renames[path] = after
        return Item(*found)

    def compare_moved(self, path: str, after: Item, before: Item) -> None:
        """Note how a file that was found to be moved differs from what it was."""
        self._compare(path, after, before, touched=False)
