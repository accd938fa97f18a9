"""System calls that an installed libseccomp may be too old to know.

libseccomp 2.5.4 stops at Linux 5.17. A name found neither there nor here is no system call.
"""

from __future__ import annotations

# Since 5.1 one number on every architecture (arch/*/kernel/syscalls/*.tbl), up to Linux 7.0.
UNIFIED = {
    "pidfd_send_signal": 424,
    "io_uring_setup": 425,
    "io_uring_enter": 426,
    "io_uring_register": 427,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "pidfd_open": 434,
    "clone3": 435,
    "close_range": 436,
    "openat2": 437,
    "pidfd_getfd": 438,
    "faccessat2": 439,
    "process_madvise": 440,
    "epoll_pwait2": 441,
    "mount_setattr": 442,
    "quotactl_fd": 443,
    "landlock_create_ruleset": 444,
    "landlock_add_rule": 445,
    "landlock_restrict_self": 446,
    "memfd_secret": 447,
    "process_mrelease": 448,
    "futex_waitv": 449,
    "set_mempolicy_home_node": 450,
    "cachestat": 451,
    "fchmodat2": 452,
    "map_shadow_stack": 453,
    "futex_wake": 454,
    "futex_wait": 455,
    "futex_requeue": 456,
    "statmount": 457,
    "listmount": 458,
    "lsm_get_self_attr": 459,
    "lsm_set_self_attr": 460,
    "lsm_list_modules": 461,
    "mseal": 462,
    "setxattrat": 463,
    "getxattrat": 464,
    "listxattrat": 465,
    "removexattrat": 466,
    "open_tree_attr": 467,
    "file_getattr": 468,
    "file_setattr": 469,
    "listns": 470,
    "rseq_slice_yield": 471,
}

# Newer than libseccomp 2.5.4 and of one architecture only.
SINGLE = {
    "uretprobe": ("SCMP_ARCH_X86_64", 335),
    "uprobe": ("SCMP_ARCH_X86_64", 336),
    "riscv_hwprobe": ("SCMP_ARCH_RISCV64", 258),
    "riscv_flush_icache": ("SCMP_ARCH_RISCV64", 259),
}

# On 32-bit x86 these go through `socketcall` or `ipc` too (include/uapi/linux/net.h and ipc.h say
# which call number); the value is the number of the direct call where there is one.
X86_DIRECT = {
    "socket": 359,
    "socketpair": 360,
    "bind": 361,
    "connect": 362,
    "listen": 363,
    "accept4": 364,
    "getsockopt": 365,
    "setsockopt": 366,
    "getsockname": 367,
    "getpeername": 368,
    "sendto": 369,
    "sendmsg": 370,
    "recvfrom": 371,
    "recvmsg": 372,
    "shutdown": 373,
    "recvmmsg": 337,
    "sendmmsg": 345,
    "semget": 393,
    "semctl": 394,
    "shmget": 395,
    "shmctl": 396,
    "shmat": 397,
    "shmdt": 398,
    "msgget": 399,
    "msgsnd": 400,
    "msgrcv": 401,
    "msgctl": 402,
}
X86_SOCKETCALL = 102
X86_IPC = 117
