"""Making the cgroup of a world and those of its spans, with the controllers they need.

    <base>/substrate/<name>          the world: its limits, and its processes
                      ├ span-<id>    one span each: who survived it, kill it, its processor time
                      └ init         only in the layout for accounting, see below

By default processes and spans share the world's cgroup: with no controller enabled for children
both may be there. Where each span's memory shall be counted, controllers must be enabled for the
children, and then no process may be in the world's own cgroup: all are in `init` or a span. These
repeat the limits of the world, since programs size themselves by the files they see.

Removing it again is in `owned.py`, what is written into it in `writing.py`.
"""

from __future__ import annotations

import errno
import os

from substrate.cgroups.group import Cgroup
from substrate.cgroups.limits import Loss
from substrate.cgroups.owned import mark, owner_of, remove_world
from substrate.cgroups.writing import write_limits
from substrate.errors import RefusedError, SubstrateError, UnsupportedError
from substrate.kernel import cgroup2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from substrate.cgroups.hierarchy import Hierarchy, Place
    from substrate.cgroups.limits import Files

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
        raise UnsupportedError(message, _hint(error)) from error
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
        world.close()
        if made:
            # With our folder, unless there are other worlds in it.
            remove_world(place.directory, owner)
        raise
    return world


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
        return _hint(error)
    return "a cgroup above it does not give it the controller"


def _hint(error: OSError) -> str:
    """Return what whoever was refused can do about it."""
    if error.errno == errno.EROFS:
        return "remount it writable: mount -o remount,rw /sys/fs/cgroup"
    if error.errno == errno.EAGAIN:
        return "cgroup.max.descendants or cgroup.max.depth of a cgroup above it is reached"
    if error.errno in (errno.EACCES, errno.EPERM) and os.geteuid():
        return "systemd-run --user --scope -p Delegate=yes COMMAND"
    return "substrate doctor tells what this machine offers"


def _make(place: Place, needed: tuple[str, ...], owner: str) -> tuple[Cgroup, bool]:
    """Return the world's cgroup and whether it is a new one."""
    here = Cgroup.open(place.base)
    if here is None:
        message = f"the cgroup {place.base} does not exist"
        raise UnsupportedError(message, "substrate doctor tells what this machine offers")
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
        mark(world, owner)
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
    return UnsupportedError(message, _hint(error))


def _removed_meanwhile() -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, "the cgroup was removed meanwhile")


def _claim_existing(world: Cgroup, owner: str) -> None:
    theirs = owner_of(world)
    hint = "name another one in linux.cgroupsPath"
    if theirs not in (None, owner):
        message = f"the cgroup {world.directory} belongs to the world {theirs}"
        raise RefusedError(message, hint)
    if world.is_populated or (theirs is None and cgroup2.children(world.fd)):
        message = f"the cgroup {world.directory} is in use already"
        raise RefusedError(message, hint)
    cgroup2.remove_below(world.fd)


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
