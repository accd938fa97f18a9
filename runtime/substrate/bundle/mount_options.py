"""The one table of mount options, and their translation to what the mount system calls take.

The words are those of runc, crun and mount(8). For a bind mount an unknown word is an error: the
kernel would silently drop it, and `nodevs` would not be `nodev`. For any other type it is a
parameter of the file system, which the file system itself judges.
"""

from __future__ import annotations

from substrate.bundle.fields import describe
from substrate.errors import BundleError
from substrate.kernel.constants import MountAttr, Ms
from substrate.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# What an option acts on.
MOUNT = "mount"
TREE = "tree"
SUPERBLOCK = "superblock"
PROPAGATION = "propagation"
BIND = "bind"
REMOUNT = "remount"
COPY_UP = "copy-up"
IDMAP = "idmap"
NOTHING = "nothing"


@record
class Option:
    """One row: the bits of a word, what they act on, and whether the word takes them away."""

    area: str
    bits: int = 0
    clear: bool = False


MOUNT_OPTIONS: dict[str, Option] = {
    "defaults": Option(NOTHING),
    # mount_setattr(2) attributes of one mount
    "ro": Option(MOUNT, MountAttr.RDONLY),
    "rw": Option(MOUNT, MountAttr.RDONLY, clear=True),
    "nosuid": Option(MOUNT, MountAttr.NOSUID),
    "suid": Option(MOUNT, MountAttr.NOSUID, clear=True),
    "nodev": Option(MOUNT, MountAttr.NODEV),
    "dev": Option(MOUNT, MountAttr.NODEV, clear=True),
    "noexec": Option(MOUNT, MountAttr.NOEXEC),
    "exec": Option(MOUNT, MountAttr.NOEXEC, clear=True),
    "nodiratime": Option(MOUNT, MountAttr.NODIRATIME),
    "diratime": Option(MOUNT, MountAttr.NODIRATIME, clear=True),
    "nosymfollow": Option(MOUNT, MountAttr.NOSYMFOLLOW),
    "symfollow": Option(MOUNT, MountAttr.NOSYMFOLLOW, clear=True),
    # The access-time modes exclude each other; taking one away leaves the kernel's relatime.
    "noatime": Option(MOUNT, MountAttr.NOATIME),
    "atime": Option(MOUNT, MountAttr.ATIME, clear=True),
    "relatime": Option(MOUNT, MountAttr.RELATIME),
    "norelatime": Option(MOUNT, MountAttr.ATIME, clear=True),
    "strictatime": Option(MOUNT, MountAttr.STRICTATIME),
    "nostrictatime": Option(MOUNT, MountAttr.ATIME, clear=True),
    # the same for the mount and every mount below it
    "rro": Option(TREE, MountAttr.RDONLY),
    "rrw": Option(TREE, MountAttr.RDONLY, clear=True),
    "rnosuid": Option(TREE, MountAttr.NOSUID),
    "rsuid": Option(TREE, MountAttr.NOSUID, clear=True),
    "rnodev": Option(TREE, MountAttr.NODEV),
    "rdev": Option(TREE, MountAttr.NODEV, clear=True),
    "rnoexec": Option(TREE, MountAttr.NOEXEC),
    "rexec": Option(TREE, MountAttr.NOEXEC, clear=True),
    "rnodiratime": Option(TREE, MountAttr.NODIRATIME),
    "rdiratime": Option(TREE, MountAttr.NODIRATIME, clear=True),
    "rnosymfollow": Option(TREE, MountAttr.NOSYMFOLLOW),
    "rsymfollow": Option(TREE, MountAttr.NOSYMFOLLOW, clear=True),
    "rnoatime": Option(TREE, MountAttr.NOATIME),
    "ratime": Option(TREE, MountAttr.ATIME, clear=True),
    "rrelatime": Option(TREE, MountAttr.RELATIME),
    "rnorelatime": Option(TREE, MountAttr.ATIME, clear=True),
    "rstrictatime": Option(TREE, MountAttr.STRICTATIME),
    "rnostrictatime": Option(TREE, MountAttr.ATIME, clear=True),
    # mount(2) flags of the file system itself
    "sync": Option(SUPERBLOCK, Ms.SYNCHRONOUS),
    "async": Option(SUPERBLOCK, Ms.SYNCHRONOUS, clear=True),
    "dirsync": Option(SUPERBLOCK, Ms.DIRSYNC),
    "lazytime": Option(SUPERBLOCK, Ms.LAZYTIME),
    "nolazytime": Option(SUPERBLOCK, Ms.LAZYTIME, clear=True),
    "iversion": Option(SUPERBLOCK, Ms.I_VERSION),
    "noiversion": Option(SUPERBLOCK, Ms.I_VERSION, clear=True),
    "mand": Option(SUPERBLOCK, Ms.MANDLOCK),
    "nomand": Option(SUPERBLOCK, Ms.MANDLOCK, clear=True),
    "silent": Option(SUPERBLOCK, Ms.SILENT),
    "loud": Option(SUPERBLOCK, Ms.SILENT, clear=True),
    "acl": Option(SUPERBLOCK, Ms.POSIXACL),
    "noacl": Option(SUPERBLOCK, Ms.POSIXACL, clear=True),
    # propagation types, see mount_namespaces(7)
    "private": Option(PROPAGATION, Ms.PRIVATE),
    "rprivate": Option(PROPAGATION, Ms.PRIVATE | Ms.REC),
    "shared": Option(PROPAGATION, Ms.SHARED),
    "rshared": Option(PROPAGATION, Ms.SHARED | Ms.REC),
    "slave": Option(PROPAGATION, Ms.SLAVE),
    "rslave": Option(PROPAGATION, Ms.SLAVE | Ms.REC),
    "unbindable": Option(PROPAGATION, Ms.UNBINDABLE),
    "runbindable": Option(PROPAGATION, Ms.UNBINDABLE | Ms.REC),
    # what to do
    "bind": Option(BIND, Ms.BIND),
    "rbind": Option(BIND, Ms.BIND | Ms.REC),
    "remount": Option(REMOUNT, Ms.REMOUNT),
    "tmpcopyup": Option(COPY_UP),
    "idmap": Option(IDMAP),
    "ridmap": Option(IDMAP, Ms.REC),
}

# Parameters a bind mount may carry though it has no use for them: engines share one option list
# between tmpfs and bind mounts (mode, size, ...), and SELinux labels come on every mount.
UNUSED_ON_BIND = ("mode", "size", "nr_inodes", "uid", "gid")
LABELS = ("context", "fscontext", "defcontext", "rootcontext")


@record
class MountOptions:
    """A mount's options. `flags_*` and `recursive_*` are `MountAttr` bits, the rest `Ms` bits.

    `mount_setattr` takes set and clear as they are: whenever an access-time mode is in a set,
    the whole `MountAttr.ATIME` mask is in its clear, as the call demands. `data` are the
    parameters for fsconfig(2), a None value being a flag.
    """

    flags_set: int = 0
    flags_clear: int = 0
    recursive_set: int = 0
    recursive_clear: int = 0
    sb_flags: int = 0
    sb_clear: int = 0
    propagation: int = 0
    bind: bool = False
    recursive_bind: bool = False
    remount: bool = False
    copy_up: bool = False
    idmap: str | None = None
    data: tuple[tuple[str, str | None], ...] = ()


def parse_mount_options(
    options: Iterable[str], type_: str | None = None, where: str = "mount options"
) -> MountOptions:
    """Return the options of a mount of that type; a later word wins over an earlier one.

    It is a bind mount when an option says `bind` or `rbind`, or when the type is `bind`.
    `where` names the mount in the `BundleError` for an unknown word.
    """
    bits = {(area, clear): 0 for area in (MOUNT, TREE, SUPERBLOCK) for clear in (False, True)}
    propagation = 0
    bind = Ms.BIND if type_ == BIND else 0
    remount = copy_up = False
    idmap = None
    data: list[tuple[str, str | None]] = []
    for word in options:
        option = MOUNT_OPTIONS.get(word)
        if option is None:
            name, equals, value = word.partition("=")
            data.append((name, value if equals else None))
        elif option.area in {MOUNT, TREE, SUPERBLOCK}:
            _change(bits, option)
        elif option.area == PROPAGATION:
            propagation = option.bits
        elif option.area == BIND:
            bind = option.bits
        elif option.area == IDMAP:
            idmap = word
        else:
            remount = remount or option.area == REMOUNT
            copy_up = copy_up or option.area == COPY_UP
    return MountOptions(
        flags_set=bits[MOUNT, False],
        flags_clear=bits[MOUNT, True],
        recursive_set=bits[TREE, False],
        recursive_clear=bits[TREE, True],
        sb_flags=bits[SUPERBLOCK, False],
        sb_clear=bits[SUPERBLOCK, True],
        propagation=propagation,
        bind=bool(bind),
        recursive_bind=bool(bind & Ms.REC),
        remount=remount,
        copy_up=copy_up,
        idmap=idmap,
        data=_judge(data, where) if bind else tuple(data),
    )


def _change(bits: dict[tuple[str, bool], int], option: Option) -> None:
    gained = (option.area, option.clear)
    lost = (option.area, not option.clear)
    if option.area != SUPERBLOCK and _is_access_time(option):
        # One value in a three-bit field, not flags: always clear the field, then set the mode.
        bits[option.area, True] |= MountAttr.ATIME
        bits[option.area, False] &= ~MountAttr.ATIME
        if not option.clear:
            bits[option.area, False] |= option.bits
        return
    bits[gained] |= option.bits
    bits[lost] &= ~option.bits


def _is_access_time(option: Option) -> bool:
    return option.bits & MountAttr.ATIME == option.bits


def _judge(data: list[tuple[str, str | None]], where: str) -> tuple[tuple[str, str | None], ...]:
    kept: list[tuple[str, str | None]] = []
    for name, value in data:
        if name in LABELS:
            kept.append((name, value))
        elif name not in UNUSED_ON_BIND:
            word = name if value is None else f"{name}={value}"
            raise BundleError([f"{where}: {describe(word)} is no option of a bind mount"])
    return tuple(kept)
