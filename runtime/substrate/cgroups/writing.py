"""Writing limits into a cgroup, and looking whether the kernel follows what it took."""

from __future__ import annotations

import errno

from substrate.cgroups.convert import parse_list
from substrate.errors import RefusedError, SubstrateError, UnsupportedError
from substrate.kernel import cgroup2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.cgroups.group import Cgroup
    from substrate.cgroups.limits import Files, Write


def write_limits(world: Cgroup, files: Files) -> None:
    """Write the limits in their order; raises `SubstrateError` for the first that is refused.

    A value that is only possible after another one (a burst and its quota) is tried again.
    """
    if files.memory_checked:
        _check_memory(world, files)
    again = [write for write in files.writes if not _write(world, write, first=True)]
    for write in again:
        _write(world, write, first=False)
    for write in files.writes:
        if write.controller == "cpuset":
            _check_cpuset(world, write)


def _check_memory(world: Cgroup, files: Files) -> None:
    limit = files.values.get("memory.max", "max")
    used = cgroup2.read(world.fd, "memory.current")
    if limit.isdigit() and used is not None and int(used) > int(limit):
        message = f"the new limit of memory, {limit} bytes, is below the {used} in use"
        raise RefusedError(message, "leave out checkBeforeUpdate to have the world reclaim or die")


def _check_cpuset(world: Cgroup, write: Write) -> None:
    """Refuse what the kernel took and does not follow: it falls back to what the parent has."""
    hint = f"it comes from {write.key}; lscpu lists the processors there are"
    if write.file == "cpuset.cpus.partition":
        there = cgroup2.read(world.fd, write.file) or ""
        if "invalid" in there:
            message = f'"{write.value}" in {world.directory}/{write.file} is {there}'
            raise SubstrateError(message, hint)
        return
    effective = cgroup2.read(world.fd, f"{write.file}.effective")
    if effective is not None and not parse_list(effective) <= parse_list(write.value):
        message = f'"{write.value}" in {world.directory}/{write.file} has no effect: {effective} is'
        raise SubstrateError(f"{message} used", hint)


def _write(world: Cgroup, write: Write, *, first: bool) -> bool:
    """Write one value; False when it was refused for now and may be tried again."""
    file, value = write.file, write.value
    try:
        try:
            cgroup2.write(world.fd, file, value)
        except FileNotFoundError:
            if write.absent_is_same:
                return True
            if write.otherwise is None:
                raise
            file, value = write.otherwise
            cgroup2.write(world.fd, file, value)
    except OSError as error:
        if first and error.errno == errno.EINVAL:
            return False
        raise _refused(world, write, file, value, error) from error
    return True


def _refused(world: Cgroup, write: Write, file: str, value: str, error: OSError) -> SubstrateError:
    message = f'cannot write "{value}" to {world.directory}/{file}: {error.strerror}'
    hint = f"it comes from {write.key}"
    if error.errno == errno.ENOENT:
        message = f"this kernel has no {file} in {world.directory}"
        return UnsupportedError(message, hint)
    if error.errno == errno.ENODEV:
        hint += "; lsblk lists the devices there are"
    elif error.errno == errno.EBUSY and file == "memory.max":
        hint += "; more is in use"
    return SubstrateError(message, hint)
