"""A diff as text for people: one line per change, nothing printed here.

A payload chooses the names. Whatever could move the cursor, change colours, hide a line or turn
the direction of writing is shown as a backslash escape, and so is what is not UTF-8.
"""

from __future__ import annotations

from substrate.filesystem.entries import DELETE, META, MOD, RENAME, TOUCHED, WRITE
from substrate.printable import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from substrate.filesystem.entries import Entry, FsDiff

# Change -> sign, letter of --name-status, colour (SGR). `m` is metadata, `.` only touched.
_SIGNS = {
    WRITE: ("+", "A", "32"),
    MOD: ("~", "M", "33"),
    DELETE: ("-", "D", "31"),
    RENAME: (">", "R", "36"),
    META: ("m", "T", "35"),
    TOUCHED: (".", "U", "2"),
}


def change_lines(diff: FsDiff, *, touched: bool = False, colour: bool = False) -> Iterator[str]:
    """Yield `+ new`, `~ modified`, `- deleted`, `> old -> new`, `m metadata`, by path.

    Directories end in `/`; reasons to look twice stand behind, `  ! setuid`.
    """
    for entry in diff.entries:
        if entry.change == TOUCHED and not touched:
            continue
        sign, _, code = _SIGNS[entry.change]
        line = f"{sign} {_subject(entry, ' -> ')}"
        risks = f"  ! {', '.join(entry.risky)}" if entry.risky else ""
        if colour:
            line = f"\x1b[{code}m{line}\x1b[0m"
            risks = f"\x1b[1;31m{risks}\x1b[0m" if risks else ""
        yield line + risks


def name_status_lines(diff: FsDiff, *, touched: bool = False) -> Iterator[str]:
    """Yield a letter, a tab and the path: A, M, D, R (old, tab, new), T for metadata."""
    for entry in diff.entries:
        if entry.change != TOUCHED or touched:
            yield f"{_SIGNS[entry.change][1]}\t{_subject(entry, chr(9), slash=False)}"


def stat_line(diff: FsDiff) -> str:
    """Return one line of totals: `2 new, 1 modified, 3 deleted (+1.2 kB, -34 B)`."""
    counts = (
        (len(diff.writes), "new"),
        (len(diff.mods), "modified"),
        (len(diff.deletes), "deleted"),
        (len(diff.renames), "renamed"),
        (len(diff.meta), "metadata"),
        (diff.summary.risky, "risky"),
    )
    shown = ", ".join(f"{number} {word}" for number, word in counts if number)
    if not shown:
        return "no changes"
    summary = diff.summary
    return f"{shown} (+{_size(summary.bytes_added)}, -{_size(summary.bytes_removed)})"


def _subject(entry: Entry, arrow: str, *, slash: bool = True) -> str:
    end = "/" if slash and entry.kind == "dir" else ""
    path = quote(entry.path) + end
    if entry.change == RENAME:
        return f"{quote(entry.origin)}{end}{arrow}{path}"
    return path


def _size(count: int) -> str:
    if count < 1000:
        return f"{count} B"
    size = float(count)
    for unit in ("kB", "MB", "GB", "TB"):
        size /= 1000
        if size < 999.95:
            return f"{size:.1f} {unit}"
    return f"{size / 1000:.1f} PB"
