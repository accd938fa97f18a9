"""When a payload could change the mounts it was given; see docs/decisions/0004-locked-mounts.md."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.bundle.model import Config, Process

NAME = "unlocked-mounts"
REASON = (
    "without privilege the mounts of a world cannot be locked against its CAP_SYS_ADMIN: it could"
    " make what is read-only writable"
)


def has_unlocked_mounts(config: Config, process: Process | None, *, privileged: bool) -> bool:
    """Whether the payload may remount what the bundle shows read-only.

    Asked of bundles with our extension only: those of engines expect what runc gives them.
    """
    if privileged or config.substrate is None or config.linux.namespace("user") is None:
        return False
    sets = None if process is None else process.capabilities
    return sets is not None and "CAP_SYS_ADMIN" in (*sets.bounding, *sets.permitted)
