"""System call numbers by architecture, under their kernel names.

Only what is used here. Numbers from 424 on are the same everywhere; the older ones are the x86_64
table and the generic one (include/uapi/asm-generic/unistd.h), which aarch64 and riscv64 share.
"""

from __future__ import annotations

import os

from substrate.errors import UnsupportedError

_UNIFIED = {
    "pidfd_send_signal": 424,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "pidfd_open": 434,
    "clone3": 435,
    "close_range": 436,
    "openat2": 437,
    "mount_setattr": 442,
}

# Each name with its number in the x86_64 table and in the generic one.
_BY_TABLE = {
    "read": (0, 63),
    "write": (1, 64),
    "close": (3, 57),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "ioctl": (16, 29),
    "fcntl": (72, 25),
    "socket": (41, 198),
    "sendmsg": (46, 211),
    "recvmsg": (47, 212),
    "execve": (59, 221),
    "clock_gettime": (228, 113),
    "exit_group": (231, 94),
    "getcwd": (79, 17),
    "chdir": (80, 49),
    "fchdir": (81, 50),
    "fchmod": (91, 52),
    "fchown": (93, 55),
    "umask": (95, 166),
    "setsid": (112, 157),
    "setgroups": (116, 159),
    "setresuid": (117, 147),
    "setresgid": (119, 149),
    "setfsuid": (122, 151),
    "setfsgid": (123, 152),
    "capget": (125, 90),
    "capset": (126, 91),
    "personality": (135, 92),
    "sched_setattr": (314, 274),
    "pivot_root": (155, 41),
    "prctl": (157, 167),
    "chroot": (161, 51),
    "mount": (165, 40),
    "umount2": (166, 39),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "keyctl": (250, 219),
    "ioprio_set": (251, 30),
    "openat": (257, 56),
    "mkdirat": (258, 34),
    "mknodat": (259, 33),
    "fchownat": (260, 54),
    "symlinkat": (266, 36),
    "unshare": (272, 97),
    "syncfs": (306, 267),
    "renameat2": (316, 276),
    "statx": (332, 291),
    "accept4": (288, 242),
    "dup3": (292, 24),
    "prlimit64": (302, 261),
    "ppoll": (271, 73),
    "setns": (308, 268),
    "seccomp": (317, 277),
    "execveat": (322, 281),
}


def number_table(machine: str) -> dict[str, int]:
    """Return name -> number for a machine as `uname -m` calls it.

    Raises `UnsupportedError` for an architecture without a table here.
    """
    if machine == "x86_64":
        column = 0
    elif machine in ("aarch64", "riscv64"):
        column = 1
    else:
        message = f"no system call table for the architecture {machine}"
        raise UnsupportedError(message, "x86_64, aarch64 and riscv64 are supported")
    return _UNIFIED | {name: numbers[column] for name, numbers in _BY_TABLE.items()}


MACHINE = os.uname().machine
NUMBERS = number_table(MACHINE)
NAMES = {number: name for name, number in NUMBERS.items()}
