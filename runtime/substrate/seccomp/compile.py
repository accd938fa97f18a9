"""Compiles an OCI seccomp profile into the filter that the kernel runs.

`policy.py` reads the profile, `table.py` says what each system call gets, `bpf.py` writes it.
"""

from __future__ import annotations

from substrate.kernel import filters
from substrate.record import replace
from substrate.seccomp.architectures import ARM, X32, X32_BIT, machine_architectures
from substrate.seccomp.bpf import assemble
from substrate.seccomp.compiled import CompiledFilter
from substrate.seccomp.policy import ALLOW, ERRNO, KILL_PROCESS, LOG, parse_policy
from substrate.seccomp.table import Decision, build_table, known_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from substrate.seccomp.architectures import Architecture
    from substrate.seccomp.policy import Policy
    from substrate.seccomp.table import Table

_EPERM, _ENOSYS = 1, 38
# The number a tracer writes to skip a call; the kernel never runs it, and no rule is about it.
_SKIPPED = 0xFFFFFFFF
# ARM's private calls (breakpoint, cacheflush, set_tls …) are old, though their numbers are high.
_PRIVATE = 0xF0000


def compile_filter(seccomp: dict[str, Any], log_only: bool) -> CompiledFilter:
    """Return the filter of an OCI `linux.seccomp` object for this machine.

    With `log_only` every action but ALLOW becomes LOG: nothing is blocked, all of it is recorded
    in the audit log. Raises BundleError listing every fault, UnsupportedError for listeners.
    """
    policy = parse_policy(seccomp, known_name)
    machine = machine_architectures(filters.native_architecture())
    # The native architecture is always in, as under runc: init itself runs as it.
    wanted = [
        architecture
        for architecture in machine
        if policy.architectures is None
        or architecture is machine[0]
        or architecture.name in policy.architectures
    ]
    # A call through an ABI that the profile leaves out would be judged by another table's numbers.
    other = LOG if log_only else KILL_PROCESS
    tables: dict[int, list[tuple[Architecture, Table]]] = {}
    for architecture in wanted:
        table = build_table(policy, architecture)
        if log_only:
            table = replace(
                table, decisions={key: _logged(item) for key, item in table.decisions.items()}
            )
        tables.setdefault(architecture.audit, []).append((architecture, table))
    sections = [
        (audit, _ranges(found, policy, other, log_only), found[0][0].bits)
        for audit, found in tables.items()
    ]
    return CompiledFilter(assemble(sections, other), policy.flags)


def _logged(decision: Decision) -> Decision:
    clauses = tuple(
        (conditions, _log_unless_allowed(action)) for conditions, action in decision.clauses
    )
    return Decision(clauses, _log_unless_allowed(decision.otherwise))


def _log_unless_allowed(action: int) -> int:
    return ALLOW if action == ALLOW else LOG


def _ranges(
    tables: list[tuple[Architecture, Table]], policy: Policy, other: int, log_only: bool
) -> list[tuple[int, Decision]]:
    """Return (first number, decision) over all 32-bit numbers of one audit architecture."""
    default = Decision((), policy.default_action)
    if log_only:
        default = _logged(default)
    beyond = default
    if policy.default_action == ERRNO | _EPERM and not log_only:
        # A call newer than the profile is to look like a call newer than the kernel, so that
        # libraries fall back to the older one; runc does the same.
        beyond = Decision((), ERRNO | _ENOSYS)
    edges: dict[int, Decision] = {_SKIPPED: default}
    for architecture, table in tables:
        start = architecture.offset
        edges[start] = default
        if table.last >= start:
            edges[table.last + 1] = beyond
        if architecture == ARM:
            edges.setdefault(_PRIVATE, default)
    names = {architecture.name for architecture, _ in tables}
    if tables[0][0].audit == X32.audit and X32.name not in names:
        edges[X32_BIT] = Decision((), other)
    single: dict[int, Decision] = {}
    for _, table in tables:
        single |= table.decisions
    return _merged(edges, single)


def _merged(edges: dict[int, Decision], single: dict[int, Decision]) -> list[tuple[int, Decision]]:
    """Return the ranges, adjacent equal ones joined; `single` numbers override."""
    starts = sorted({*edges, *single, *(number + 1 for number in single)})
    ranges: list[tuple[int, Decision]] = []
    current = edges[0]
    for start in starts:
        current = edges.get(start, current)
        decision = single.get(start, current)
        if not ranges or ranges[-1][1] != decision:
            ranges.append((start, decision))
    return ranges
