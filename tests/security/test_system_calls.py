"""System calls that a payload has no business making, by every ABI the kernel takes them by."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.support.attack import ATTACK, UNCONFINED
from tests.support.features import requires

if TYPE_CHECKING:
    from tests.support.attack import Place

pytestmark = [
    requires(*ATTACK),
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are x86_64's"),
]

CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
HIGH = 1 << 32
# name: ABI, number, arguments (see ATTEMPT)
KERNEL_STATE = (
    "init_module 64 175 0 0 @",
    "finit_module 64 313 0 @ 0",
    "delete_module 64 176 @ext4 0",
    "kexec_load 64 246 0 0 0 0",
    "kexec_file_load 64 320 0 0 0 @ 0",
    "reboot 64 169 0xfee1dead 672274793 0 0",
    "swapon 64 167 @/dev/vda 0",
    "acct 64 163 @/tmp/a",
    "syslog 64 103 3 0 0",
    "iopl 64 172 3",
    "ioperm 64 173 0 1024 1",
    "settimeofday 64 164 @ 0",
    "bpf 64 321 0 @ 72",
    "perf_event_open 64 298 @ 0 -1 -1 0",
    "userfaultfd 64 323 1",
    "io_uring_setup 64 425 8 @",
    "fanotify_init 64 300 0 0",
    "quotactl 64 179 0 @/dev/vda 0 0",
    "vhangup 64 153",
)
MOUNTS = (
    "mount 64 165 @none @/tmp @tmpfs 0 0",
    "umount2 64 166 @/proc 2",
    "pivot_root 64 155 @. @.",
    "chroot 64 161 @.",
    "open_tree 64 428 -100 @/usr 1",
    "move_mount 64 429 -100 @/usr -100 @/tmp 0",
    "fsopen 64 430 @tmpfs 0",
    "fspick 64 433 -100 @/usr 0",
    "mount_setattr 64 442 -100 @/usr 0 @ 32",
    "open_by_handle_at 64 304 -100 @ 0",
    "setns 64 308 0 0",
)
NAMESPACES = (
    f"unshare_user 64 272 {CLONE_NEWUSER}",
    f"unshare_mount 64 272 {CLONE_NEWNS}",
    f"clone_user 64 56 {CLONE_NEWUSER | 17} 0 0 0 0",
    f"clone_user_high 64 56 {HIGH | CLONE_NEWUSER | 17} 0 0 0 0",
    f"clone_mount 64 56 {CLONE_NEWNS | 17} 0 0 0 0",
    f"unshare_user_32 32 310 {CLONE_NEWUSER}",
    f"clone_user_32 32 120 {CLONE_NEWUSER | 17} 0 0 0 0",
)
SOCKETS = (
    "packet 64 41 17 3 0",
    "vsock 64 41 40 1 0",
    "alg 64 41 38 5 0",
    f"vsock_high 64 41 {HIGH | 40} 1 0",
    "xdp 64 41 44 3 0",
    "bluetooth 64 41 31 3 1",
    "audit 64 41 16 3 9",
    "xfrm 64 41 16 3 6",
    "netfilter 64 41 16 3 12",
    "packet_32 32 359 17 3 0",
    "vsock_32 32 359 40 1 0",
    "vsock_pair 64 53 40 1 0 @",
)
TIOCSTI, TIOCLINUX = 0x5412, 0x541C
TYPING = (
    f"tiocsti 64 16 0 {TIOCSTI} @x",
    f"tiocsti_high 64 16 0 {HIGH | TIOCSTI} @x",
    f"tiocsti_all_high 64 16 0 {0xFFFFFFFF << 32 | TIOCSTI} @x",
    f"tiocsti_32 32 54 0 {TIOCSTI} @x",
    f"tioclinux 64 16 0 {TIOCLINUX} @x",
    f"tioclinux_high 64 16 0 {HIGH | TIOCLINUX} @x",
)
KEYS = (
    "add_key 64 248 @user @a @b 1 -3",
    "request_key 64 249 @user @a 0 0",
    "keyctl 64 250 0 -3 0",
    "keyctl_32 32 288 0 -3 0",
)
HARMLESS = (
    "getpid 64 39",
    "socket_unix 64 41 1 1 0",
    "socket_inet 64 41 2 1 0",
    "route 64 41 16 3 0",
    "uname 64 63 @",
    "fork 64 56 17 0 0 0 0",
    "winsize 64 16 0 0x5413 @",
)


def test_calls_that_change_the_kernel_are_refused(place: Place) -> None:
    found = place.attempt([*KERNEL_STATE, *HARMLESS])
    assert {name: found[name] for name in _names(KERNEL_STATE)} == dict.fromkeys(
        _names(KERNEL_STATE), "EPERM"
    )
    _check_harmless(found)


def test_calls_that_change_mounts_are_refused(place: Place) -> None:
    found = place.attempt([*MOUNTS, *HARMLESS])
    assert {name: found[name] for name in _names(MOUNTS)} == dict.fromkeys(_names(MOUNTS), "EPERM")
    _check_harmless(found)


def test_no_new_namespace_is_made_by_any_call(place: Place) -> None:
    # clone3 hides its flags behind a pointer: libraries must believe that it does not exist.
    found = place.attempt([*NAMESPACES, "clone3 64 435 @ 88", "clone3_32 32 435 @ 88", *HARMLESS])
    refused = {name: found[name] for name in _names(NAMESPACES)}
    assert refused == dict.fromkeys(refused, "EPERM")
    assert found["clone3"] == found["clone3_32"] == "ENOSYS"
    _check_harmless(found)


def test_no_socket_of_a_rare_family_is_made(place: Place) -> None:
    found = place.attempt([*SOCKETS, *HARMLESS])
    allowed = [name for name in _names(SOCKETS) if found[name] == "ok"]
    assert allowed == []
    _check_harmless(found)


def test_raw_sockets_need_a_capability_nobody_has(place: Place) -> None:
    found = place.attempt(["raw 64 41 2 3 1", "raw6 64 41 10 3 58", *HARMLESS])
    assert (found["raw"], found["raw6"]) == ("EPERM", "EPERM")
    _check_harmless(found)


def test_nothing_can_be_typed_into_a_terminal(place: Place) -> None:
    # Also with garbage above the 32 bits of the request that the kernel looks at.
    found = place.attempt([*TYPING, *HARMLESS])
    refused = {name: found[name] for name in _names(TYPING)}
    assert refused == dict.fromkeys(refused, "EPERM")
    _check_harmless(found)


def test_keyrings_are_out_of_reach(place: Place) -> None:
    found = place.attempt([*KEYS, *HARMLESS])
    refused = {name: found[name] for name in _names(KEYS)}
    assert refused == dict.fromkeys(refused, "EPERM")
    _check_harmless(found)


def test_the_x32_numbers_kill(place: Place) -> None:
    # The same call by another table: mount, and one that is harmless by its own number.
    found = place.attempt(["mount_x32 x32 165 @a @/tmp @tmpfs 0 0", "getpid_x32 x32 39", *HARMLESS])
    assert (found["mount_x32"], found["getpid_x32"]) == ("killed 31", "killed 31")
    _check_harmless(found)


def test_the_32_bit_table_is_filtered_by_its_own_numbers(place: Place) -> None:
    # 165 is mount in the 64-bit table and getresuid in the 32-bit one; 21 is the reverse.
    found = place.attempt(["mount_32 32 21 @a @/tmp @tmpfs 0 0", "getpid_32 32 20", *HARMLESS])
    if found["getpid_32"].startswith("killed 11"):
        pytest.skip("this kernel runs no 32-bit calls")
    assert (found["mount_32"], found["getpid_32"]) == ("EPERM", "ok")
    _check_harmless(found)


def test_the_personality_cannot_be_made_dangerous(place: Place) -> None:
    # READ_IMPLIES_EXEC, MMAP_PAGE_ZERO, ADDR_COMPAT_LAYOUT
    calls = [f"p{bit:x} 64 135 {bit}" for bit in (0x0400000, 0x0100000, 0x0200000)]
    found = place.attempt([*calls, "linux 64 135 0", *HARMLESS])
    assert [found[name] for name in _names(calls)] == ["ENOSYS"] * 3
    assert found["linux"] == "ok"
    _check_harmless(found)


def test_without_a_filter_the_kernel_still_refuses(place: Place) -> None:
    # What is left when a bundle asks for no filter at all: no capability, and locked mounts.
    calls = [line for line in MOUNTS if line.split()[0] not in ("open_tree", "setns", "chroot")]
    found = place.attempt([*calls, *HARMLESS], **UNCONFINED)
    allowed = [name for name in _names(calls) if found[name] == "ok"]
    assert allowed == []
    _check_harmless(found)


def test_own_user_namespace_gives_no_power_over_the_locked_mounts(view: Place) -> None:
    script = (
        "unshare --keep-caps -Umu sh -c '"
        "hostname mine && hostname;"
        "mount -o remount,bind,rw /usr && echo rw; umount -l /usr && echo unmounted;"
        "umount /proc/keys && echo unmasked; mount -t proc none /proc && echo procfs;"
        "touch /usr/written && echo written; true'"
    )
    found = view.run(script, **UNCONFINED).splitlines()
    # Positive control: it did get a namespace with every capability.
    assert found[0] == "mine"
    assert not {"rw", "unmounted", "unmasked", "procfs", "written"} & set(found)


def _names(calls: tuple[str, ...] | list[str]) -> list[str]:
    return [call.split()[0] for call in calls]


def _check_harmless(found: dict[str, str]) -> None:
    # `winsize` of a file is no terminal's business, but the request as such is allowed.
    expected = dict.fromkeys(_names(HARMLESS), "ok") | {"winsize": "ENOTTY"}
    assert {name: found.get(name) for name in expected} == expected
