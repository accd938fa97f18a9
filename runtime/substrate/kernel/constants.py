"""Numbers of the Linux ABI under their kernel names, grouped by the header they come from.

Plain classes of integers: `enum` costs 3 ms to import, and these words never reach JSON.
Sources: include/uapi/linux/{mount,sched,openat2,fcntl,prctl,securebits,capability}.h.
"""

from __future__ import annotations


class Clone:
    """`CLONE_*` of clone(2), unshare(2) and setns(2)."""

    VM = 0x0000_0100
    VFORK = 0x0000_4000
    PARENT = 0x0000_8000
    PIDFD = 0x0000_1000
    NEWTIME = 0x0000_0080
    NEWNS = 0x0002_0000
    NEWCGROUP = 0x0200_0000
    NEWUTS = 0x0400_0000
    NEWIPC = 0x0800_0000
    NEWUSER = 0x1000_0000
    NEWPID = 0x2000_0000
    NEWNET = 0x4000_0000
    INTO_CGROUP = 0x2_0000_0000


class Ms:
    """`MS_*` of mount(2)."""

    RDONLY = 1
    NOSUID = 2
    NODEV = 4
    NOEXEC = 8
    SYNCHRONOUS = 16
    REMOUNT = 32
    MANDLOCK = 64
    DIRSYNC = 128
    NOSYMFOLLOW = 256
    NOATIME = 1024
    NODIRATIME = 2048
    BIND = 4096
    MOVE = 8192
    REC = 16384
    SILENT = 32768
    POSIXACL = 1 << 16
    UNBINDABLE = 1 << 17
    PRIVATE = 1 << 18
    SLAVE = 1 << 19
    SHARED = 1 << 20
    RELATIME = 1 << 21
    I_VERSION = 1 << 23
    STRICTATIME = 1 << 24
    LAZYTIME = 1 << 25


class MountAttr:
    """`MOUNT_ATTR_*` of mount_setattr(2) and fsmount(2)."""

    RDONLY = 0x01
    NOSUID = 0x02
    NODEV = 0x04
    NOEXEC = 0x08
    ATIME = 0x70  # the mask of the three exclusive modes below
    RELATIME = 0x00
    NOATIME = 0x10
    STRICTATIME = 0x20
    NODIRATIME = 0x80
    IDMAP = 0x0010_0000
    NOSYMFOLLOW = 0x0020_0000


class OpenTree:
    """`OPEN_TREE_*` of open_tree(2)."""

    CLONE = 1
    CLOEXEC = 0o2000000


class MoveMount:
    """`MOVE_MOUNT_*` of move_mount(2)."""

    F_SYMLINKS = 0x01
    F_EMPTY_PATH = 0x04
    T_SYMLINKS = 0x10
    T_EMPTY_PATH = 0x40


class Fsconfig:
    """`FSCONFIG_*` commands of fsconfig(2), and flags of fsopen(2) and fsmount(2)."""

    SET_FLAG = 0
    SET_STRING = 1
    SET_BINARY = 2
    SET_PATH = 3
    SET_PATH_EMPTY = 4
    SET_FD = 5
    CMD_CREATE = 6
    CMD_RECONFIGURE = 7
    FSOPEN_CLOEXEC = 1
    FSMOUNT_CLOEXEC = 1


class At:
    """`AT_*` of fcntl.h."""

    FDCWD = -100
    SYMLINK_NOFOLLOW = 0x100
    REMOVEDIR = 0x200
    EMPTY_PATH = 0x1000
    RECURSIVE = 0x8000


class O:  # noqa: E742 -- the kernel's own prefix
    """`O_*` of open(2) on x86_64; the architecture table corrects what differs."""

    RDONLY = 0
    WRONLY = 1
    RDWR = 2
    CREAT = 0o100
    EXCL = 0o200
    NOCTTY = 0o400
    TRUNC = 0o1000
    APPEND = 0o2000
    NONBLOCK = 0o4000
    DIRECTORY = 0o200000
    NOFOLLOW = 0o400000
    CLOEXEC = 0o2000000
    PATH = 0o10000000


class Resolve:
    """`RESOLVE_*` of openat2(2)."""

    NO_XDEV = 0x01
    NO_MAGICLINKS = 0x02
    NO_SYMLINKS = 0x04
    BENEATH = 0x08
    IN_ROOT = 0x10


class Rename:
    """`RENAME_*` of renameat2(2)."""

    NOREPLACE = 1
    EXCHANGE = 2


class Pr:
    """`PR_*` operations of prctl(2)."""

    SET_PDEATHSIG = 1
    SET_DUMPABLE = 4
    SET_KEEPCAPS = 8
    SET_SECCOMP = 22
    CAPBSET_READ = 23
    CAPBSET_DROP = 24
    GET_SECUREBITS = 27
    SET_SECUREBITS = 28
    SET_NO_NEW_PRIVS = 38
    CAP_AMBIENT = 47
    CAP_AMBIENT_RAISE = 2
    CAP_AMBIENT_CLEAR_ALL = 4


class Seccomp:
    """Operations and flags of seccomp(2), and the BPF actions."""

    SET_MODE_FILTER = 1
    GET_ACTION_AVAIL = 2
    FILTER_FLAG_TSYNC = 1
    FILTER_FLAG_LOG = 2
    FILTER_FLAG_SPEC_ALLOW = 4
    FILTER_FLAG_NEW_LISTENER = 8
    FILTER_FLAG_TSYNC_ESRCH = 16
    FILTER_FLAG_WAIT_KILLABLE_RECV = 32
