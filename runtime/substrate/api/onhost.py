"""Commands on the host itself, because somebody said so: judged and on record, not kept apart."""

from __future__ import annotations

import os
import time

from substrate.api.judging import Judge
from substrate.api.recording import Recorder
from substrate.api.records import DENY, ISOLATE, PolicyDecision
from substrate.api.results import denied, request_of, result_of, with_span
from substrate.errors import SubstrateError
from substrate.kernel.spawn import spawn_on_host
from substrate.record import replace
from substrate.trace.ids import TraceParent, carried, inherited, new_session_id
from substrate.world.process import Started

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from substrate.api.inprocess import Attendant
    from substrate.api.records import ExecRequest, ExecResult


class Host:
    """Runs commands on the host, in the caller's directory and with the caller's environment."""

    def __init__(
        self, data: str, project: str, environment: Mapping[str, str], policy_file: str | None
    ) -> None:
        self._environment = dict(environment)
        self._judge = Judge(project, environment, policy_file)
        parent, _ = inherited(environment)
        self._session_id = new_session_id() if parent is None else parent.session_id
        above = None if parent is None else parent.span_id
        self._recorder = Recorder(data, self._session_id, "", above)

    def exec_attended(self, request: ExecRequest, attendant: Attendant) -> ExecResult:
        """Run a command to its end, with somebody else staying with it."""
        request = with_span(request)
        parent = TraceParent(self._session_id, request.span_id or "")
        env = self._environment | carried(parent, self._environment) | dict(request.env)
        asked = request_of(request, os.getcwd(), env, None)
        decision = self._judge.decide(request)
        origin = self._recorder.origin(request, self._judge.policy_id)
        if decision.action == ISOLATE:
            decision = _must_be_isolated(decision)
        if decision.action == DENY:
            self._recorder.denied(origin, asked, decision)
            return denied(request, "", decision)
        self._recorder.start(origin, asked, decision, ())
        began = time.monotonic()

        def start(
            streams: dict[int, int], _terminal: bool, before: Callable[[Started], None] | None
        ) -> Started:
            pid = spawn_on_host(asked.argv, asked.env, streams)
            started = Started(pid)
            if before is not None:
                before(started)
            return started

        ended = attendant.attend(start, terminal=False)
        duration_ms = int((time.monotonic() - began) * 1000)
        result = result_of(request, "", ended, duration_ms, decision)
        try:
            self._recorder.complete(origin, result)
        except (SubstrateError, OSError) as error:
            problem = f"the end of the command is not on record: {error}"
            result = replace(result, telemetry=(problem,))
        return result


def _must_be_isolated(decision: PolicyDecision) -> PolicyDecision:
    reason = f"{decision.reason}: it may only run in a world"
    return replace(decision, action=DENY, reason=reason)
