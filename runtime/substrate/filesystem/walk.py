"""The walk over an upper directory: every difference between before and after.

Each step looks at one directory of the merged tree with up to three sides:

    upper   what was written here, by one layer or by several, or nothing
    below   the lower directory the overlay merges with it, or nothing (new, opaque)
    base    the lower directory it is compared with: what was at this path before, or, in a
            directory that was renamed, what was at its old path

In most directories `below` is `base`, and all that is not in `upper` is unchanged without a
look. They differ after renames onto something and in opaque directories; then all three are
listed. Deletions are only noted here (`gone`): what was moved away is known after the walk.
"""

from __future__ import annotations

import stat
import sys

from substrate.filesystem.compare import Unreadable, same_content, same_metadata
from substrate.filesystem.descriptors import is_gone
from substrate.filesystem.entries import META, MOD, TOUCHED, WRITE, Entry
from substrate.filesystem.items import Item
from substrate.filesystem.merged import Directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from substrate.filesystem.lookahead import LookAhead
    from substrate.filesystem.marks import Marks
    from substrate.filesystem.merged import Merged, Part

# More upper entries than this and listing the directory below is cheaper than a look for each.
LIST_BELOW = 25
# More directories to look up than this, and another process reads them faster.
LOOK_AHEAD = 30
# Notes on an entry. The file could not be read, so it counts as changed:
NOT_COMPARED = "not-compared"
# The file had several names and only some of them have changed with it:
LINK_SPLIT = "link-split"
# Several changed paths are names of this one file:
LINKED = "hard-linked"


class Step:
    """One directory of the merged tree that is still to be visited."""

    __slots__ = ("base", "below", "parts", "path", "upper")

    def __init__(
        self,
        path: str,
        upper: list[Part],
        below: Directory | None,
        base: Directory | None,
    ) -> None:
        self.path = path
        self.upper = upper
        self.below = below
        self.base = base
        self.parts = upper if below is None else upper + below.parts

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
        self.found: list[Entry] = []
        self.gone: list[tuple[Directory, str]] = []
        self.renames: dict[str, str] = {}
        self.items_of_renames: dict[str, Item] = {}
        self._copies = copies
        self._moved = moved
        self._compared_elsewhere: set[str] = set()
        self._steps: list[Step] = []
        # Directories of the upper that are still to be looked up: number of the part, name, and
        # the names of the base where they are known.
        self._folders: list[tuple[Step, int, str, set[str] | None]] = []
        self._ahead: LookAhead | None = None
        self._look_ahead = LOOK_AHEAD

    def run(self) -> None:
        """Walk the whole tree."""
        try:
            self._run()
        finally:
            if self._ahead is not None:
                self._ahead.close()

    def _run(self) -> None:
        merged = self.merged
        upper, lower = merged.roots[: merged.uppers], merged.roots[merged.uppers :]
        after = Item(upper[0].folder, "", upper[0].folder.status(), upper[0].marks)
        before = Item(lower[0].folder, "", lower[0].folder.status())
        if not same_metadata(after, before, merged.prefix):
            self._note(META, ".", after, before)
        root = merged.lower_root()
        self._steps.append(Step("", upper, root, root))
        while self._steps or self._folders:
            try:
                # At once what was looked up, while its directories are open.
                if self._steps:
                    self._visit(self._steps.pop())
                    continue
                if len(self._folders) > self._look_ahead:
                    self._start_ahead()
                self._upper_folder(*self._folders.pop())
            except OSError as error:
                # A running world may remove or exchange a directory while it is read.
                if not is_gone(error):
                    raise

    def _start_ahead(self) -> None:
        """Have the directories read that are to be looked up next, and what is in them."""
        from substrate.filesystem.lookahead import LookAhead, can_look_ahead

        # Once for a walk.
        self._look_ahead = sys.maxsize
        if not can_look_ahead(self.merged):
            return
        paths = [step.path_of(name) for step, _, name, _ in self._folders]
        try:
            self._ahead = LookAhead(self.merged, paths)
        except OSError:
            # No process, memory or descriptor to be had; what is read in advance can be read now.
            return

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
        listing = self.merged.scan(step.upper)
        base_names: set[str] | None = None
        if base is not None and (not same or (len(listing) > LIST_BELOW and not base.has_statuses)):
            base_names = base.names()
        for position, name, status, hidden in listing:
            if hidden:
                if same and base is not None and (base_names is None or name in base_names):
                    self.gone.append((base, name))
            elif status is None:
                self._folders.append((step, position, name, base_names))
                if self._ahead is not None:
                    self._ahead.expect(step.path_of(name))
            else:
                self._upper_file(step, position, name, status, base_names)
        if same and not self._copies:
            return
        covered = {name for _, name, _, _ in listing}
        shown = {name for _, name, _, hidden in listing if not hidden}
        self._visit_below(step, covered, shown, base_names)
        if not same and base is not None and base_names is not None:
            self.gone += [(base, name) for name in base_names - shown]

    def _before(
        self, step: Step, names: set[str] | None, name: str, known: Item | None = None
    ) -> Item | None:
        """Return what was there before; nothing when that has been moved somewhere else."""
        base = step.base
        if base is None or (names is not None and name not in names):
            return None
        if step.path != base.path:
            old_path = base.path_of(name)
            if old_path in self.renames or old_path in self._moved:
                return None
            self._compared_elsewhere.add(old_path)
        return base.item(name) if known is None else known

    def _visit_below(
        self, step: Step, covered: set[str], shown: set[str], base_names: set[str] | None
    ) -> None:
        """Look at what shows through from below, where that is not simply unchanged."""
        below, base = step.below, step.base
        if below is None:
            return
        for after in below.items():
            status, name = after.status, after.path.rpartition("/")[2]
            if name in covered:
                continue
            shown.add(name)
            before = after if below is base else self._before(step, base_names, name)
            path = step.path_of(name)
            if after.kind == "dir":
                self._folder(Step(path, [], below.child(name), None), after, before)
                continue
            inode = status.st_ino
            # One that was restored as a copy may have no other names by now.
            named = status.st_nlink > 1 or inode in self.merged.originals
            copied = named and inode in self._copies
            shows = self._copy_of(after) if copied else after
            times = before is None or before.status.st_mtime_ns != status.st_mtime_ns
            self._compare(path, shows, before, touched=copied or times)

    def _copy_of(self, original: Item) -> Item:
        copy = self._copies[original.status.st_ino]
        after = Item(copy.folder, copy.name, copy.status, copy.marks)
        if copy.marks is not None and copy.marks.metacopy:
            after.data = original
        return after

    def _upper_folder(self, step: Step, position: int, name: str, names: set[str] | None) -> None:
        merged, path = self.merged, step.path_of(name)
        place = "" if step.below is None else step.below.path_of(name)
        parts = step.parts[position:] if position else step.parts
        look = None if self._ahead is None else self._ahead.take(step.path, name)
        found, where = merged.folders(parts, name, place, look)
        upper, lower = merged.split(found)
        if look is not None and not upper:
            # It was not there when it was read ahead, and may be now.
            found, where = merged.folders(parts, name, place)
            upper, lower = merged.split(found)
        if not upper:
            # It has vanished, or been exchanged, since the listing.
            part = step.upper[position]
            status = part.folder.stat(name)
            if status is None or stat.S_ISDIR(status.st_mode):
                return
            if not merged.is_whiteout(part, name, status):
                self._upper_file(step, position, name, status, names)
            return
        below = Directory(merged, lower, where) if lower else None
        base, known = step.base, None
        if lower and base is not None and step.below is base and not _leads_away(upper):
            # Mostly that is what was there before, found already, and it is the same.
            if base.path == step.path and upper[0].looks_like(lower[0]):
                self._steps.append(Step(path, upper, below, below))
                return
            known = lower[0].item(base.path_of(name))
        before = self._before(step, names, name, known)
        moved = any(part.marks.redirect for part in upper)
        if moved and below is None and _leads_nowhere(upper[-1].marks):
            merged.severed.add(path)
        self._folder(Step(path, upper, below, None), upper[0].item(path), before, moved=moved)

    def _folder(self, step: Step, after: Item, before: Item | None, *, moved: bool = False) -> None:
        """Compare a directory with what was there, and queue the visit of its entries."""
        below = step.below
        if before is None:
            origin = None
            if moved and below is not None:
                origin = self._claim(below.path, step.path, after)
            if origin is None:
                self._note(WRITE, step.path, after)
            else:
                self._changed_metadata(step.path, after, origin)
                step.base = below
        elif before.kind != "dir":
            self._note(MOD, step.path, after, before)
        else:
            self._changed_metadata(step.path, after, before)
            if below is not None and below.path == before.path:
                step.base = below
            else:
                step.base = self.merged.lower_directory(before.path)
        if step.upper or step.below is not step.base or self._copies:
            self._steps.append(step)

    def _upper_file(
        self, step: Step, position: int, name: str, status: os.stat_result, names: set[str] | None
    ) -> None:
        path = step.path_of(name)
        after = self.merged.item(step.parts, position, name, status, path)
        before = self._before(step, names, name)
        if before is not None:
            self._compare(path, after, before, touched=True)
            return
        place = "" if step.below is None else step.below.path_of(name)
        hits, place = self.merged.lookup(step.parts[position:], name, place, status)
        after.lies_over(hits)
        origin = next((hit for hit in hits if hit.level >= self.merged.uppers), None)
        if origin is not None and stat.S_IFMT(origin.status.st_mode) == stat.S_IFMT(
            after.status.st_mode
        ):
            moved = self._claim(place, path, after)
            if moved is not None:
                self._compare(path, after, moved, touched=False)
                return
        self._note(WRITE, path, after)

    def _compare(self, path: str, after: Item, before: Item | None, *, touched: bool) -> None:
        """Note how a file differs; `touched`: note it too when at most its times do."""
        if before is None:
            self._note(WRITE, path, after)
            return
        if before.kind != after.kind:
            self._note(MOD, path, after, before)
            if before.kind == "dir":
                old = self.merged.lower_directory(before.path)
                if old is not None:
                    self.gone += [(old, name) for name in old.names()]
            return
        notes: tuple[str, ...] = ()
        change = ""
        try:
            if not same_content(after, before):
                change = MOD
        except Unreadable:
            change, notes = MOD, (NOT_COMPARED,)
        if not change and not same_metadata(after, before, self.merged.prefix):
            change = META
        if not change:
            if touched:
                self._note(TOUCHED, path, after, before)
            return
        if before.status.st_nlink > 1 and not (after.marks is not None and after.marks.indexed):
            notes += (LINK_SPLIT,)
        self._note(change, path, after, before, notes)

    def _note(
        self,
        change: str,
        path: str,
        after: Item,
        before: Item | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        entry = Entry(change, path, after.kind, after.status, after, before)
        entry.notes = notes
        self.found.append(entry)

    def _changed_metadata(self, path: str, after: Item, before: Item) -> None:
        if not same_metadata(after, before, self.merged.prefix):
            self._note(META, path, after, before)

    def _claim(self, origin: str, path: str, after: Item) -> Item | None:
        """Return what was at `origin` before if `path` is where it has been moved to.

        It has not been moved when something is at its old path: then this is one more name of it
        (a hard link), or the old path is in use again and the plain lists say it best.
        """
        if origin in self.renames or self.merged.shows(origin):
            return None
        found = self.merged.lower_item(origin)
        if found is not None:
            self.renames[origin] = path
            self.items_of_renames[path] = after
        return found

    def compare_moved(self, path: str, after: Item, before: Item) -> None:
        """Note how a file that was found to be moved differs from what it was."""
        self._compare(path, after, before, touched=False)


def _leads_away(parts: list[Part]) -> bool:
    for part in parts:  # noqa: SIM110 -- once for each directory of a walk
        if part.leads_away:
            return True
    return False


def _leads_nowhere(marks: Marks) -> bool:
    """Whether a directory below which nothing was found should lie over another."""
    return bool(marks.redirect) and marks.opaque != "y"
