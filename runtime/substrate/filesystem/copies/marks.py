"""What an overlay would have noted of the entries of a copy, and how it would tell of them."""

from __future__ import annotations

import os
import stat

from substrate.record import record

# Of the attributes that would be an overlay's own: in a copy nothing hides, and all that a world
# gives a file shows. Like those of root's overlays, they lead to where something was.
PREFIX = "trusted.substrate.copy."
# Stands for a name that is gone. By identity: a world may make a real device of that number.
WHITEOUT = os.stat_result((stat.S_IFCHR, *(0,) * 18))


@record
class Mark:
    """What an overlay would have noted of one entry.

    `redirect` is where it was, "" for at its own place. `origin` is the project's inode it was
    made from, 0 for none known; `together`: the changes are those of all names of a file.
    """

    redirect: str = ""
    origin: int = 0
    together: bool = False


NO_MARK = Mark()
