"""From a policy to what each system call number of an architecture gets.

The meaning of a profile, where the specification leaves it open, is decided here:

1. a rule whose action is the default action says nothing (runc skips it);
2. the first rule without conditions decides its call, whatever else there is (libseccomp);
3. otherwise the strictest action among the rules whose conditions hold, in the kernel's own order
   of strictness (seccomp(2)); between two errnos the first rule;
4. otherwise the default action.
"""

from __future__ import annotations

from substrate.kernel import filters
from substrate.record import record
from substrate.seccomp.architectures import X86, X86_64
from substrate.seccomp.policy import Condition
from substrate.seccomp.syscall_names import SINGLE, UNIFIED, X86_DIRECT, X86_IPC, X86_SOCKETCALL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from substrate.seccomp.architectures import Architecture
    from substrate.seccomp.policy import Policy

    Clause = tuple[tuple[Condition, ...], int]


@record
class Decision:
    """What one call gets: the first clause that holds, strictest first, else `otherwise`."""

    clauses: tuple[Clause, ...]
    otherwise: int


@record
class Table:
    """The decisions of one architecture by number; `last` is the newest call the profile names.

    Numbers of ARM's private range (0xf0000 and up) do not count as new.
    """

    decisions: dict[int, Decision]
    last: int


def known_name(name: str) -> bool:
    """Tell whether a system call of this name exists on any architecture."""
    return (
        name in UNIFIED or name in SINGLE or filters.syscall_number(X86_64.token, name) is not None
    )


def build_table(policy: Policy, architecture: Architecture) -> Table:
    """Return what the policy says about each system call number of an architecture."""
    clauses: dict[int, list[Clause]] = {}
    multiplexed: dict[tuple[int, int], list[Clause]] = {}
    last = -1
    for rule in policy.rules:
        for name in rule.names:
            numbers, call = _numbers(architecture, name)
            last = max([last, *(number for number in numbers if number & 0xFFFF == number)])
            if rule.action == policy.default_action:
                continue
            clause = (rule.conditions, rule.action)
            for number in numbers:
                clauses.setdefault(number, []).append(clause)
            if call is not None:
                multiplexed.setdefault(call, []).append(clause)
    for (number, selector), inner in multiplexed.items():
        clause = _multiplexed_clause(selector, inner, policy.default_action)
        clauses.setdefault(number, []).append(clause)
    decisions = {
        number + architecture.offset: decide(found, policy.default_action)
        for number, found in clauses.items()
    }
    return Table(decisions, last + architecture.offset)


def decide(clauses: Iterable[Clause], default: int) -> Decision:
    """Return the decision that the clauses of one call amount to, in the order of the profile."""
    conditional: list[Clause] = []
    for conditions, action in clauses:
        if not conditions:
            return Decision((), action)
        conditional.append((conditions, action))
    conditional.sort(key=lambda clause: strictness(clause[1]))
    return Decision(tuple(conditional), default)


def strictness(action: int) -> int:
    """Return where an action stands in the kernel's order, the strictest first."""
    kind = action & 0xFFFF0000
    return kind - (1 << 32) if kind & 0x80000000 else kind


def _multiplexed_clause(selector: int, inner: list[Clause], default: int) -> Clause:
    # The real arguments lie behind a pointer, where no filter can read them. So what a rule grants
    # on a condition is not granted here, and what it denies on a condition is always denied:
    # libseccomp drops the condition instead, which opens every socket family to 32-bit programs.
    decision = decide(inner, default)
    actions = [action for _, action in decision.clauses]
    action = min([*actions, decision.otherwise], key=strictness)
    # ipc() keeps a version number in the upper half of its selector (ipc/syscall.c).
    return (Condition(0, "MASKED_EQ", 0xFFFF, selector),), action


def _numbers(architecture: Architecture, name: str) -> tuple[list[int], tuple[int, int] | None]:
    """Return a call's numbers without the x32 bit, and its multiplexed form (number, selector)."""
    number = filters.syscall_number(architecture.token, name)
    if number is None:
        if name in UNIFIED:
            return [UNIFIED[name]], None
        owner, only = SINGLE[name]
        return ([only] if owner == architecture.name else []), None
    if number >= 0:
        return [number & ~architecture.offset], None
    if architecture == X86 and -300 < number <= -100:
        direct = [X86_DIRECT[name]] if name in X86_DIRECT else []
        if number > -200:
            return direct, (X86_SOCKETCALL, -100 - number)
        return direct, (X86_IPC, -200 - number)
    return [], None
