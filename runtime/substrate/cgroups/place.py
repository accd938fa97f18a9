"""Making, finding and removing the cgroup of a world, and putting its limits into it.

    <base>/substrate/<name>          the world: its limits, and its processes
                      ├ span-<id>    one span each: who survived it, kill it, its processor time
                      └ init         only in the layout for accounting, see below

By default processes and spans share the world's cgroup: with no controller enabled for children
both may be there. Where each span's memory shall be counted, controllers must be enabled for the
children, and then no process may be in the world's own cgroup: all are in `init` or a span. These
repeat the limits of the world, since programs size themselves by the files they see.

The path is stored before anything is made, and a cgroup that was made carries its owner in an
extended attribute. So whoever cleans up after a killed runtime kills only what is certainly the
world's, and a path that named somebody else's cgroup is left alone.
"""

from __future__ import annotations

import errno
import os

from substrate.cgroups.convert import parse_list
from substrate.cgroups.group import Cgroup
from substrate.cgroups.hierarchy import FOLDER
from substrate.cgroups.limits import Loss
from substrate.errors import RefusedError, SubstrateError, UnsupportedError
from substrate.kernel import cgroup2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from substrate.cgroups.hierarchy import Hierarchy, Place
    from substrate.cgroups.limits import Files, Write

OWNER_MARK = "user.substrate.world"
FIRST_LEAF = "init"
_SPAN_PREFIX = "span-"
# Enabled where they are to be had, limits or not: a world's figures come from them.
_ACCOUNTED = ("cpu", "memory", "pids", "io")
_REPEATED = ("memory.max", "cpu.max", "pids.max")
# The payload may make cgroups where it was given its own; it could make millions.
_CEILINGS = (("cgroup.max.depth", "32"), ("cgroup.max.descendants", "4096"))
_ATTEMPTS = 100


def missing_controllers(hierarchy: Hierarchy, place: Place, files: Files) -> tuple[Loss, ...]:
    """Return a loss for each controller that the limits need and the place does not offer."""
    try:
        fd = cgroup2.open_root(place.base)
    except OSError as error:
        message = f"cannot open the cgroup {place.base}: {error.strerror}"
        raise UnsupportedError(message, "substrate-runtime doctor") from error
    try:
        offered = (cgroup2.read(fd, "cgroup.controllers") or "").split()
    finally:
        os.close(fd)
    return tuple(
        Loss(f"cgroup.{name}", f"a limit of {name} cannot be had: {hierarchy.why_not(name)}")
        for name in files.controllers
        if name not in offered
    )


def make_world(place: Place, files: Files, owner: str, *, accounting: bool = False) -> Cgroup:
    """Make a world's cgroup with its limits and return it open; on failure nothing is left.

    `owner` says whose it is (the world's state directory) and is what `remove_world` must be told.
    Raises `RefusedError` when the cgroup is somebody else's, `SubstrateError` naming file and
    value when the kernel refuses a limit.
    """
    needed = files.controllers
    for _ in range(_ATTEMPTS):
        try:
            world, made = _make(place, needed, owner)
        except FileNotFoundError:
            # The last other world has just removed our folder on its way out.
            continue
        break
    else:
        message = f"cannot make the cgroup {place.directory}: it is removed again and again"
        raise SubstrateError(message)
    try:
        for name, value in _CEILINGS:
            cgroup2.write(world.fd, name, value)
        write_limits(world, files)
        if accounting:
            _split(world, needed)
    except BaseException:
        if made:
            world.remove()
        world.close()
        raise
    return world


def open_world(directory: str, owner: str) -> Cgroup | None:
    """Open the cgroup of a world, None when it is gone or is not that owner's."""
    world = Cgroup.open(directory)
    if world is not None and _owner(world) != owner:
        world.close()
        return None
    return world


def remove_world(directory: str, owner: str, timeout_s: float = 10.0) -> bool:
    """Kill what is left in a world's cgroup and remove it; idempotent, after any interruption.

    False when there is a cgroup that is not the owner's and in use, which is left as it is.
    """
    world = Cgroup.open(directory)
    if world is None:
        _remove_folder(directory)
        return True
    with world:
        if _owner(world) == owner:
            if world.is_populated:
                world.kill()
        elif _owner(world) is not None or world.is_populated or cgroup2.children(world.fd):
            return False
        world.remove(timeout_s)
    _remove_folder(directory)
    return True


def seat(world: Cgroup) -> Cgroup:
    """Return the cgroup for the first process and every plain `exec`; the caller closes it."""
    leaf = world.child(FIRST_LEAF)
    return leaf if leaf is not None else Cgroup(os.dup(world.fd), world.directory)


def make_span(world: Cgroup, span: str) -> Cgroup:
    """Make the cgroup of one span, to be removed when the span has ended."""
    made = world.make_child(_SPAN_PREFIX + span)
    first = world.child(FIRST_LEAF)
    if first is not None:
        first.close()
        _repeat_limits(world, made)
    return made


def open_span(world: Cgroup, span: str) -> Cgroup | None:
    """Open the cgroup of a span, None when it is gone."""
    return world.child(_SPAN_PREFIX + span)


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


def update_world(world: Cgroup, files: Files) -> None:
    """Write changed limits of a living world, into its leaves too where they repeat them."""
    parent = Cgroup.open(os.path.dirname(world.directory))
    if parent is not None:
        with parent:
            enable_controllers(parent, files.controllers)
    write_limits(world, files)
    leaf = world.child(FIRST_LEAF)
    if leaf is None:
        return
    leaf.close()
    for name in cgroup2.children(world.fd):
        inner = world.child(name)
        if inner is not None:
            with inner:
                _repeat_limits(world, inner)


def enable_controllers(parent: Cgroup, needed: Iterable[str]) -> None:
    """Give the children of a cgroup these controllers, and those for figures if possible."""
    offered = (cgroup2.read(parent.fd, "cgroup.controllers") or "").split()
    enabled = (cgroup2.read(parent.fd, "cgroup.subtree_control") or "").split()
    needed = tuple(needed)
    for name in dict.fromkeys((*needed, *_ACCOUNTED)):
        if name in enabled or (name not in offered and name not in needed):
            continue
        try:
            cgroup2.write(parent.fd, "cgroup.subtree_control", f"+{name}")
        except OSError as error:
            if name not in needed and error.errno in _MAY_FAIL:
                continue
            if error.errno in cgroup2.GONE and parent.is_gone:
                raise _removed_meanwhile() from error
            message = f"cannot enable the {name} controller in {parent.directory}"
            raise UnsupportedError(f"{message}: {error.strerror}", _enable_hint(error)) from error


_MAY_FAIL = (errno.EBUSY, errno.EACCES, errno.EPERM, errno.EOPNOTSUPP, errno.ENOENT, errno.EINVAL)


def _enable_hint(error: OSError) -> str:
    if error.errno == errno.EBUSY:
        return "processes are in it itself; move them into a cgroup below it first"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "systemd-run --user --scope -p Delegate=yes COMMAND"
    return "a cgroup above it does not give it the controller"


def _make(place: Place, needed: tuple[str, ...], owner: str) -> tuple[Cgroup, bool]:
    """Return the world's cgroup and whether it is a new one."""
    here = Cgroup.open(place.base)
    if here is None:
        message = f"the cgroup {place.base} does not exist"
        raise UnsupportedError(message, "substrate-runtime doctor")
    for part in place.parts[:-1]:
        with here:
            enable_controllers(here, needed)
            try:
                os.mkdir(part, 0o755, dir_fd=here.fd)
            except FileExistsError:
                pass
            except OSError as error:
                raise _not_made(f"{here.directory}/{part}", error) from error
            below = Cgroup(cgroup2.open_child(here.fd, part), f"{here.directory}/{part}")
        here = below
    with here:
        enable_controllers(here, needed)
        return _make_own(here, place.parts[-1], owner)


def _make_own(parent: Cgroup, name: str, owner: str) -> tuple[Cgroup, bool]:
    try:
        world = parent.make_child(name)
        made = True
    except FileExistsError:
        found = parent.child(name)
        if found is None:
            raise _removed_meanwhile() from None
        world, made = found, False
    except OSError as error:
        raise _not_made(f"{parent.directory}/{name}", error) from error
    try:
        if not made:
            _claim_existing(world, owner)
        _mark(world, owner)
    except BaseException:
        if made:
            world.remove()
        world.close()
        raise
    return world, made


def _not_made(directory: str, error: OSError) -> SubstrateError | FileNotFoundError:
    if error.errno in cgroup2.GONE:
        return _removed_meanwhile()
    message = f"cannot make the cgroup {directory}: {error.strerror}"
    hint = "substrate-runtime doctor"
    if error.errno == errno.EAGAIN:
        hint = "cgroup.max.descendants or cgroup.max.depth of a cgroup above it is reached"
    return UnsupportedError(message, hint)


def _removed_meanwhile() -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, "the cgroup was removed meanwhile")


def _claim_existing(world: Cgroup, owner: str) -> None:
    theirs = _owner(world)
    hint = "name another one in linux.cgroupsPath"
    if theirs not in (None, owner):
        message = f"the cgroup {world.directory} belongs to the world {theirs}"
        raise RefusedError(message, hint)
    if world.is_populated or (theirs is None and cgroup2.children(world.fd)):
        message = f"the cgroup {world.directory} is in use already"
        raise RefusedError(message, hint)
    cgroup2.remove_below(world.fd)


def _mark(world: Cgroup, owner: str) -> None:
    try:
        os.setxattr(world.fd, OWNER_MARK, os.fsencode(owner))
    except OSError as error:
        message = f"cannot mark the cgroup {world.directory} as ours: {error.strerror}"
        raise UnsupportedError(message, "name another one in linux.cgroupsPath") from error


def _owner(world: Cgroup) -> str | None:
    try:
        return os.fsdecode(os.getxattr(world.fd, OWNER_MARK))
    except OSError as error:
        if error.errno in (errno.ENODATA, *cgroup2.GONE):
            return None
        raise


def _remove_folder(directory: str) -> None:
    """Remove our folder with the last world of it; another one being made makes it again."""
    parent = os.path.dirname(directory)
    if os.path.basename(parent) != FOLDER:
        return
    try:
        os.rmdir(parent)
    except OSError as error:
        # ENOTEMPTY does not exist on cgroup2: a cgroup with children is busy.
        if error.errno not in (errno.EBUSY, errno.EACCES, errno.EPERM, *cgroup2.GONE):
            raise


def _split(world: Cgroup, needed: tuple[str, ...]) -> None:
    enable_controllers(world, needed)
    with world.make_child(FIRST_LEAF) as leaf:
        _repeat_limits(world, leaf)


def _repeat_limits(world: Cgroup, leaf: Cgroup) -> None:
    for name in _REPEATED:
        value = cgroup2.read(world.fd, name)
        if value is None or cgroup2.read(leaf.fd, name) in (None, value):
            continue
        cgroup2.write(leaf.fd, name, value)


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
