"""The compiled filter, as the isolation sequence loads it and the cache keeps it."""

from __future__ import annotations

from substrate.record import record


@record
class CompiledFilter:
    """A filter for seccomp(2): `bpf` is an array of struct sock_filter, `flags` the call's."""

    bpf: bytes
    flags: int
