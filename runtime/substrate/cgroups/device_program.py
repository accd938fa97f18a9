"""The eBPF program that answers for every use of a device node in a world.

The kernel runs it on `struct bpf_cgroup_dev_ctx` {access_type, major, minor} at each open and
mknod; 1 is yes, 0 is EPERM. It is written out as instructions, so that no compiler is needed and
a test can interpret it.
"""

from __future__ import annotations

import struct

from substrate.cgroups.devices import ALWAYS_ALLOWED, ANY, BLOCK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.cgroups.devices import DeviceAccess, DeviceRule

    Instruction = tuple[int, int, int, int, int]

# Opcodes of the eBPF instruction set (RFC 9669), all on 32 bits but the answer.
LOAD_WORD, AND, SHIFT_RIGHT, MOVE, SET, EXIT = 0x61, 0x54, 0x74, 0xBC, 0xB7, 0x95
JUMP_EQUAL, JUMP_UNEQUAL, JUMP_UNEQUAL_REGISTER = 0x16, 0x56, 0x5E
_CONTEXT, _TYPE, _ACCESS, _MAJOR, _MINOR, _SCRATCH = 1, 2, 3, 4, 5, 6
_ANSWER = 0
# BPF_DEVCG_DEV_* and BPF_DEVCG_ACC_*.
TYPE_BLOCK, TYPE_CHARACTER = 1, 2
ACCESS_BITS = {"m": 1, "r": 2, "w": 4}
_EVERY_ACCESS = 7


def device_program(access: DeviceAccess) -> bytes:
    """Return the program for a world's device rules, with the devices every world may use."""
    code: list[Instruction] = [
        (LOAD_WORD, _TYPE, _CONTEXT, 0, 0),
        (MOVE, _ACCESS, _TYPE, 0, 0),
        (AND, _TYPE, 0, 0, 0xFFFF),
        (SHIFT_RIGHT, _ACCESS, 0, 0, 16),
        (LOAD_WORD, _MAJOR, _CONTEXT, 4, 0),
        (LOAD_WORD, _MINOR, _CONTEXT, 8, 0),
    ]
    for rule in (*ALWAYS_ALLOWED, *access.exceptions):
        code += _block(rule)
    code += _answer(access.allow)
    return b"".join(
        struct.pack("=BBhi", operation, destination | source << 4, offset, _signed(immediate))
        for operation, destination, source, offset, immediate in code
    )


def access_bits(letters: str) -> int:
    """Return the bits of an access like "rw"."""
    return sum(ACCESS_BITS[letter] for letter in letters)


def _block(rule: DeviceRule) -> list[Instruction]:
    """Return a block that answers for what the rule matches and falls through for the rest.

    Permission needs a rule that covers every access asked for at once, denial one that names
    any of them, as in the kernel's own controller (security/device_cgroup.c).
    """
    bits = access_bits(rule.access)
    tests: list[Instruction] = [
        (JUMP_UNEQUAL, _TYPE, 0, 0, TYPE_BLOCK if rule.type == BLOCK else TYPE_CHARACTER)
    ]
    if rule.major != ANY:
        tests.append((JUMP_UNEQUAL, _MAJOR, 0, 0, rule.major))
    if rule.minor != ANY:
        tests.append((JUMP_UNEQUAL, _MINOR, 0, 0, rule.minor))
    if bits != _EVERY_ACCESS:
        tests += [(MOVE, _SCRATCH, _ACCESS, 0, 0), (AND, _SCRATCH, 0, 0, bits)]
        if rule.allow:
            tests.append((JUMP_UNEQUAL_REGISTER, _SCRATCH, _ACCESS, 0, 0))
        else:
            tests.append((JUMP_EQUAL, _SCRATCH, 0, 0, 0))
    code = tests + _answer(rule.allow)
    jumps = (JUMP_EQUAL, JUMP_UNEQUAL, JUMP_UNEQUAL_REGISTER)
    # Every jump leads past the block's end, counted from the instruction after it.
    return [
        (operation, destination, source, len(code) - at - 1, immediate)
        if operation in jumps
        else (operation, destination, source, offset, immediate)
        for at, (operation, destination, source, offset, immediate) in enumerate(code)
    ]


def _answer(allow: bool) -> list[Instruction]:
    return [(SET, _ANSWER, 0, 0, int(allow)), (EXIT, 0, 0, 0, 0)]


def _signed(immediate: int) -> int:
    # Numbers up to 2^32-1 go into the signed 32-bit field bit for bit.
    return immediate - (1 << 32) if immediate >= 1 << 31 else immediate
