"""The four operations of which every change to a project consists, each undone by its opposite.

    out     move what is at a path to a numbered piece
    in      move a piece to a path where nothing is
    swap    exchange a path and a piece
    set     give what is at a path other metadata, in place

Each is one rename(2) of one object, except `set`. A directory moves without what is in it: that
has moved before, one by one. Only a renamed directory, which goes out and in as the same piece,
takes along what is in it.
"""

from __future__ import annotations

from substrate.filesystem.copying import Metadata
from substrate.filesystem.identity import Identity, identity_from

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OUT, IN, SWAP, SET = "out", "in", "swap", "set"
_OPPOSITE = {OUT: IN, IN: OUT, SWAP: SWAP, SET: SET}


class Operation:
    """One operation at `path`, relative to the root; a plain class, one for each changed file.

    `there` is what must be at the path before, `piece` the number of the piece and `staged` what
    is in it before; `after` is what the path holds once all is done. `moved`: the piece is
    something renamed, which comes from the tree and returns to it. `old` and `new` are for `set`.
    """

    __slots__ = ("after", "kind", "moved", "new", "old", "path", "piece", "staged", "there")

    def __init__(self, kind: str, path: str, piece: int = -1, *, moved: bool = False) -> None:
        self.kind = kind
        self.path = path
        self.piece = piece
        self.moved = moved
        self.there: Identity | None = None
        self.staged: Identity | None = None
        self.after: Identity | None = None
        self.old: Metadata | None = None
        self.new: Metadata | None = None

    def __repr__(self) -> str:
        return f"Operation({self.kind} {self.path!r} {self.piece})"

    def opposite(self) -> Operation:
        """Return what undoes this operation, once it has been done."""
        other = Operation(_OPPOSITE[self.kind], self.path, self.piece, moved=self.moved)
        other.there, other.staged = self.after, self.there
        other.old, other.new = self.new, self.old
        return other

    def to_json(self) -> list[Any]:
        """Return the operation as it is stored."""
        identities = (self.there, self.staged, self.after)
        return [
            self.kind, self.path, self.piece, int(self.moved),
            *(None if one is None else one.to_json() for one in identities),
            *(None if one is None else _stored(one) for one in (self.old, self.new)),
        ]  # fmt: skip


def operation_from(stored: list[Any]) -> Operation:
    """Return the operation of its stored form."""
    found = Operation(stored[0], stored[1], stored[2], moved=bool(stored[3]))
    found.there, found.staged, found.after = map(identity_from, stored[4:7])
    found.old, found.new = map(_metadata_from, stored[7:9])
    return found


def _stored(metadata: Metadata) -> list[Any]:
    attributes = [[key, value.hex()] for key, value in metadata.attributes]
    return [metadata.mode, metadata.uid, metadata.gid, metadata.mtime_ns, attributes]


def _metadata_from(stored: list[Any] | None) -> Metadata | None:
    if stored is None:
        return None
    attributes = tuple((key, bytes.fromhex(value)) for key, value in stored[4])
    mode, uid, gid, mtime_ns = stored[:4]
    return Metadata(mode, uid, gid, mtime_ns, attributes)
