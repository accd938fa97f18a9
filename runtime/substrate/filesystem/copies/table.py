"""What a copy was when it was made, and the project beside it: path -> both files' identity.

The kernel stamps every change of a file with a ctime that nobody can set. So a file of the copy
that is as the table has it was not changed by the world, and a file of the project that is as the
table has it was not changed by the host, without a look at the content of either.

That holds for what was looked at while nobody used the copy. Whoever has a file mapped may write to
it later without a new stamp, so a row that was made while processes live has a digest as well.

On disk: one line of JSON, then a fixed row for each path, then the paths, separated by zeros.
"""

from __future__ import annotations

import os
import stat
import struct

from substrate import jsontext
from substrate.errors import SubstrateError
from substrate.filesystem.copies.owners import Shift
from substrate.record import record, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

TABLE = "table"
_VERSION = 1
# Of the copy: inode, birth, mode, uid, gid, size, mtime, ctime. Of the project: the same, but for
# the birth; its inode is 0 where nothing is known of it.
_ROW = struct.Struct("<QqIIIqqqQIIIqqq")


@record
class Row:
    """One path. `copied` and `found` are as `seen` tells files; `found` is () when not known.

    `birth_ns` is when the file of the copy was made, 0 where the file system does not say.
    `digest` is of what it held, as `compare.digest` tells it; b"" where its times tell enough.
    """

    copied: tuple[int, ...]
    birth_ns: int
    found: tuple[int, ...]
    digest: bytes = b""

    @property
    def inode(self) -> int:
        """The copy's inode."""
        return self.copied[0]

    @property
    def is_folder(self) -> bool:
        """Whether it is a directory."""
        return stat.S_ISDIR(self.copied[1])

    @property
    def owner(self) -> tuple[int, int]:
        """The copy's owner and group."""
        return self.copied[2], self.copied[3]

    @property
    def found_owner(self) -> tuple[int, int]:
        """The owner and group in the project, where it is known."""
        return self.found[2], self.found[3]

    def is_copy(self, status: os.stat_result) -> bool:
        """Whether a file of the copy is as it was, but for its content where there is a digest."""
        return seen(status) == self.copied

    def is_found(self, status: os.stat_result) -> bool:
        """Whether a file of the project is as it was when it was copied."""
        return seen(status) == self.found


def seen(status: os.stat_result) -> tuple[int, ...]:
    """Return (inode, mode, uid, gid, size, mtime, ctime): all of it stays while nobody changes."""
    return (
        status.st_ino, status.st_mode, status.st_uid, status.st_gid, status.st_size,
        status.st_mtime_ns, status.st_ctime_ns,
    )  # fmt: skip


class Table:
    """The rows of a copy by path, "" for its root, and how owners were shifted for it."""

    def __init__(self, rows: dict[str, Row], shift: Shift) -> None:
        self.rows = rows
        self.shift = shift
        self._children: dict[str, list[str]] | None = None
        self._paths: dict[int, list[str]] | None = None
        self._names: dict[int, int] | None = None

    def children(self, folder: str) -> list[str]:
        """Return the names there were in a directory."""
        if self._children is None:
            self._children = {}
            for path in self.rows:
                if path:
                    parent, _, name = path.rpartition("/")
                    self._children.setdefault(parent, []).append(name)
        return self._children.get(folder, [])

    def below(self, folder: str) -> list[str]:
        """Return every path there was in a directory, at any depth."""
        found: list[str] = []
        waiting = [folder]
        while waiting:
            above = waiting.pop()
            inside = [f"{above}/{name}" if above else name for name in self.children(above)]
            found += inside
            waiting += inside
        return found

    def paths_of(self, inode: int, birth_ns: int) -> list[str]:
        """Return where a file of the copy was, sorted: nowhere when it was made since.

        An inode's number is given again; together with the time of birth it is one file's.
        """
        if self._paths is None:
            self._paths = {}
            for path, row in self.rows.items():
                self._paths.setdefault(row.inode, []).append(path)
        found = self._paths.get(inode, [])
        return sorted(path for path in found if birth_ns and self.rows[path].birth_ns == birth_ns)

    def names_in_project(self, inode: int) -> int:
        """Return how many names a file of the project had, as far as that is known."""
        if self._names is None:
            self._names = {}
            for row in self.rows.values():
                if row.found:
                    self._names[row.found[0]] = self._names.get(row.found[0], 0) + 1
        return self._names.get(inode, 0)

    def write(self, path: str) -> None:
        """Keep the table at `path`: the old one or this one is there, never a part."""
        temporary = f"{path}.new"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        with open(os.open(temporary, flags, 0o600), "wb") as file:
            rows = enumerate(self.rows.values())
            digests = {str(number): row.digest.hex() for number, row in rows if row.digest}
            head = {
                "version": _VERSION, "rows": len(self.rows), "shift": self.shift.to_json(),
                "digests": digests,
            }  # fmt: skip
            file.write(jsontext.dumps(head).encode() + b"\n")
            for row in self.rows.values():
                found = row.found or (0,) * 7
                file.write(_ROW.pack(row.copied[0], row.birth_ns, *row.copied[1:], *found))
            file.write(b"\0".join(map(os.fsencode, self.rows)))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        fd = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def read_table(path: str) -> Table:
    """Return the table at `path`; raises `SubstrateError` when it is not whole."""
    try:
        with open(path, "rb") as file:
            head = jsontext.loads(file.readline())
            count = head["rows"]
            rows = list(_rows(file.read(count * _ROW.size)))
            for number, digest in head.get("digests", {}).items():
                rows[int(number)] = replace(rows[int(number)], digest=bytes.fromhex(digest))
            paths = [os.fsdecode(name) for name in file.read().split(b"\0")]
        if head["version"] != _VERSION or len(rows) != count or len(paths) != count:
            raise ValueError  # noqa: TRY301 -- told the same way as what is no number
        return Table(dict(zip(paths, rows, strict=True)), Shift(*head["shift"]))
    except (OSError, ValueError, LookupError, TypeError, struct.error) as error:
        message = f"{path} is damaged: what the world changed cannot be told"
        hint = f"the world's copy of the project is {os.path.join(os.path.dirname(path), 'copy')}"
        raise SubstrateError(message, hint) from error


def _rows(packed: bytes) -> Iterator[Row]:
    for inode, birth_ns, mode, uid, gid, size, mtime, ctime, *found in _ROW.iter_unpack(packed):
        copied = (inode, mode, uid, gid, size, mtime, ctime)
        yield Row(copied, birth_ns, tuple(found) if found[0] else ())
