"""The tables of numbers against what this machine and its headers say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from substrate.errors import UnsupportedError
from substrate.kernel import capabilities, filters, syscalls
from substrate.kernel.capabilities import CAPABILITIES, capability_mask

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7, "riscv64": 0xC00000F3}


@pytest.mark.parametrize("machine", sorted(_ARCHITECTURES))
def test_the_numbers_are_those_of_libseccomp(machine: str) -> None:
    known = {
        name: filters.syscall_number(_ARCHITECTURES[machine], name)
        for name in syscalls.number_table(machine)
    }
    # None: younger than this libseccomp. Those numbers are the same everywhere.
    wrong = {
        name: (number, syscalls.number_table(machine)[name])
        for name, number in known.items()
        if number is not None and number != syscalls.number_table(machine)[name]
    }
    assert wrong == {}
    assert sum(number is not None for number in known.values()) > 50


@pytest.mark.parametrize("machine", sorted(_ARCHITECTURES))
def test_no_two_calls_share_a_number(machine: str) -> None:
    table = syscalls.number_table(machine)
    assert len(set(table.values())) == len(table)


def test_an_unknown_architecture_is_named() -> None:
    with pytest.raises(UnsupportedError, match="no system call table for the architecture s390x"):
        syscalls.number_table("s390x")


def test_names_are_the_numbers_turned_round() -> None:
    assert {number: name for name, number in syscalls.NUMBERS.items()} == syscalls.NAMES


def test_the_kernel_knows_no_capability_that_we_do_not() -> None:
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text(encoding="ascii"))
    assert last < len(capabilities.NAMES)


def test_the_capabilities_are_those_of_the_header() -> None:
    header = Path("/usr/include/linux/capability.h")
    if not header.exists():
        pytest.skip("linux-libc-dev is not installed")
    found = re.findall(r"#define (CAP_\w+)\s+(\d+)", header.read_text(encoding="utf-8"))
    assert {name: int(number) for name, number in found}.items() <= CAPABILITIES.items()


def test_a_mask_has_a_bit_per_name() -> None:
    assert capability_mask(()) == 0
    assert capability_mask(("CAP_CHOWN", "CAP_KILL", "CAP_CHOWN")) == 1 | 1 << 5
    assert capability_mask(capabilities.NAMES) == (1 << len(capabilities.NAMES)) - 1


def test_an_unknown_capability_has_no_bit() -> None:
    with pytest.raises(KeyError, match="CAP_FLY"):
        capability_mask(("CAP_FLY",))
