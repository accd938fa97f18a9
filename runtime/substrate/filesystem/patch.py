"""A diff as a patch of text files, in the form that `git apply` and `patch -p1` read.

Made here from the files themselves, never by the host's git: its filters run programs that a
hostile tree names. Links are not followed; what is not text is only named.
"""

from __future__ import annotations

import os

from substrate.filesystem.compare import Unreadable, read_chunks
from substrate.filesystem.entries import DELETE, META, RENAME, TOUCHED, WRITE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from substrate.filesystem.entries import Entry, FsDiff
    from substrate.filesystem.items import Item

# Bytes up to which a file is shown.
LARGEST = 1 << 20
_KINDS = {"file": 0o100000, "symlink": 0o120000}
_SHORT = {"\n": "\\n", "\t": "\\t", "\r": "\\r", "\\": "\\\\", '"': '\\"'}


def patch_lines(diff: FsDiff) -> Iterator[str]:
    """Yield the lines of the patch, without line ends, while the diff's trees are open.

    Bytes that are not UTF-8 are lone surrogates (PEP 383). Directories, and what is neither file
    nor link, have no place in a patch.
    """
    moved = {entry.path: entry for entry in diff.entries if entry.change == RENAME}
    for entry in diff.entries:
        if entry.change == TOUCHED or entry.kind not in _KINDS:
            continue
        if entry.change == RENAME:
            if not any(one.path == entry.path and one is not entry for one in diff.entries):
                yield from _header(entry, entry)
            continue
        yield from _header(entry, moved.get(entry.path))
        if entry.change != META:
            yield from _hunks(entry)


def _header(entry: Entry, rename: Entry | None) -> Iterator[str]:
    old = rename.origin if rename is not None else entry.origin or entry.path
    yield f"diff --git {_name('a', old)} {_name('b', entry.path)}"
    mode = f"{_KINDS[entry.kind] | entry.mode:06o}"
    before = entry.before
    if entry.change == WRITE or (before is None and entry.change != RENAME):
        yield f"new file mode {mode}"
    elif entry.change == DELETE:
        yield f"deleted file mode {mode}"
    elif before is not None and before.kind in _KINDS:
        was = f"{_KINDS[before.kind] | before.status.st_mode & 0o7777:06o}"
        if was != mode:
            yield f"old mode {was}"
            yield f"new mode {mode}"
    if rename is not None:
        yield f"rename from {_quoted(old)}"
        yield f"rename to {_quoted(entry.path)}"


def _hunks(entry: Entry) -> Iterator[str]:
    old = "/dev/null" if entry.before is None else _name("a", entry.origin or entry.path)
    new = "/dev/null" if entry.change == DELETE else _name("b", entry.path)
    try:
        before = _lines(entry.before)
        after = None if entry.change == DELETE else _lines(entry.item)
    except Unreadable:
        yield f"Binary files {old} and {new} differ"
        return
    from difflib import unified_diff

    for line in unified_diff(before or [], after or [], old, new, lineterm="\n"):
        yield line.removesuffix("\n")
        if not line.endswith("\n"):
            yield "\\ No newline at end of file"


def _lines(item: Item | None) -> list[str] | None:
    """Return the lines of a text file with their ends; raises `Unreadable` for any other."""
    if item is None:
        return None
    if item.kind == "symlink":
        return [os.fsencode(item.link_target()).decode("utf-8", "surrogateescape")]
    if item.kind != "file" or item.status.st_size > LARGEST:
        raise Unreadable
    content = b"".join(read_chunks(item, LARGEST))
    if b"\0" in content:
        raise Unreadable
    # Not splitlines: a form feed or a line separator is within a line here.
    parts = content.decode("utf-8", "surrogateescape").split("\n")
    lines = [f"{part}\n" for part in parts[:-1]]
    return [*lines, parts[-1]] if parts[-1] else lines


def _name(side: str, path: str) -> str:
    return _quoted(f"{side}/{path}")


def _quoted(path: str) -> str:
    """Return a name as git writes it: in quotes with octal escapes where it is not plain."""
    raw = os.fsencode(path)
    plain = all(32 <= byte < 127 and byte not in b'"\\' for byte in raw)
    if plain:
        return path
    told = "".join(
        _SHORT.get(chr(byte), chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}") for byte in raw
    )
    return f'"{told}"'
