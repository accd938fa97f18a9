"""What is told of a world whose layers have no room left."""

from __future__ import annotations

from substrate.cgroups.report import LimitHit, readable_bytes
from substrate.filesystem.space import is_used_up, used_space


def hit(data: str) -> tuple[LimitHit, ...]:
    """Return the limit of a world's layers if it is used up; `data` is where they are.

    The kernel tells nobody but the writer, whose write fails with EDQUOT; what is left tells us.
    """
    found = used_space(data)
    if found is None or not is_used_up(*found):
        return ()
    used, limit = found
    sentence = (
        f"disk: the layers take {readable_bytes(used)} of the limit of {readable_bytes(limit)};"
        " what was beyond it could not be written"
    )
    return (
        LimitHit(
            "disk", limit, used, 0, is_fatal=True, sentence=sentence,
            hint="raise it with substrate.limits.disk",
        ),
    )  # fmt: skip
