"""What it takes to enter a running world: a view of its project, and descriptors of it."""

from __future__ import annotations

import os

from substrate.errors import WorldStateError
from substrate.kernel import procfs
from substrate.record import record
from substrate.world.stack import check_span_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from substrate.cgroups.group import Cgroup
    from substrate.cgroups.spans import SpanCgroup
    from substrate.isolation.steps.spanning import SpanOverlay
    from substrate.world.state import State


@record
class View:
    """How a span's process enters the world: for `EnteredWorld`, and further inputs of its plan.

    `is_own`: nobody else writes to its layer. `confirm` is called when its mounts are made and
    before its program may run; it raises what keeps the program from running.
    """

    overlay: SpanOverlay | None
    joins_mounts: bool
    inputs: dict[str, int]
    is_own: bool = False
    confirm: Callable[[], None] | None = None


class Entrance:
    """Within `with`: the inputs of the plans in `isolation/entering.py`, by name.

    `owner` is the world's state directory. With `spanned` who enters begins in a cgroup of its own
    where the world has one: `cgroup`, which is the caller's to close unless the block fails. Raises
    `WorldStateError` when the world has ended.
    """

    def __init__(
        self, state: State, owner: str, *, spanned: bool = False, span_id: str = ""
    ) -> None:
        self.cgroup: SpanCgroup | None = None
        self._span_id = span_id
        self._state = state
        self._owner = owner
        self._spanned = spanned
        self._seat: Cgroup | None = None  # its descriptor is one of the inputs
        self.inputs: dict[str, int] = {}

    def __enter__(self) -> Entrance:
        state = self._state
        if self._span_id:
            # It becomes the name of a cgroup.
            check_span_id(self._span_id)
        pidfd = procfs.open_pidfd(state.pid, state.start_time)
        if pidfd is None:
            message = f"container not running: {state.world_id} is {state.current_status}"
            raise WorldStateError(message, f"substrate-runtime state {state.world_id}")
        self.inputs["world"] = pidfd
        try:
            self._open_cgroup()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, kind: object = None, *_details: object) -> None:
        if kind is not None and self.cgroup is not None:
            self.cgroup.close()
        for fd in self.inputs.values():
            os.close(fd)
        self.inputs.clear()

    @property
    def into_cgroup(self) -> bool:
        """Whether the world has a cgroup that those who enter begin in."""
        return "cgroup" in self.inputs

    def _open_cgroup(self) -> None:
        if "cgroup" in self._state.namespaces:
            # By its own file: joined after the fork, when the world's first process, which may
            # still be untraceable, cannot be asked any more.
            path = f"/proc/{self._state.pid}/ns/cgroup"
            self.inputs["namespace:cgroup"] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        if not self._state.cgroup:
            return
        if self._spanned:
            from substrate.cgroups.spans import SpanCgroup

            self.cgroup = SpanCgroup.make(self._state.cgroup, self._owner, self._span_id)
            if self.cgroup is not None:
                self._seat = self.cgroup.own
                self.inputs["cgroup"] = os.dup(self._seat.fd)
            return
        # Loaded where there is a cgroup: it costs a millisecond.
        from substrate.cgroups.owned import open_world
        from substrate.cgroups.place import seat

        world = open_world(self._state.cgroup, self._owner)
        if world is not None:
            with world:
                self._seat = seat(world)
            self.inputs["cgroup"] = self._seat.fd

    def bring_in(self, pid: int) -> None:
        """Move a process into the world's cgroup, unless it began there."""
        if self._seat is not None:
            from substrate.world.limits import bring_in

            bring_in(self._seat, pid, self._state.unit)
