from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from substrate.errors import BundleError
from substrate.kernel import filters
from substrate.seccomp.architectures import X86_64
from substrate.seccomp.compile import compile_filter
from substrate.seccomp.profiles import load_profile, profile_names
from tests.support import bpf

if TYPE_CHECKING:
    from pathlib import Path

on_x86_64 = pytest.mark.skipif(
    filters.native_architecture() != X86_64.token, reason="the numbers below are those of x86_64"
)

ALLOW, EPERM, ENOSYS = bpf.ALLOW, bpf.ERRNO | 1, bpf.ERRNO | 38
NO_FAMILY, NO_PROTOCOL = bpf.ERRNO | 97, bpf.ERRNO | 93

# call: number, arguments, verdict of `default`, verdict of `locked-down`
CASES = {
    "execve": (59, (), ALLOW, ALLOW),
    "a thread": (56, (0x3D0F00,), ALLOW, ALLOW),
    "clone with a user namespace": (56, (0x10000011,), EPERM, EPERM),
    "clone3": (435, (), ENOSYS, ENOSYS),
    "unshare of the descriptor table": (272, (0x400,), ALLOW, ALLOW),
    "unshare of the time namespace": (272, (0x80,), EPERM, EPERM),
    "unshare of everything": (272, (0x7E020080,), EPERM, EPERM),
    "setns": (308, (), EPERM, EPERM),
    "mount": (165, (), EPERM, EPERM),
    "mount_setattr": (442, (), EPERM, EPERM),
    "bpf": (321, (), EPERM, EPERM),
    "io_uring_setup": (425, (), EPERM, EPERM),
    "userfaultfd": (323, (), EPERM, EPERM),
    "keyctl": (250, (), EPERM, EPERM),
    "open_by_handle_at": (304, (), EPERM, EPERM),
    "finit_module": (313, (), EPERM, EPERM),
    "a window size": (16, (0, 0x5413), ALLOW, ALLOW),
    "TIOCSTI": (16, (0, 0x5412), EPERM, EPERM),
    "TIOCSTI behind a high half": (16, (0, 0xFFFFFFFF00005412), EPERM, EPERM),
    "TIOCLINUX": (16, (0, 0x541C), EPERM, EPERM),
    "AF_UNIX": (41, (1, 1), ALLOW, ALLOW),
    "AF_INET": (41, (2, 1), ALLOW, NO_FAMILY),
    "AF_INET6": (41, (10, 1), ALLOW, NO_FAMILY),
    "NETLINK_ROUTE": (41, (16, 3, 0), ALLOW, NO_FAMILY),
    "NETLINK_AUDIT": (41, (16, 3, 9), NO_PROTOCOL, NO_FAMILY),
    "AF_PACKET": (41, (17, 3), NO_FAMILY, NO_FAMILY),
    "AF_ALG": (41, (38, 5), NO_FAMILY, NO_FAMILY),
    "AF_VSOCK": (41, (40, 1), NO_FAMILY, NO_FAMILY),
    "AF_UNIX behind a high half": (41, ((1 << 32) + 1, 1), NO_FAMILY, NO_FAMILY),
    "socketpair of AF_UNIX": (53, (1, 1), ALLOW, ALLOW),
    "socketpair of AF_TIPC": (53, (30, 1), NO_FAMILY, NO_FAMILY),
    "ptrace": (101, (), ALLOW, EPERM),
    "process_vm_readv": (310, (), ALLOW, EPERM),
    "asking for the personality": (135, (0xFFFFFFFF,), ALLOW, ALLOW),
    "READ_IMPLIES_EXEC": (135, (0x400000,), ENOSYS, ENOSYS),
    "a call of next year": (480, (), ENOSYS, ENOSYS),
}


@on_x86_64
@pytest.mark.parametrize("case", CASES)
def test_shipped_profiles_answer(case: str) -> None:
    number, args, *expected = CASES[case]
    answers = [
        bpf.verdict(
            compile_filter(load_profile(name), log_only=False).bpf, bpf.X86_64, number, args
        )
        for name in ("default", "locked-down")
    ]
    assert answers == expected


@on_x86_64
def test_32_bit_programs_get_the_same_protection_or_none_of_the_world() -> None:
    default = compile_filter(load_profile("default"), log_only=False).bpf
    assert bpf.verdict(default, bpf.X86, 11) == ALLOW
    assert bpf.verdict(default, bpf.X86, 120, (0x10000011,)) == EPERM
    assert bpf.verdict(default, bpf.X86, 54, (0, 0x5412)) == EPERM
    # socketcall(SYS_SOCKET): the family lies behind a pointer.
    assert bpf.verdict(default, bpf.X86, 102, (1,)) == NO_FAMILY
    assert bpf.verdict(default, bpf.X86, 359, (38,)) == NO_FAMILY
    assert bpf.verdict(default, bpf.X86_64, 59 | bpf.X32_BIT) == bpf.KILL_PROCESS
    locked = compile_filter(load_profile("locked-down"), log_only=False).bpf
    assert bpf.verdict(locked, bpf.X86, 11) == bpf.KILL_PROCESS


@on_x86_64
@pytest.mark.parametrize("name", profile_names())
def test_shipped_filter_stays_short(name: str) -> None:
    program = bpf.decode(compile_filter(load_profile(name), log_only=False).bpf)
    steps = [bpf.run(program, bpf.syscall_data(bpf.X86_64, n)).steps for n in range(470)]
    assert len(program) < 800
    assert sum(steps) / len(steps) < 16


def test_unknown_profile_is_named_with_those_there_are() -> None:
    with pytest.raises(BundleError, match="no profile is named 'defualt'") as caught:
        load_profile("defualt")
    assert "default, locked-down" in caught.value.hint


def test_absolute_path_names_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    file.write_text('{"defaultAction": "SCMP_ACT_ALLOW"}')
    assert load_profile(str(file)) == {"defaultAction": "SCMP_ACT_ALLOW"}


@pytest.mark.parametrize("text", ["{", "[]", '"x"', ""])
def test_file_that_is_no_profile_is_an_error(tmp_path: Path, text: str) -> None:
    file = tmp_path / "broken.json"
    file.write_text(text)
    with pytest.raises(BundleError, match=r"broken\.json"):
        load_profile(str(file))


def test_only_a_regular_file_by_absolute_path_is_read(tmp_path: Path) -> None:
    (tmp_path / "real.json").write_text("{}")
    (tmp_path / "link.json").symlink_to("real.json")
    os.mkfifo(tmp_path / "fifo.json")
    for path in ("link.json", "fifo.json", "missing.json", ""):
        with pytest.raises(BundleError):
            load_profile(f"{tmp_path}/{path}")
    with pytest.raises(BundleError, match="not an absolute path"):
        load_profile("profiles/default.json")
    assert load_profile(str(tmp_path / "real.json")) == {}
