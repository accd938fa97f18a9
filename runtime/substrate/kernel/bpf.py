"""bpf(2) as far as the device filter of a cgroup needs it: load a program, attach, replace."""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from substrate.errors import SubstrateError
from substrate.kernel.linux import raw_syscall
from substrate.kernel.syscalls import MACHINE

_BPF = 321 if MACHINE == "x86_64" else 280
# enum bpf_cmd, bpf_prog_type and bpf_attach_type of include/uapi/linux/bpf.h.
_PROG_LOAD, _PROG_ATTACH, _PROG_DETACH = 5, 8, 9
_PROG_GET_FD_BY_ID, _PROG_QUERY = 13, 16
_TYPE_CGROUP_DEVICE = 15
_ATTACH_CGROUP_DEVICE = 6
_ALLOW_MULTI, _REPLACE = 2, 4
_INSTRUCTION_SIZE = 8
_LOG_SIZE = 1 << 16
_MOST_PROGRAMS = 64


def load_device_program(code: bytes) -> int:
    """Load a BPF_PROG_TYPE_CGROUP_DEVICE program and return its descriptor.

    Raises OSError (EPERM without CAP_BPF or CAP_SYS_ADMIN in the first user namespace), and
    `SubstrateError` with the verifier's last words when the program itself is refused.
    """
    instructions = ctypes.create_string_buffer(code, len(code))
    log = ctypes.create_string_buffer(_LOG_SIZE)
    licence = ctypes.create_string_buffer(b"Apache-2.0")
    for logged in (False, True):
        # Without a log first: writing one is most of what a load costs.
        attributes = struct.pack(
            "=IIQQIIQII16s", _TYPE_CGROUP_DEVICE, len(code) // _INSTRUCTION_SIZE,
            ctypes.addressof(instructions), ctypes.addressof(licence),
            1 if logged else 0, _LOG_SIZE if logged else 0,
            ctypes.addressof(log) if logged else 0, 0, 0, b"substrate_dev",
        )  # fmt: skip
        result = _bpf(_PROG_LOAD, attributes)
        if result >= 0:
            return result
        if -result not in (errno.EINVAL, errno.EACCES):
            break
    text = log.value.decode("utf-8", "replace")
    # The very last line only counts what was looked at.
    said = [line for line in text.splitlines() if line and not line.startswith("processed ")]
    if said:
        message = f"the kernel refuses the device filter: {said[-1]}"
        raise SubstrateError(message, "report it with the rules in linux.resources.devices")
    raise OSError(-result, f"load the device filter: {os.strerror(-result)}")


def attach_device_program(cgroup_fd: int, program_fd: int) -> None:
    """Make a program the one device filter of a cgroup; those of its ancestors still count.

    An earlier one of ours is replaced in a single step, so that the world is never without.
    """
    attached = attached_device_programs(cgroup_fd)
    replaced_fd = -1
    try:
        flags = _ALLOW_MULTI
        if attached:
            replaced_fd = _program_by_id(attached[0])
            flags |= _REPLACE
        attributes = struct.pack(
            "=IIIII", cgroup_fd, program_fd, _ATTACH_CGROUP_DEVICE, flags, max(replaced_fd, 0)
        )
        _check(_bpf(_PROG_ATTACH, attributes), "attach the device filter")
    finally:
        if replaced_fd >= 0:
            os.close(replaced_fd)
    for number in attached[1:]:
        _detach(cgroup_fd, number)


def attached_device_programs(cgroup_fd: int) -> list[int]:
    """Return the ids of the device programs attached to this very cgroup."""
    ids = ctypes.create_string_buffer(4 * _MOST_PROGRAMS)
    attributes = ctypes.create_string_buffer(
        struct.pack(
            "=IIIIQII", cgroup_fd, _ATTACH_CGROUP_DEVICE, 0, 0, ctypes.addressof(ids),
            _MOST_PROGRAMS, 0,
        ), 32,
    )  # fmt: skip
    result = raw_syscall(_BPF, (_PROG_QUERY, ctypes.addressof(attributes), 32))
    _check(result, "ask for the device filters")
    (count,) = struct.unpack_from("=I", attributes, 24)
    return list(struct.unpack_from(f"={count}I", ids, 0))


def _program_by_id(number: int) -> int:
    return _check(_bpf(_PROG_GET_FD_BY_ID, struct.pack("=II", number, 0)), "open a device filter")


def _detach(cgroup_fd: int, number: int) -> None:
    program_fd = _program_by_id(number)
    try:
        attributes = struct.pack("=IIII", cgroup_fd, program_fd, _ATTACH_CGROUP_DEVICE, 0)
        _check(_bpf(_PROG_DETACH, attributes), "detach an earlier device filter")
    finally:
        os.close(program_fd)


def _bpf(command: int, attributes: bytes) -> int:
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    return raw_syscall(_BPF, (command, ctypes.addressof(buffer), len(attributes)))


def _check(result: int, doing: str) -> int:
    if result < 0:
        raise OSError(-result, f"{doing}: {os.strerror(-result)}")
    return result
