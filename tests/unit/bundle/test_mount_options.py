from __future__ import annotations

import pytest

from substrate.bundle.mount_options import MOUNT_OPTIONS, MountOptions, parse_mount_options
from substrate.errors import BundleError
from substrate.kernel.constants import MountAttr, Ms


def test_attributes_of_one_mount() -> None:
    options = parse_mount_options(["ro", "nosuid", "nodev", "noexec", "nosymfollow"])
    assert options.flags_set == (
        MountAttr.RDONLY
        | MountAttr.NOSUID
        | MountAttr.NODEV
        | MountAttr.NOEXEC
        | MountAttr.NOSYMFOLLOW
    )
    assert options.flags_clear == 0


def test_the_later_word_wins() -> None:
    assert parse_mount_options(["ro", "rw"]).flags_set == 0
    assert parse_mount_options(["ro", "rw"]).flags_clear == MountAttr.RDONLY
    assert parse_mount_options(["rw", "ro"]).flags_set == MountAttr.RDONLY
    assert parse_mount_options(["rw", "ro"]).flags_clear == 0


@pytest.mark.parametrize(
    ("words", "mode"),
    [
        (["noatime"], MountAttr.NOATIME),
        (["strictatime", "noatime"], MountAttr.NOATIME),
        (["noatime", "relatime"], MountAttr.RELATIME),
        (["noatime", "atime"], MountAttr.RELATIME),
        (["strictatime", "nostrictatime"], MountAttr.RELATIME),
    ],
)
def test_access_time_modes_replace_each_other(words: list[str], mode: int) -> None:
    options = parse_mount_options(words)
    assert options.flags_set == mode
    # mount_setattr(2): EINVAL unless the whole field is cleared with it.
    assert options.flags_clear == MountAttr.ATIME
    recursive = parse_mount_options([f"r{word}" for word in words])
    assert (recursive.recursive_set, recursive.recursive_clear) == (mode, MountAttr.ATIME)
    assert recursive.flags_set == 0


def test_directory_access_times_are_a_flag_of_their_own() -> None:
    options = parse_mount_options(["noatime", "nodiratime"])
    assert options.flags_set == MountAttr.NOATIME | MountAttr.NODIRATIME
    assert options.flags_clear == MountAttr.ATIME


def test_recursive_forms_are_kept_apart() -> None:
    options = parse_mount_options(["rbind", "rro", "rexec", "nosuid"])
    assert options == MountOptions(
        flags_set=MountAttr.NOSUID,
        recursive_set=MountAttr.RDONLY,
        recursive_clear=MountAttr.NOEXEC,
        bind=True,
        recursive_bind=True,
    )


@pytest.mark.parametrize(
    ("word", "bits"),
    [
        ("private", Ms.PRIVATE),
        ("rprivate", Ms.PRIVATE | Ms.REC),
        ("rslave", Ms.SLAVE | Ms.REC),
        ("shared", Ms.SHARED),
        ("runbindable", Ms.UNBINDABLE | Ms.REC),
    ],
)
def test_propagation(word: str, bits: int) -> None:
    assert parse_mount_options([word]).propagation == bits


def test_flags_of_the_file_system() -> None:
    options = parse_mount_options(["sync", "dirsync", "lazytime", "async"])
    assert options.sb_flags == Ms.DIRSYNC | Ms.LAZYTIME
    assert options.sb_clear == Ms.SYNCHRONOUS


def test_other_words_are_parameters_of_a_file_system() -> None:
    options = parse_mount_options(["newinstance", "mode=0620", "ptmxmode=0666"], "devpts")
    assert options.data == (("newinstance", None), ("mode", "0620"), ("ptmxmode", "0666"))


def test_a_bind_mount_refuses_unknown_words() -> None:
    assert parse_mount_options(["bind", "nodev"]).bind
    with pytest.raises(BundleError, match='"nodevs" is no option of a bind mount'):
        parse_mount_options(["bind", "nodevs"])
    with pytest.raises(BundleError, match='"a=b" is no option'):
        parse_mount_options(["a=b"], "bind")


def test_a_bind_mount_ignores_tmpfs_parameters_and_passes_labels() -> None:
    options = parse_mount_options(["rbind", "mode=1777", "size=64m", "context=system_u:x"])
    assert options.data == (("context", "system_u:x"),)


def test_the_type_bind_alone_is_a_plain_bind_mount() -> None:
    options = parse_mount_options([], "bind")
    assert (options.bind, options.recursive_bind) == (True, False)
    assert parse_mount_options(["rbind"], "bind").recursive_bind


def test_actions() -> None:
    options = parse_mount_options(["remount", "tmpcopyup", "ridmap", "defaults"])
    assert options.remount
    assert options.copy_up
    assert options.idmap == "ridmap"
    assert options.data == ()


def test_every_option_has_its_opposite() -> None:
    pairs = [(name, f"no{name}") for name in ("suid", "dev", "exec", "atime", "relatime", "mand")]
    for positive, negative in [*pairs, ("rw", "ro"), ("async", "sync"), ("loud", "silent")]:
        assert MOUNT_OPTIONS[positive].clear != MOUNT_OPTIONS[negative].clear or "time" in positive
        assert MOUNT_OPTIONS[positive].area == MOUNT_OPTIONS[negative].area
