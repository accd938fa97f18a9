"""The compiled filter against two other readings: the reference, and libseccomp itself."""

from __future__ import annotations

import itertools
import tempfile
from typing import Any

import pyseccomp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from substrate.seccomp.compile import compile_filter
from substrate.seccomp.profiles import load_profile
from tests.support import bpf
from tests.support.examples import examples
from tests.unit.seccomp.reference import evaluate

pytestmark = pytest.mark.skipif(
    pyseccomp.system_arch() != bpf.X86_64, reason="the numbers below are those of x86_64"
)

# name: number on x86_64 and x32 (without its bit), number on x86
NUMBERS = {
    "write": (1, 4),
    "getpid": (39, 20),
    "personality": (135, 136),
    "unshare": (272, 310),
    "mseal": (462, 462),
}
EDGES = [0, 1, 2, 3, 0xFFFFFFFF, 1 << 32, (1 << 32) + 1, (1 << 64) - 1]
ABIS = [(bpf.X86_64, 0, 64), (bpf.X86_64, bpf.X32_BIT, 64), (bpf.X86, 0, 32)]

numbers = st.sampled_from(EDGES) | st.integers(0, (1 << 64) - 1)
operators = ["EQ", "NE", "LT", "LE", "GT", "GE", "MASKED_EQ"]
plain_actions = ["ALLOW", "LOG", "KILL", "KILL_PROCESS", "KILL_THREAD", "TRAP"]
actions = st.one_of(
    st.sampled_from(plain_actions).map(lambda word: {"action": f"SCMP_ACT_{word}"}),
    st.builds(
        lambda word, errno: {"action": f"SCMP_ACT_{word}", "errnoRet": errno},
        st.sampled_from(["ERRNO", "TRACE"]),
        st.sampled_from([1, 13, 38]),
    ),
)
conditions = st.fixed_dictionaries(
    {
        "index": st.integers(0, 2),
        "value": numbers,
        "valueTwo": numbers,
        "op": st.sampled_from(operators).map(lambda word: f"SCMP_CMP_{word}"),
    }
)
rules = st.builds(
    lambda names, action, args: {"names": names, "args": args, **action},
    st.lists(st.sampled_from(sorted(NUMBERS)), min_size=1, max_size=3, unique=True),
    actions,
    st.lists(conditions, max_size=3),
)
# The default is never EPERM here: what that adds for newer calls has tests of its own.
defaults = st.sampled_from(
    [
        {"defaultAction": "SCMP_ACT_ALLOW"},
        {"defaultAction": "SCMP_ACT_KILL_PROCESS"},
        {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38},
        {"defaultAction": "SCMP_ACT_LOG"},
    ]
)
profiles: st.SearchStrategy[dict[str, Any]] = st.builds(
    lambda default, syscalls: {**default, "syscalls": syscalls},
    defaults,
    st.lists(rules, max_size=6),
)


@settings(max_examples=examples(60), deadline=None)
@given(profiles, st.lists(st.tuples(numbers, numbers, numbers), min_size=1, max_size=3))
def test_filter_answers_what_the_profile_says(
    profile: dict[str, Any], calls: list[tuple[int, ...]]
) -> None:
    program = bpf.decode(compile_filter(profile, log_only=False).bpf)
    for (audit, bit, bits), name, args in itertools.product(ABIS, NUMBERS, calls):
        number = NUMBERS[name][audit == bpf.X86] | bit
        # The kernel hands a 32-bit process's registers over zero-extended.
        seen = tuple(value & ((1 << bits) - 1) for value in args)
        answer = bpf.run(program, bpf.syscall_data(audit, number, seen)).action
        assert answer == evaluate(profile, name, seen, bits), (name, hex(audit), seen)


@settings(max_examples=examples(30), deadline=None)
@given(profiles, st.tuples(numbers, numbers, numbers))
def test_log_mode_blocks_nothing_and_lets_through_silently_what_was_allowed(
    profile: dict[str, Any], args: tuple[int, ...]
) -> None:
    enforced = bpf.decode(compile_filter(profile, log_only=False).bpf)
    logged = bpf.decode(compile_filter(profile, log_only=True).bpf)
    calls = [(bpf.X86_64, number) for number in (*range(0, 480, 7), 462, bpf.X32_BIT, -1)]
    for audit, number in [*calls, (bpf.X86, 310), (bpf.ARM, 1)]:
        data = bpf.syscall_data(audit, number, args)
        allowed = bpf.run(enforced, data).action == bpf.ALLOW
        assert bpf.run(logged, data).action == (bpf.ALLOW if allowed else bpf.LOG)


def _libseccomp(profile: dict[str, Any]) -> list[bpf.Instruction]:
    """Return libseccomp's own filter for a profile whose default is ENOSYS."""
    program = pyseccomp.SyscallFilter(pyseccomp.ERRNO(38))
    for rule in profile["syscalls"]:
        action = pyseccomp.ALLOW
        if rule["action"] == "SCMP_ACT_ERRNO":
            action = pyseccomp.ERRNO(rule["errnoRet"])
        args = [
            pyseccomp.Arg(
                item["index"],
                getattr(pyseccomp, item["op"].removeprefix("SCMP_CMP_")),
                item["value"],
                item.get("valueTwo", 0),
            )
            for item in rule.get("args", [])
        ]
        for name in rule["names"]:
            number = pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name)
            if number != -1:
                program.add_rule(action, number, *args)
    with tempfile.TemporaryFile() as file:
        program.export_bpf(file)
        file.seek(0)
        return bpf.decode(file.read())


def test_shipped_profile_compiles_to_what_libseccomp_makes_of_it() -> None:
    profile = load_profile("default")
    theirs = _libseccomp(profile)
    ours = bpf.decode(compile_filter(profile, log_only=False).bpf)
    arguments = [
        (0, 0, 0),
        (16, 0x5412, 9),
        (16, 0x541C, 4),
        (0x10000000, 0x100005412, 0),
        (40, 5, 0),
        (0x20008, 0, 0),
    ]
    # Not on x86: there libseccomp refuses a second conditional rule for `socket` (EEXIST). It does
    # not know the newest calls either: uretprobe (335), and those from 451 on.
    calls = (*range(335), *range(336, 451), 0xFFFFFFFF)
    for number, args in itertools.product(calls, arguments):
        data = bpf.syscall_data(bpf.X86_64, number, args)
        assert bpf.run(ours, data).action == bpf.run(theirs, data).action, (number, args)
