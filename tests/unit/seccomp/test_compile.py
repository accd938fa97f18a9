from __future__ import annotations

import re
from typing import Any

import pytest

from substrate.errors import BundleError, UnsupportedError
from substrate.kernel import filters
from substrate.seccomp.architectures import X86_64
from substrate.seccomp.compile import compile_filter
from tests.support import bpf

pytestmark = pytest.mark.skipif(
    filters.native_architecture() != X86_64.token, reason="the numbers below are those of x86_64"
)

ERRNO_PROFILE = {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38}


def profile(*rules: dict[str, Any], **keys: Any) -> dict[str, Any]:
    return {**ERRNO_PROFILE, "syscalls": list(rules), **keys}


def allow(*names: str, args: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {"names": list(names), "action": "SCMP_ACT_ALLOW", "args": args or []}


def answer(seccomp: dict[str, Any], arch: int, number: int, *args: int) -> int:
    return bpf.verdict(compile_filter(seccomp, log_only=False).bpf, arch, number, args)


@pytest.mark.parametrize(
    ("action", "value"),
    [
        ("SCMP_ACT_KILL", bpf.KILL_THREAD),
        ("SCMP_ACT_KILL_THREAD", bpf.KILL_THREAD),
        ("SCMP_ACT_KILL_PROCESS", bpf.KILL_PROCESS),
        ("SCMP_ACT_TRAP", bpf.TRAP),
        ("SCMP_ACT_ERRNO", bpf.ERRNO | 1),
        ("SCMP_ACT_TRACE", bpf.TRACE | 1),
        ("SCMP_ACT_LOG", bpf.LOG),
        ("SCMP_ACT_ALLOW", bpf.ALLOW),
    ],
)
def test_each_action_reaches_the_kernel(action: str, value: int) -> None:
    seccomp = profile({"names": ["getpid"], "action": action})
    assert answer(seccomp, bpf.X86_64, 39) == value
    assert answer(seccomp, bpf.X86_64, 40) == bpf.ERRNO | 38
    assert answer({"defaultAction": action}, bpf.X86_64, 40) == value


@pytest.mark.parametrize(
    ("operator", "value", "two", "holds", "fails"),
    [
        ("EQ", 1 << 32, 0, [1 << 32], [0, 1, (1 << 32) + 1]),
        ("NE", 1 << 32, 0, [0, (1 << 32) + 1, 1 << 33], [1 << 32]),
        ("LT", 1 << 32, 0, [0, 0xFFFFFFFF], [1 << 32, 1 << 33]),
        ("LE", 1 << 32, 0, [0, 1 << 32], [(1 << 32) + 1, 1 << 33]),
        ("GE", 1 << 32, 0, [1 << 32, 1 << 33], [0, 0xFFFFFFFF]),
        ("GT", 1 << 32, 0, [(1 << 32) + 1, 1 << 33], [0, 1 << 32]),
        ("MASKED_EQ", 0xF0000000F, 0x200000003, [0x200000003, 0x2000000F3], [3, 0x200000002]),
    ],
)
def test_each_operator_compares_all_64_bits(
    operator: str, value: int, two: int, holds: list[int], fails: list[int]
) -> None:
    condition = {"index": 5, "value": value, "valueTwo": two, "op": f"SCMP_CMP_{operator}"}
    program = compile_filter(profile(allow("write", args=[condition])), log_only=False).bpf
    for argument in holds:
        assert bpf.verdict(program, bpf.X86_64, 1, (0,) * 5 + (argument,)) == bpf.ALLOW
    for argument in fails:
        assert bpf.verdict(program, bpf.X86_64, 1, (0,) * 5 + (argument,)) == bpf.ERRNO | 38


def test_conditions_on_different_arguments_must_all_hold() -> None:
    args = [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]
    args.append({"index": 1, "value": 2, "op": "SCMP_CMP_EQ"})
    seccomp = profile(allow("write", args=args))
    assert answer(seccomp, bpf.X86_64, 1, 1, 2) == bpf.ALLOW
    assert answer(seccomp, bpf.X86_64, 1, 1, 3) == bpf.ERRNO | 38


def test_conditions_on_the_same_argument_are_alternatives_as_under_runc() -> None:
    args = [{"index": 0, "value": value, "op": "SCMP_CMP_EQ"} for value in (1, 7)]
    seccomp = profile(allow("write", args=args))
    assert answer(seccomp, bpf.X86_64, 1, 7) == bpf.ALLOW
    assert answer(seccomp, bpf.X86_64, 1, 2) == bpf.ERRNO | 38


def deny(*conditions: tuple[int, str, int]) -> dict[str, Any]:
    args = [{"index": i, "op": f"SCMP_CMP_{word}", "value": v} for i, word, v in conditions]
    return {"names": ["read"], "action": "SCMP_ACT_ERRNO", "args": args}


def test_rules_that_libseccomp_mistranslates_deny_what_they_say() -> None:
    rules = [deny((1, "GT", 2)), deny((2, "GT", 3), (1, "GE", 1))]
    seccomp = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}
    assert answer(seccomp, bpf.X86_64, 0, 0, 1, 4) == bpf.ERRNO | 1
    assert answer(seccomp, bpf.X86_64, 0, 0, 3, 0) == bpf.ERRNO | 1
    assert answer(seccomp, bpf.X86_64, 0, 0, 1, 3) == bpf.ALLOW


def test_rules_that_libseccomp_never_finishes_compile() -> None:
    rules = [
        deny((2, "GT", 1), (0, "NE", 3)),
        deny((0, "NE", 3), (2, "EQ", 3)),
        deny((2, "EQ", 3)),
    ]
    seccomp = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}
    assert answer(seccomp, bpf.X86_64, 0, 3, 0, 3) == bpf.ERRNO | 1
    assert answer(seccomp, bpf.X86_64, 0, 3, 0, 2) == bpf.ALLOW


def test_first_rule_without_conditions_decides_its_call() -> None:
    denied = {"names": ["write"], "action": "SCMP_ACT_ERRNO"}
    narrow = {**denied, "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]}
    assert answer(profile(allow("write"), denied), bpf.X86_64, 1) == bpf.ALLOW
    assert answer(profile(denied, allow("write")), bpf.X86_64, 1) == bpf.ERRNO | 1
    assert answer(profile(narrow, allow("write")), bpf.X86_64, 1, 1) == bpf.ALLOW


def test_without_architectures_every_abi_of_the_machine_is_filtered_by_its_own_numbers() -> None:
    seccomp = profile(allow("getpid"))
    for arch, number in ((bpf.X86_64, 39), (bpf.X86_64, 39 | bpf.X32_BIT), (bpf.X86, 20)):
        assert answer(seccomp, arch, number) == bpf.ALLOW
    assert answer(seccomp, bpf.X86, 39) == bpf.ERRNO | 38
    assert answer(seccomp, bpf.ARM, 20) == bpf.KILL_PROCESS


def test_abi_left_out_of_architectures_is_killed() -> None:
    seccomp = profile(allow("getpid"), architectures=["SCMP_ARCH_X86_64", "SCMP_ARCH_S390X"])
    assert answer(seccomp, bpf.X86_64, 39) == bpf.ALLOW
    assert answer(seccomp, bpf.X86_64, 39 | bpf.X32_BIT) == bpf.KILL_PROCESS
    assert answer(seccomp, bpf.X86, 20) == bpf.KILL_PROCESS
    assert answer(seccomp, bpf.X86_64, -1) == bpf.ERRNO | 38


def test_abi_left_out_is_logged_and_not_killed_in_log_mode() -> None:
    seccomp = profile(allow("getpid"), architectures=["SCMP_ARCH_X86_64"])
    program = compile_filter(seccomp, log_only=True).bpf
    for arch, number in ((bpf.X86, 20), (bpf.X86_64, 39 | bpf.X32_BIT), (bpf.X86_64, 40)):
        assert bpf.verdict(program, arch, number) == bpf.LOG
    assert bpf.verdict(program, bpf.X86_64, 39) == bpf.ALLOW


def test_native_abi_is_filtered_even_when_only_another_is_named() -> None:
    seccomp = profile(allow("getpid"), architectures=["SCMP_ARCH_X86"])
    assert answer(seccomp, bpf.X86_64, 39) == bpf.ALLOW
    assert answer(seccomp, bpf.X86, 20) == bpf.ALLOW


def test_call_newer_than_libseccomp_is_resolved_on_every_abi() -> None:
    assert filters.syscall_number(X86_64.token, "file_setattr") in (None, 469)
    seccomp = profile(allow("file_setattr", "uprobe"))
    for arch, number in ((bpf.X86_64, 469), (bpf.X86_64, 469 | bpf.X32_BIT), (bpf.X86, 469)):
        assert answer(seccomp, arch, number) == bpf.ALLOW
    assert answer(seccomp, bpf.X86_64, 336) == bpf.ALLOW
    assert answer(seccomp, bpf.X86, 336) == bpf.ERRNO | 38


def test_call_of_another_architecture_is_skipped() -> None:
    seccomp = profile(allow("riscv_flush_icache", "breakpoint", "s390_runtime_instr", "vm86"))
    assert answer(seccomp, bpf.X86, 166) == bpf.ALLOW
    program = bpf.decode(compile_filter(seccomp, log_only=False).bpf)
    answers = {bpf.run(program, bpf.syscall_data(bpf.X86_64, n)).action for n in range(600)}
    assert answers == {bpf.ERRNO | 38}


def test_default_of_eperm_becomes_enosys_for_calls_newer_than_the_profile() -> None:
    seccomp = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [allow("getpid", "openat2")]}
    assert answer(seccomp, bpf.X86_64, 40) == bpf.ERRNO | 1
    assert answer(seccomp, bpf.X86_64, 438) == bpf.ERRNO | 38
    assert answer(seccomp, bpf.X86_64, 438 | bpf.X32_BIT) == bpf.ERRNO | 38
    assert answer(seccomp, bpf.X86, 438) == bpf.ERRNO | 38


@pytest.mark.parametrize("errno", [13, 22])
def test_other_default_errnos_are_kept_for_newer_calls(errno: int) -> None:
    seccomp = {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": errno}
    assert answer({**seccomp, "syscalls": [allow("getpid")]}, bpf.X86_64, 438) == bpf.ERRNO | errno


def test_conditional_socket_rule_does_not_open_socketcall_to_32_bit_programs() -> None:
    unix = [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]
    seccomp = profile(allow("socket", args=unix), allow("connect", "shmget"))
    assert answer(seccomp, bpf.X86, 359, 1) == bpf.ALLOW
    assert answer(seccomp, bpf.X86, 359, 38) == bpf.ERRNO | 38
    assert answer(seccomp, bpf.X86, 102, 1) == bpf.ERRNO | 38
    assert answer(seccomp, bpf.X86, 102, 3) == bpf.ALLOW
    assert answer(seccomp, bpf.X86, 102, 4) == bpf.ERRNO | 38
    assert answer(seccomp, bpf.X86, 117, 23) == bpf.ALLOW
    assert answer(seccomp, bpf.X86, 117, 0x10000 | 23) == bpf.ALLOW
    assert answer(seccomp, bpf.X86, 117, 21) == bpf.ERRNO | 38


def test_conditional_denial_of_a_socket_denies_all_of_socketcall_socket() -> None:
    rule: dict[str, Any] = {"names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 97}
    rule["args"] = [{"index": 0, "value": 40, "op": "SCMP_CMP_EQ"}]
    seccomp = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    assert answer(seccomp, bpf.X86, 102, 1) == bpf.ERRNO | 97
    assert answer(seccomp, bpf.X86, 102, 2) == bpf.ALLOW


def test_socketcall_named_by_the_profile_is_what_the_profile_says() -> None:
    unix = [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]
    assert answer(profile(allow("socket", args=unix), allow("socketcall")), bpf.X86, 102, 1) == (
        bpf.ALLOW
    )


def test_flags_are_those_of_the_call_and_default_to_runcs() -> None:
    words = ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"]
    assert compile_filter(profile(flags=words), log_only=False).flags == 6
    assert compile_filter(profile(flags=["SECCOMP_FILTER_FLAG_TSYNC"]), log_only=False).flags == 0
    assert compile_filter(profile(flags=[]), log_only=False).flags == 0
    assert compile_filter(profile(), log_only=False).flags == 4


def test_every_fault_is_listed_with_its_path() -> None:
    broken = {
        "defaultAction": "SCMP_ACT_MAYBE",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_VAX"],
        "flags": ["NOISY"],
        "archMap": [],
        "syscalls": [
            {"names": ["read", "raed"], "action": "SCMP_ACT_ALLOW", "errnoRet": 1},
            {"names": [], "action": "SCMP_ACT_ERRNO", "errnoRet": 5000},
            {
                "names": ["read"],
                "action": "allow",
                "includes": {"caps": ["CAP_SYS_ADMIN"]},
                "args": [{"index": 6, "value": -1, "op": "EQ"}, "x"],
            },
            "read",
        ],
    }
    with pytest.raises(BundleError) as caught:
        compile_filter(broken, log_only=False)
    paths = [
        re.sub(r"config.json: \$\.linux\.seccomp(.*?): .*", r"\1", line)
        for line in caught.value.problems
    ]
    assert paths == [
        ".archMap",
        ".defaultAction",
        ".syscalls[0].names[1]",
        ".syscalls[0].errnoRet",
        ".syscalls[1].names",
        ".syscalls[1].errnoRet",
        ".syscalls[2].includes",
        ".syscalls[2].action",
        ".syscalls[2].args[0].index",
        ".syscalls[2].args[0].op",
        ".syscalls[2].args[0].value",
        ".syscalls[2].args[1]",
        ".syscalls[3]",
        ".architectures[1]",
        ".flags[0]",
    ]
    assert "no system call is named 'raed'" in str(caught.value)


@pytest.mark.parametrize(
    "extra",
    [
        {"listenerPath": "/run/listener"},
        {"defaultAction": "SCMP_ACT_NOTIFY"},
        {"syscalls": [{"names": ["read"], "action": "SCMP_ACT_NOTIFY"}]},
        {"flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]},
    ],
)
def test_what_needs_a_listener_is_refused_by_name(extra: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedError, match="listener"):
        compile_filter({**ERRNO_PROFILE, **extra}, log_only=False)


def test_profile_larger_than_a_filter_is_refused() -> None:
    args = [[{"index": 0, "value": value, "op": "SCMP_CMP_EQ"}] for value in range(1000)]
    with pytest.raises(UnsupportedError, match="4096"):
        compile_filter(profile(*(allow("write", args=item) for item in args)), log_only=False)
