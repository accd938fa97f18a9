"""How many examples a property is tried on: a number for a usual run, scaled for others.

SUBSTRATE_TESTS_EXAMPLES is the factor: less than 1 where time is short, more for a long search.
"""

from __future__ import annotations

import os

_FEWEST = 8


def examples(usual: int) -> int:
    """Return how many examples to try where a usual run tries that many."""
    factor = float(os.environ.get("SUBSTRATE_TESTS_EXAMPLES") or 1)
    return max(_FEWEST, round(usual * factor))


def every(usual: int) -> int:
    """Return how far to go on where a usual run tries each n-th step; 1 in a long search."""
    return usual if examples(100) <= 100 else 1
