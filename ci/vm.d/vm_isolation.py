"""The machine's place on the host: namespaces in which its programs can change and leave nothing.

The programs run in a process, a mount and a network namespace of their own. The mounts of the
host are read-only there, but for a tmpfs over /dev/shm, the bench, which holds the sockets, the
console and the folder shared with the machine, and which ends with the namespace. When the first
process of the process namespace ends, the kernel ends all others; it ends when ci/vm does,
however that comes about.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import socket
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from vm_errors import BROKEN, UNSUPPORTED, VmError
from vm_words import BENCH, DISK

if TYPE_CHECKING:
    from vm_words import Guest

_CLONE_NEWNS = 0x00020000
_CLONE_NEWPID = 0x20000000
_CLONE_NEWNET = 0x40000000
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REC, _MS_PRIVATE = 2, 4, 8, 0x4000, 0x40000
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_MOUNT_ATTR_RDONLY = 1
_SYS_MOUNT_SETATTR = 442  # the same on every architecture
_PR_SET_PDEATHSIG = 1
_DISK_BYTES = 8 << 30

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Place:
    """The first process of the namespaces, and the bench as a path for this process."""

    pid: int
    pid_fd: int
    bench: Path
    channel: socket.socket

    def start(self) -> None:
        """Let the machine's programs start; what they read from the bench is there."""
        self.channel.send(b"go")

    def failure(self) -> str:
        """Return what the first process said before it ended, or ""."""
        try:
            return self.channel.recv(4096, socket.MSG_DONTWAIT).decode()
        except OSError:
            return ""

    def end(self) -> None:
        """Kill every process of the machine; returns when they, and the bench, are gone."""
        signal.pidfd_send_signal(self.pid_fd, signal.SIGKILL)
        os.waitid(os.P_PID, self.pid, os.WEXITED)


def make_place(guest: Guest) -> Place:
    """Fork the first process of new namespaces; it waits for `Place.start`."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        _check(_libc.unshare(_CLONE_NEWPID))
    except OSError as error:
        raise VmError(f"making a process namespace: {error.strerror}", UNSUPPORTED) from None
    pid = os.fork()
    if pid == 0:
        ours.close()
        _first_process(guest, theirs)
    theirs.close()
    message, descriptors, _, _ = socket.recv_fds(ours, 4096, 1)
    if not descriptors:
        os.waitpid(pid, 0)
        raise VmError(message.decode() or "the first process ended", BROKEN)
    return Place(pid, os.pidfd_open(pid), Path(f"/proc/self/fd/{descriptors[0]}"), ours)


def _first_process(guest: Guest, channel: socket.socket) -> NoReturn:
    doing = "preparing namespaces"
    try:
        # Keys pressed at the terminal are for ci/vm, which ends this process.
        os.setsid()
        _check(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))
        _make_bench()
        bench_fd = os.open(BENCH, os.O_RDONLY | os.O_DIRECTORY)
        socket.send_fds(channel, [b"ready"], [bench_fd])
        # Also the end of a ci/vm that died before PR_SET_PDEATHSIG.
        if channel.recv(16) != b"go":
            os._exit(BROKEN)
        doing = f"starting {guest.name}"
        machine = _start_programs(guest)
        doing = f"waiting for {guest.name}"
        while True:
            pid, status = os.wait()
            if pid == machine:
                os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    except OSError as error:
        channel.send(f"{doing}: {error.strerror}".encode())
    finally:
        os._exit(BROKEN)


def _make_bench() -> None:
    _check(_libc.unshare(_CLONE_NEWNS | _CLONE_NEWNET))
    _mount("none", "/", "", _MS_REC | _MS_PRIVATE, "")
    # Whatever the machine's programs do, the host's files stay as they are.
    read_only = struct.pack("=4Q", _MOUNT_ATTR_RDONLY, 0, 0, 0)
    _check(
        _libc.syscall(_SYS_MOUNT_SETATTR, _AT_FDCWD, b"/", _AT_RECURSIVE, read_only, len(read_only))
    )
    # User-mode-linux maps its memory, a file here, for execution: no MS_NOEXEC.
    _mount("tmpfs", BENCH, "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=755,size=95%")
    _mount("proc", "/proc", "proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC, "")


def _start_programs(guest: Guest) -> int:
    console_fd = os.open(f"{BENCH}/console", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    if guest.disk:
        _make_disk(console_fd)
    for path, argv in guest.servers:
        # Listening before the server runs: the machine connects and need not wait for it.
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen(1)
            _spawn(argv, console_fd, listener.fileno())
    return _spawn(guest.machine, console_fd)


def _make_disk(console_fd: int) -> None:
    """Make a sparse file with an empty ext4; what is written to it takes memory of the host."""
    disk_fd = os.open(DISK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.truncate(disk_fd, _DISK_BYTES)
    os.close(disk_fd)
    features = ("-O", "^has_journal", "-E", "lazy_itable_init=1,nodiscard")
    maker = _spawn(("mke2fs", "-q", "-F", "-t", "ext4", *features, DISK), console_fd)
    if os.waitpid(maker, 0)[1]:
        raise OSError(errno.EIO, "mke2fs failed")


def _spawn(argv: tuple[str, ...], console_fd: int, listener_fd: int | None = None) -> int:
    actions: list[tuple[int, int, int] | tuple[int, int, str, int, int]] = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, console_fd, 1),
        (os.POSIX_SPAWN_DUP2, console_fd, 2),
    ]
    if listener_fd is not None:
        actions.append((os.POSIX_SPAWN_DUP2, listener_fd, 3))
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": BENCH, "TMPDIR": BENCH}
    return os.posix_spawnp(
        argv[0],
        argv,
        environment,
        file_actions=actions,
        setsigmask=[],
        setsigdef=[signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGHUP],
    )


def _mount(source: str, target: str, kind: str, flags: int, data: str) -> None:
    _check(
        _libc.mount(
            source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode()
        )
    )


def _check(result: int) -> None:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
