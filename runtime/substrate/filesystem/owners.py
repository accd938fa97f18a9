"""Which owner a file gets in the project.

A layer keeps the ids its world's users have outside. An id that exists for that world alone (from a
range of the bundle's `uidMappings`) means nothing in the project: there the project's owner is who
a person expects.
"""

from __future__ import annotations

from substrate.record import record, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.filesystem.copying import Metadata


@record
class Owners:
    """The project's owner, and the (first, count) ranges of ids of the world's own."""

    uid: int
    gid: int
    foreign_uids: tuple[tuple[int, int], ...] = ()
    foreign_gids: tuple[tuple[int, int], ...] = ()

    def fit(self, metadata: Metadata) -> Metadata:
        """Return the metadata with an owner that means something in the project."""
        uid = self.uid if _within(metadata.uid, self.foreign_uids) else metadata.uid
        gid = self.gid if _within(metadata.gid, self.foreign_gids) else metadata.gid
        if (uid, gid) == (metadata.uid, metadata.gid):
            return metadata
        return replace(metadata, uid=uid, gid=gid)


def _within(number: int, ranges: tuple[tuple[int, int], ...]) -> bool:
    return any(first <= number < first + count for first, count in ranges)
