"""The device filter, run by an interpreter of its instructions and compared with the rules."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from substrate.bundle.fields import Fields
from substrate.cgroups.device_program import (
    AND,
    EXIT,
    JUMP_EQUAL,
    JUMP_UNEQUAL,
    JUMP_UNEQUAL_REGISTER,
    LOAD_WORD,
    MOVE,
    SET,
    SHIFT_RIGHT,
    TYPE_BLOCK,
    TYPE_CHARACTER,
    access_bits,
    device_program,
)
from substrate.cgroups.devices import (
    ALL,
    ALWAYS_ALLOWED,
    ANY,
    BLOCK,
    CHARACTER,
    DENY_ALL,
    DeviceAccess,
    DeviceRule,
    apply_rule,
    emulate,
    parse_devices,
)
from substrate.errors import BundleError

_WORD = 0xFFFFFFFF


def run(program: bytes, type_: str, access: str, major: int, minor: int) -> int:
    """Return what the kernel would: R0 at the program's exit."""
    kind = TYPE_BLOCK if type_ == BLOCK else TYPE_CHARACTER
    context = struct.pack("=III", kind | access_bits(access) << 16, major, minor)
    registers: dict[int, int] = {1: -1}
    at = 0
    while True:
        operation, pair, offset, immediate = struct.unpack_from("=BBhi", program, 8 * at)
        to, source = pair & 15, pair >> 4
        at += 1
        taken = False
        if operation == EXIT:
            return registers[0]
        if operation == LOAD_WORD:
            assert source == 1, "only the context is readable"
            (registers[to],) = struct.unpack_from("=I", context, offset)
        elif operation == MOVE:
            registers[to] = registers[source] & _WORD
        elif operation == SET:
            registers[to] = immediate
        elif operation == AND:
            registers[to] &= immediate & _WORD
        elif operation == SHIFT_RIGHT:
            registers[to] >>= immediate
        elif operation == JUMP_EQUAL:
            taken = registers[to] == immediate & _WORD
        elif operation == JUMP_UNEQUAL:
            taken = registers[to] != immediate & _WORD
        elif operation == JUMP_UNEQUAL_REGISTER:
            taken = registers[to] != registers[source]
        else:
            pytest.fail(f"unknown instruction {operation:#x}")
        assert offset >= 0, "jumps go forward: the program ends"
        at += offset if taken else 0


def matches(rule: DeviceRule, type_: str, major: int, minor: int) -> bool:
    return rule.type in (ALL, type_) and rule.major in (ANY, major) and rule.minor in (ANY, minor)


def reference(access: DeviceAccess, type_: str, letters: str, major: int, minor: int) -> bool:
    """Return the answer as security/device_cgroup.c gives it, one rule after the other."""
    wanted = set(letters)
    for rule in ALWAYS_ALLOWED:
        if matches(rule, type_, major, minor) and wanted <= set(rule.access):
            return True
    found = [rule for rule in access.exceptions if matches(rule, type_, major, minor)]
    if access.allow:
        return not any(wanted & set(rule.access) for rule in found)
    return any(wanted <= set(rule.access) for rule in found)


_types = st.sampled_from([BLOCK, CHARACTER])
_numbers = st.sampled_from([0, 1, 3, 5, 10, 136, 200, 1 << 20, (1 << 31) + 7, _WORD])
_accesses = st.sets(st.sampled_from("rwm"), min_size=1).map("".join)
_rules = st.builds(
    DeviceRule,
    st.booleans(),
    st.sampled_from([BLOCK, CHARACTER, CHARACTER, ALL]),
    st.one_of(st.just(ANY), _numbers),
    st.one_of(st.just(ANY), _numbers),
    _accesses,
)


@given(st.lists(_rules, max_size=8), _types, _accesses, _numbers, _numbers)
def test_program_answers_as_the_rules(
    rules: list[DeviceRule], type_: str, letters: str, major: int, minor: int
) -> None:
    state = DENY_ALL
    for rule in rules:
        try:
            state = apply_rule(state, rule)
        except ValueError:
            continue
    expected = reference(state, type_, letters, major, minor)
    assert run(device_program(state), type_, letters, major, minor) == expected


@given(st.lists(_rules, max_size=8), _types, _accesses, _numbers, _numbers)
def test_the_last_rule_for_exactly_this_device_holds(
    rules: list[DeviceRule], type_: str, letters: str, major: int, minor: int
) -> None:
    """Whatever came before: unless the rule had to be refused, it decides."""
    last = DeviceRule(False, type_, major, minor, letters)
    try:
        state = emulate([*rules, last])
    except ValueError:
        return
    always = any(
        matches(rule, type_, major, minor) and set(letters) <= set(rule.access)
        for rule in ALWAYS_ALLOWED
    )
    assert run(device_program(state), type_, letters, major, minor) == always


def test_a_deny_all_world_has_its_own_devices_only() -> None:
    program = device_program(DENY_ALL)
    assert run(program, "c", "rw", 1, 3) == 1  # null
    assert run(program, "c", "rw", 136, 7) == 1  # a pty
    assert run(program, "c", "r", 1, 1) == 0  # mem
    assert run(program, "b", "r", 8, 0) == 0  # a disk
    assert run(program, "b", "m", 8, 0) == 1  # its node can be made, and not opened
    assert run(program, "b", "rm", 8, 0) == 0


def test_a_rule_for_all_devices_forgets_what_was_before() -> None:
    rule = DeviceRule(True, CHARACTER, 10, 200)
    assert emulate([rule]).exceptions == (rule,)
    assert emulate([rule, DeviceRule(False)]) == DENY_ALL
    assert emulate([rule, DeviceRule(True)]) == DeviceAccess(allow=True)


def test_access_is_collected_over_rules() -> None:
    read = DeviceRule(True, CHARACTER, 10, 200, "r")
    write = DeviceRule(True, CHARACTER, 10, 200, "w")
    assert emulate([read, write]).exceptions == (DeviceRule(True, CHARACTER, 10, 200, "rw"),)
    deny = DeviceRule(False, CHARACTER, 10, 200, "r")
    assert emulate([read, write, deny]).exceptions == (write,)
    nothing = DeviceRule(True, CHARACTER, 10, 200, "")
    assert emulate([nothing]) == DENY_ALL


def parsed(*rules: dict[str, Any]) -> DeviceAccess:
    return parse_devices(Fields({"devices": list(rules)}, "$.linux.resources", "config.json"))


def test_rules_are_read_with_the_defaults_of_the_specification() -> None:
    assert parsed({"allow": False, "access": "rwm"}) == DENY_ALL
    assert parsed({"allow": True}) == DeviceAccess(allow=True)
    fuse = {"allow": True, "type": "u", "major": 10, "minor": 229, "access": "wr"}
    assert parsed(fuse).exceptions == (DeviceRule(True, CHARACTER, 10, 229, "rw"),)
    disks = {"allow": True, "type": "b", "access": "m"}
    assert parsed(disks).exceptions == (DeviceRule(True, BLOCK, ANY, ANY, "m"),)


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ([{"type": "c"}], "$.linux.resources.devices[0]: allow is missing"),
        ([{"allow": "yes"}], ".devices[0].allow: expected a boolean"),
        ([{"allow": True, "type": "x"}], "expected one of a, b, c, u"),
        ([{"allow": True, "type": "c", "access": "rx"}], "expected letters out of rwm"),
        ([{"allow": True, "type": "c", "major": 1 << 32}], "from -1 to 4294967295"),
        ([{"allow": True, "major": 10}], "expected b or c, since the rule has numbers"),
        ([{"allow": True, "type": "a", "access": "r"}], "since the rule is for all devices"),
        (
            [
                {"allow": True, "type": "c", "access": "rwm"},
                {"allow": False, "type": "c", "major": 10, "minor": 200, "access": "rwm"},
            ],
            ".devices[1]: expected a rule with exactly the numbers of the earlier one",
        ),
    ],
)
def test_a_rule_that_would_not_hold_is_refused(rules: list[dict[str, Any]], told: str) -> None:
    with pytest.raises(BundleError) as caught:
        parsed(*rules)
    assert told in caught.value.message
