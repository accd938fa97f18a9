"""The state of a world: the OCI's words, what Substrate adds, and its JSON."""

from __future__ import annotations

from substrate.errors import SubstrateError
from substrate.kernel import procfs
from substrate.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OCI_VERSION = "1.2.0"

CREATING, CREATED, RUNNING, STOPPED = "creating", "created", "running", "stopped"
PAUSED = "paused"


@record
class Layer:
    """Where the changes to the project are: `directory` holds `upper` and `work`, or a copy.

    `owner` and `group` are the world's root outside when the layers are id-mapped, else -1.
    `copied`: no overlay could be had; see `copying.py`.
    """

    project: str
    at: str
    directory: str
    userxattr: bool
    owner: int = -1
    group: int = -1
    copied: bool = False

    @property
    def xattr_prefix(self) -> str:
        """What the names of the overlay's own extended attributes in the layers begin with."""
        return "user.overlay." if self.userxattr else "trusted.overlay."


@record
class State:
    """What is known of a world; `pid` is 0 before there is a process.

    `start_time` (clock ticks since boot) tells the process from a later one of the same pid.
    `namespaces` are the types the world does not share with the runtime. `created` is RFC 3339.
    `cgroup` is the directory of its cgroup, "" when it has none; `unit` is the scope of systemd
    that it belongs to, `system/NAME` or `user/NAME`, "" when systemd has no part in it. `idle`:
    its first process is our own init, which does nothing but reap. `protected` is what of the
    project is read-only, relative to it.
    """

    world_id: str
    status: str
    bundle: str
    rootfs: str
    created: str
    owner: int
    pid: int = 0
    start_time: int = 0
    annotations: tuple[tuple[str, str], ...] = ()
    namespaces: tuple[str, ...] = ()
    may_set_groups: bool = True
    layer: Layer | None = None
    data: str = ""
    cgroup: str = ""
    unit: str = ""
    wall_time_s: float | None = None
    degraded: tuple[tuple[str, str], ...] = ()
    idle: bool = False
    protected: tuple[str, ...] = ()

    @property
    def is_alive(self) -> bool:
        """Whether the world's first process runs, and is the one that was started."""
        return bool(self.pid) and procfs.is_alive(self.pid, self.start_time)

    @property
    def current_status(self) -> str:
        """The status now: what was written, unless the process has ended since."""
        if self.status in (CREATED, RUNNING) and not self.is_alive:
            return STOPPED
        if self.status == RUNNING and self.cgroup and is_frozen(self.cgroup):
            return PAUSED
        return self.status

    def to_oci(self) -> dict[str, Any]:
        """Return the state as `substrate-runtime state` and hooks show it."""
        status = self.current_status
        return {
            "ociVersion": OCI_VERSION,
            "id": self.world_id,
            "status": status,
            "pid": self.pid if status != STOPPED else 0,
            "bundle": self.bundle,
            "annotations": dict(self.annotations),
            "rootfs": self.rootfs,
            "created": self.created,
            "owner": _user_name(self.owner),
            "substrate": self._own_part(),
        }

    def to_json(self) -> dict[str, Any]:
        """Return the state as it is stored."""
        stored = self.to_oci()
        stored |= {"status": self.status, "pid": self.pid, "owner": str(self.owner)}
        return stored

    def _own_part(self) -> dict[str, Any]:
        layer = self.layer
        return {
            "startTime": self.start_time,
            "namespaces": list(self.namespaces),
            "maySetGroups": self.may_set_groups,
            "data": self.data,
            "cgroup": self.cgroup,
            "unit": self.unit,
            "wallTime": self.wall_time_s,
            "project": None if layer is None else {
                "path": layer.project, "at": layer.at, "layer": layer.directory,
                "userxattr": layer.userxattr, "owner": layer.owner, "group": layer.group,
                "copied": layer.copied,
            },
            "idle": self.idle,
            "protected": list(self.protected),
            "degraded": [{"name": name, "reason": reason} for name, reason in self.degraded],
        }  # fmt: skip


def from_json(data: Any, where: str) -> State:
    """Return the state of its stored form; raises `SubstrateError` when it is damaged."""
    try:
        own = data["substrate"]
        project = own["project"]
        return State(
            world_id=data["id"],
            status=data["status"],
            bundle=data["bundle"],
            rootfs=data["rootfs"],
            created=data["created"],
            owner=int(data["owner"]),
            pid=data["pid"],
            start_time=own["startTime"],
            annotations=tuple(data["annotations"].items()),
            namespaces=tuple(own["namespaces"]),
            may_set_groups=own["maySetGroups"],
            layer=None if project is None else Layer(
                project["path"], project["at"], project["layer"], project["userxattr"],
                project.get("owner", -1), project.get("group", -1), project.get("copied", False),
            ),
            data=own["data"],
            cgroup=own.get("cgroup", ""),
            unit=own.get("unit", ""),
            wall_time_s=own.get("wallTime"),
            degraded=tuple((entry["name"], entry["reason"]) for entry in own["degraded"]),
            idle=own.get("idle", False),
            protected=tuple(own.get("protected", ())),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError):
        message = f"{where} is damaged"
        raise SubstrateError(message, "delete the world with --force") from None


def is_frozen(cgroup: str) -> bool:
    """Whether a cgroup is frozen; one file, read without what the cgroups room would load."""
    try:
        with open(f"{cgroup}/cgroup.events", encoding="ascii") as file:
            return "frozen 1" in file.read()
    except OSError:
        return False


def timestamp() -> str:
    """Return the time now as RFC 3339 in UTC, with nanoseconds."""
    import time

    now = time.time_ns()
    seconds, rest = divmod(now, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest:09d}Z"


def _user_name(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
