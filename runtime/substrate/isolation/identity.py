"""Which ids a world gets: those of its bundle, or ones that take no power outside.

The payload is never uid 0 of the host unless the bundle says so by name.
"""

from __future__ import annotations

import _blake2
import os

from substrate.bundle.model import IdMapping, User
from substrate.errors import BundleError, UnsupportedError
from substrate.isolation.spec import Identity
from substrate.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.bundle.model import Config, Process

# The ids systemd-nspawn hands out too: above every user, below the sign bit (systemd's
# "Users, Groups, UIDs and GIDs": container UID ranges).
_RANGE_SIZE = 65536
_FIRST_RANGE = 0x0008_0000
_RANGE_COUNT = (0x6FFF_0000 - _FIRST_RANGE) // _RANGE_SIZE
HOST_UID_0 = "host-uid-0"


def choose_identity(
    config: Config, world_id: str, project: str | None, *, privileged: bool, host_ids: bool
) -> tuple[Identity | None, User | None]:
    """Return the id maps of the world and, when they decide it, the payload's user.

    Explicit maps of the bundle are taken as they are. Without any, an ordinary user is mapped to
    itself; under root the payload is the project's owner, or, when that is root, uid 0 of a range
    of its own.
    """
    namespace = config.linux.namespace("user")
    if namespace is None:
        if not privileged:
            message = "config.json: $.linux.namespaces: without root, a user namespace is needed"
            hint = 'add {"type": "user"} to linux.namespaces, or use the bundle "rootless"'
            raise UnsupportedError(message, hint)
        return None, None
    if namespace.path is not None:
        # Made and mapped by somebody else; uid 0 of it is who may set up the world.
        return Identity((), (), 0, 0, may_set_groups=privileged), None
    if config.linux.uid_mappings:
        return _explicit(config, privileged), None
    if config.substrate is None:
        problem = "$.linux.uidMappings: expected the ids of the new user namespace, got nothing"
        raise BundleError([f"config.json: {problem}"])
    return _automatic(world_id, project, privileged=privileged, host_ids=host_ids)


def _automatic(
    world_id: str, project: str | None, *, privileged: bool, host_ids: bool
) -> tuple[Identity, User]:
    if not privileged:
        return _single(os.geteuid(), os.getegid())
    owner = _owner(project)
    if owner is not None and owner[0] != 0:
        return _single(*owner, privileged=True)
    if host_ids:
        everything = (IdMapping(0, 0, 0xFFFF_FFFF),)
        return Identity(everything, everything, 0, 0), User()
    base = range_of(world_id)
    ids = (IdMapping(0, base, _RANGE_SIZE),)
    return Identity(ids, ids, 0, 0, idmapped=True), User()


def with_user(process: Process | None, user: User | None, *, asked: bool) -> Process | None:
    """Return the process as the user the identity decided, unless the caller asked for one."""
    if process is None or user is None or asked:
        return process
    return replace(process, user=replace(user, umask=process.user.umask))


def range_of(world_id: str) -> int:
    """Return the first outside id of a world's range.

    By its name, so that it needs no register; two worlds may share one, which costs separation
    of quotas between them and nothing else: they still share no namespace.
    """
    digest = _blake2.blake2b(world_id.encode(), digest_size=8).digest()
    return _FIRST_RANGE + int.from_bytes(digest, "little") % _RANGE_COUNT * _RANGE_SIZE


def _explicit(config: Config, privileged: bool) -> Identity:
    uid_map, gid_map = config.linux.uid_mappings, config.linux.gid_mappings
    own = (
        len(uid_map) == len(gid_map) == 1
        and uid_map[0].size == gid_map[0].size == 1
        and uid_map[0].host_id == os.geteuid()
        and gid_map[0].host_id == os.getegid()
    )
    return Identity(
        uid_map,
        gid_map,
        _setup_id(uid_map),
        _setup_id(gid_map),
        may_set_groups=privileged or not own,
        helpers=not privileged and not own,
    )


def _setup_id(mappings: tuple[IdMapping, ...]) -> int:
    inside = [line.container_id for line in mappings]
    return 0 if 0 in inside or not inside else inside[0]


def _single(uid: int, gid: int, *, privileged: bool = False) -> tuple[Identity, User]:
    """One id, mapped to itself: files look the same inside and outside."""
    uid_map, gid_map = (IdMapping(uid, uid, 1),), (IdMapping(gid, gid, 1),)
    identity = Identity(uid_map, gid_map, uid, gid, may_set_groups=privileged)
    return identity, User(uid=uid, gid=gid)


def _owner(project: str | None) -> tuple[int, int] | None:
    if project is None:
        return None
    status = os.stat(project)
    return status.st_uid, status.st_gid
