"""What everybody must know of the accepts of a world: a few looks into its data directory.

Loaded by every `exec`; the accepts themselves are in `changing.py`.
"""

from __future__ import annotations

import os

from substrate.errors import WorldStateError

# Below the data directory: what was accepted, and what is being discarded in parts.
STORE, DISCARD = "accept", "discard"
_UNFINISHED = "unfinished"


def is_interrupted(data: str) -> bool:
    """Whether layers or project are in the middle of a change, which may have been killed."""
    return any(os.path.lexists(f"{data}/{name}/{_UNFINISHED}") for name in (STORE, DISCARD))


def check_complete(data: str) -> None:
    """Raise `WorldStateError` when layers are not what they are about to be; the caller locks."""
    if is_interrupted(data):
        message = f"the layers in {data} are in the middle of an accept or discard that was killed"
        raise WorldStateError(message, "`diff` takes it back, or completes it; then try again")


def highest_accepted(data: str) -> int:
    """Return the highest number of the layers that accepts have put away, 0 for none.

    They may come back, so numbers go on above it.
    """
    try:
        places = os.listdir(f"{data}/{STORE}/undo")
    except FileNotFoundError:
        return 0
    highest = 0
    for place in places:
        try:
            names = os.listdir(f"{data}/{STORE}/undo/{place}/layers")
        except FileNotFoundError:
            continue
        for name in names:
            number = name.partition(".")[0]
            if number.isdigit():
                highest = max(highest, int(number))
    return highest
