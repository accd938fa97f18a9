"""Probes of system calls on processes, descriptors and limits."""

from __future__ import annotations

import array
import os
import resource
import signal
import struct
from contextlib import ExitStack

from substrate.host.children import enter_namespaces, kernel_words, try_in_child
from substrate.kernel.constants import Clone, O, Pr, Resolve, Seccomp
from substrate.kernel.linux import raw_syscall, syscall

# The same on every architecture (include/uapi/asm-generic/unistd.h).
_LANDLOCK_CREATE_RULESET = 444
_LANDLOCK_CREATE_RULESET_VERSION = 1


def root() -> str:
    """Try whether we are root of the machine, not only of a user namespace."""
    if os.geteuid() != 0:
        return f"the effective uid is {os.geteuid()}"
    with open("/proc/self/uid_map", encoding="ascii") as file:
        if file.read().split() != ["0", "0", "4294967295"]:
            return "uid 0 here is mapped to another uid outside"
    return try_in_child(lambda: enter_namespaces(Clone.NEWNS))


def openat2() -> str:
    """Try to open a path beneath a directory, and that a path out of it is refused."""
    how = struct.pack("=QQQ", O.PATH | O.CLOEXEC, 0, Resolve.BENEATH)
    with ExitStack() as opened:
        directory = os.open("/proc", os.O_PATH | os.O_CLOEXEC)
        opened.callback(os.close, directory)
        try:
            inside = syscall("openat2", directory, b"self/stat", how, len(how))
        except OSError as error:
            return kernel_words(error)
        opened.callback(os.close, inside)
        try:
            outside = syscall("openat2", directory, b"../etc", how, len(how))
        except OSError:
            return ""
        opened.callback(os.close, outside)
    return "RESOLVE_BENEATH lets a path out"


def clone3() -> str:
    """Try clone3(2) as a plain fork."""

    def attempt() -> None:
        # struct clone_args up to tls: flags, pidfd, child_tid, parent_tid, exit_signal, …
        arguments = struct.pack("=8Q", 0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0)
        pid = syscall("clone3", arguments, len(arguments))
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)

    return try_in_child(attempt)


def pidfd() -> str:
    """Try to open our own process and to signal it through the descriptor."""
    try:
        descriptor = os.pidfd_open(os.getpid())
    except OSError as error:
        return kernel_words(error)
    try:
        signal.pidfd_send_signal(descriptor, 0)
    except OSError as error:
        return kernel_words(error)
    finally:
        os.close(descriptor)
    return ""


def memfd_exec() -> str:
    """Try to execute a program that is only in memory."""

    def attempt() -> None:
        program = os.memfd_create("probe", os.MFD_CLOEXEC)
        with open("/bin/true", "rb") as file:
            os.write(program, file.read())
        os.execve(program, ["true"], {})

    return try_in_child(attempt)


def seccomp_filter() -> str:
    """Try to load a filter that allows everything."""

    def attempt() -> None:
        # BPF_RET | BPF_K with SECCOMP_RET_ALLOW; struct sock_fprog holds its length and address.
        program = array.array("B", struct.pack("=HBBI", 0x06, 0, 0, 0x7FFF_0000))
        address, _ = program.buffer_info()
        syscall("prctl", Pr.SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        syscall("seccomp", Seccomp.SET_MODE_FILTER, 0, struct.pack("@HP", 1, address))

    return try_in_child(attempt)


def landlock() -> str:
    """Try to ask Landlock for its version."""
    result = raw_syscall(_LANDLOCK_CREATE_RULESET, (0, 0, _LANDLOCK_CREATE_RULESET_VERSION))
    return "" if result > 0 else f"landlock_create_ruleset: {os.strerror(-result)}"


def raise_hard_limit() -> str:
    """Try to raise the hard limit of open files by one."""

    def attempt() -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard + 1))

    return try_in_child(attempt)
