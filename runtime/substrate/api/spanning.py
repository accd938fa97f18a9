"""What a command changed: its own layer, or the difference of what its world had changed.

A broken way to the answer never breaks the command: what went wrong is told with the result.
"""

from __future__ import annotations

from substrate.api.records import Limit, Resources
from substrate.errors import SubstrateError
from substrate.world.process import Moments, begin, leave

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from substrate.api.capture import Ended
    from substrate.api.recording import Announcement
    from substrate.filesystem.between import Look
    from substrate.filesystem.entries import FsDiff
    from substrate.world.ahead import LayerAhead
    from substrate.world.context import Context
    from substrate.world.overrides import Overrides
    from substrate.world.process import Started
    from substrate.world.state import State


class Spanning:
    """One command of a world, from before its start to after its end.

    `announcement` is on record before the program runs, or it does not run. `ahead`: who makes
    layers while nobody waits.
    """

    def __init__(
        self,
        context: Context,
        world_id: str,
        announcement: Announcement,
        ahead: LayerAhead | None,
    ) -> None:
        self._context = context
        self._world_id = world_id
        self._ahead = ahead
        self.announcement = announcement
        self._started: Started | None = None
        self._before: Look | None = None

    @property
    def has_begun(self) -> bool:
        """Whether the command's first process was made."""
        return self._started is not None

    def begin(
        self,
        overrides: Overrides,
        descriptors: Mapping[int, int],
        names: tuple[str, str],
        before: Callable[[Started], None] | None,
    ) -> Started:
        """Start it; `names` are the ids of span and session, the rest is as `begin` has it."""
        self._started = begin(
            self._context,
            self._world_id,
            overrides,
            descriptors,
            names,
            Moments(self.announcement.write, self._look, before),
            self._ahead,
        )
        return self._started

    def release(self, span_id: str) -> None:
        """Let go of what was kept while the command ran."""
        if self._ahead is not None:
            self._ahead.release(span_id)

    def finish(self, code: int, telemetry: list[str]) -> FsDiff | None:
        """Return what it changed, None when that cannot be told; `telemetry` then says why."""
        started = self._started
        if started is None or started.state is None or started.state.layer is None:
            return None
        try:
            found = leave(started, code if code >= 0 else 128 - code)
            if found is None and self._before is not None:
                found = self._difference(started.state, self._before)
        except (SubstrateError, OSError) as error:
            telemetry.append(f"what the command changed is not known: {_reason(error)}")
            return None
        return found

    def used(self, ended: Ended, telemetry: list[str]) -> Resources | None:
        """Return what the command used, None when that cannot be told."""
        if self._started is None:
            return None
        try:
            used = self._started.used(ended.limits_hit)
        except (SubstrateError, OSError) as error:
            telemetry.append(f"what the command used is not known: {_reason(error)}")
            return None
        return Resources(
            cpu_ms=used.cpu_ms,
            memory_peak=used.memory_peak,
            oom_killed=used.oom_killed,
            throttled=used.throttled,
            pids_peak=used.pids_peak,
            survivors=used.survivors,
            limits_hit=tuple(
                Limit(hit.name, hit.sentence, hit.hint, hit.is_fatal) for hit in used.limits_hit
            ),
        )

    def _look(self, state: State) -> None:
        self._before = _look(state)

    def _difference(self, state: State, before: Look) -> FsDiff:
        from substrate.filesystem.between import between

        return between(before, _look(state))


def _look(state: State) -> Look:
    from substrate.filesystem.between import Look
    from substrate.world.changes import world_changes

    with world_changes(state) as changes:
        return Look(changes)


def _reason(error: SubstrateError | OSError) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)
