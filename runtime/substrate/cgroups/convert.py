"""The published formulas from cgroup v1's numbers, which the OCI specification speaks, to v2's.

Zero means "not set" everywhere, as engines that write every key leave them.
"""

from __future__ import annotations

import math

UNLIMITED = -1
MAX = "max"
DEFAULT_PERIOD_US = 100_000
# Bounds of the kernel's cpu.max (kernel/sched/core.c).
_LONGEST_PERIOD_US = 1_000_000
_SMALLEST_QUOTA_US = 1_000
_MOST_SHARES = 262_144
_HIGHEST_WEIGHT = 10_000
# More than any kernel is built for (CONFIG_NR_CPUS).
_MOST_CPUS = 1 << 16
# Suffixes of the kernel's memparse().
_SUFFIXES = "KMGTPE"


def weight_of_shares(shares: int) -> int:
    """Return the cpu.weight of v1's cpu.shares.

    The curve through (2, 1), (1024, 100) and (262144, 10000) that runc uses since 1.3.2
    (opencontainers/runc#4785) and crun since 1.23 (containers/crun#1767). The straight line before
    it, 1 + (shares - 2) * 9999 / 262142, gave the default of 1024 shares a weight of 39, so that
    a container fell behind every process of the host.
    """
    if shares <= 2:
        return 1
    if shares >= _MOST_SHARES:
        return _HIGHEST_WEIGHT
    log = math.log2(shares)
    return math.ceil(10 ** ((log * log + 125 * log) / 612 - 7 / 34))


def weight_of_block_weight(weight: int) -> int:
    """Return the io.weight (1 to 10000) of v1's blkio.weight (10 to 1000), as runc and crun do."""
    return 1 + (weight - 10) * 9999 // 990


def swap_limit(swap: int, limit: int) -> int | None:
    """Return memory.swap.max of v1's sum of memory and swap, None when it is not set.

    -1 is unlimited. Without a limit of swap, unlimited memory means unlimited swap, as under v1.
    Raises `ValueError` when no limit of swap can be told from the two.
    """
    if swap == 0:
        return UNLIMITED if limit == UNLIMITED else None
    if UNLIMITED in (swap, limit):
        return swap
    if limit == 0:
        message = "a limit of memory beside it, since it counts memory and swap together"
        raise ValueError(message)
    if swap < limit:
        message = f"at least the limit of memory, {limit}"
        raise ValueError(message)
    return swap - limit


def bytes_or_max(value: int) -> str:
    """Return a number of bytes as v2 writes it."""
    return MAX if value < 0 else str(value)


def quota_of_cpus(cpus: float) -> tuple[int, int]:
    """Return (quota, period) in microseconds that give so many CPUs."""
    period = DEFAULT_PERIOD_US
    if cpus * period < _SMALLEST_QUOTA_US:
        # The kernel takes no quota below a millisecond, so a small share needs a long period.
        period = _LONGEST_PERIOD_US
    return max(_SMALLEST_QUOTA_US, int(cpus * period)), period


def parse_amount(text: str) -> int:
    """Return the number in a v2 file's value, with the suffixes it may have; -1 is max.

    Raises `ValueError` for anything else.
    """
    text = text.strip()
    if text == MAX:
        return UNLIMITED
    power = 0
    if text[-1:].upper() in _SUFFIXES and text[-1:]:
        power = _SUFFIXES.index(text[-1].upper()) + 1
        text = text[:-1]
    if not (text.isascii() and text.isdigit()):
        message = "max, or a number with a suffix of KMGTPE"
        raise ValueError(message)
    return int(text) << (10 * power)


def parse_cpu_max(text: str) -> tuple[int, int]:
    """Return (quota, period) of a cpu.max; a quota of -1 is max. Raises `ValueError`."""
    words = text.split()
    if not 1 <= len(words) <= 2 or not all(word.isdigit() for word in words[1:]):
        message = "QUOTA PERIOD"
        raise ValueError(message)
    return parse_amount(words[0]), int(words[1]) if len(words) == 2 else DEFAULT_PERIOD_US


def parse_list(text: str) -> frozenset[int]:
    """Return the numbers of a list like `0-3,7`; what is none of it counts as nothing."""
    found: set[int] = set()
    for part in text.replace(" ", "").split(","):
        first, _, last = part.partition("-")
        if first.isdigit() and (last or first).isdigit():
            found.update(range(int(first), min(int(last or first), _MOST_CPUS) + 1))
    return frozenset(found)
