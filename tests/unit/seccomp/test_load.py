"""The filter on the real kernel, in a child: loading one cannot be undone."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import socket
import traceback
from typing import TYPE_CHECKING, Any

from substrate.kernel import filters, linux
from substrate.kernel.constants import Pr
from substrate.seccomp.compile import compile_filter
from substrate.seccomp.profiles import load_profile

if TYPE_CHECKING:
    from collections.abc import Callable


def status_under(
    seccomp: dict[str, Any], body: Callable[[], None], *, log_only: bool = False
) -> int:
    """Return the wait status of a child that runs `body` under a filter."""
    compiled = compile_filter(seccomp, log_only)
    pid = os.fork()
    if pid == 0:
        try:
            linux.syscall("prctl", Pr.SET_NO_NEW_PRIVS, 1, 0, 0, 0)
            filters.load_filter(compiled.bpf, compiled.flags)
            body()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1]


def denying(*rules: tuple[str, str, int | None]) -> dict[str, Any]:
    syscalls = [
        {"names": [name], "action": action} | ({"errnoRet": number} if number else {})
        for name, action, number in rules
    ]
    return {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": syscalls}


def error_of(call: Callable[[], object]) -> int | None:
    try:
        call()
    except OSError as error:
        return error.errno
    return None


def test_denied_call_fails_with_its_errno_and_others_work() -> None:
    seccomp = denying(("getcwd", "SCMP_ACT_ERRNO", None), ("sethostname", "SCMP_ACT_ERRNO", 38))

    def body() -> None:
        assert error_of(os.getcwd) == errno.EPERM
        assert os.getpid() > 0
        assert os.listdir("/") != []

    assert status_under(seccomp, body) == 0


def test_trap_is_sigsys_and_kill_process_ends_the_process() -> None:
    def body() -> None:
        os.getcwd()

    for action in ("SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP"):
        status = status_under(denying(("getcwd", action, None)), body)
        assert os.WIFSIGNALED(status), action
        assert os.WTERMSIG(status) == signal.SIGSYS


def test_log_mode_lets_the_same_call_through() -> None:
    def body() -> None:
        assert os.getcwd()

    seccomp = denying(("getcwd", "SCMP_ACT_KILL_PROCESS", None))
    assert status_under(seccomp, body, log_only=True) == 0


def test_default_profile_on_the_kernel() -> None:
    libc = ctypes.CDLL(None, use_errno=True)

    def errno_of(number: int, *args: int) -> int:
        ctypes.set_errno(0)
        libc.syscall(ctypes.c_long(number), *map(ctypes.c_ulong, args))
        return ctypes.get_errno()

    def body() -> None:
        assert errno_of(435, 0, 0) == errno.ENOSYS  # clone3
        assert errno_of(425, 1, 0) == errno.EPERM  # io_uring_setup
        assert error_of(lambda: socket.socket(38, socket.SOCK_SEQPACKET)) == errno.EAFNOSUPPORT
        socket.socket(socket.AF_UNIX).close()
        pid = os.fork()
        if pid == 0:
            os.execv("/bin/true", ["true"])
        assert os.waitpid(pid, 0)[1] == 0

    assert status_under(load_profile("default"), body) == 0
