"""`plan`."""

from __future__ import annotations

import os

from substrate import jsontext
from substrate.cli.calls import context_of
from substrate.cli.requests import bundle_directory, overrides_of
from substrate.cli.terminal import printable, write
from substrate.isolation.conversation import compile_plan
from substrate.isolation.sequence import create_sequence
from substrate.isolation.staging import stage_sequence, staged_mounts
from substrate.kernel.explain import explain_op
from substrate.world.create import CreateRequest, make_spec, read_request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.cli.parse import Arguments
    from substrate.kernel.plan import Plan

WORLD_ID = "plan"


def run(arguments: Arguments) -> int:
    """Carry out the verb."""
    context = context_of(arguments)
    request = CreateRequest(
        world_id=WORLD_ID,
        bundle=bundle_directory(arguments),
        project=arguments.text("project"),
        overrides=overrides_of(arguments),
        listening=False,
    )
    _, config, process = read_request(request)
    data = os.path.join(context.data, WORLD_ID)
    spec = make_spec(context, request, config, process, data)
    plans = {"world": compile_plan(create_sequence(spec))}
    if staged_mounts(spec):
        # Runs in a process of its own while the world's waits for its id maps.
        plans = {"stage": compile_plan(stage_sequence(spec))} | plans
    if arguments.flag("json"):
        write(jsontext.dumps({name: _as_json(plan) for name, plan in plans.items()}, 2) + "\n")
        return 0
    for name, plan in plans.items():
        write(f"{name}:\n")
        calls = _calls_by_step(plan)
        for number, step in enumerate(plan.steps):
            write(f"{number + 1:3} {printable(step)}\n")
            if arguments.flag("syscalls"):
                write("".join(f"      {printable(call)}\n" for call in calls[number]))
    return 0


def _as_json(plan: Plan) -> list[dict[str, object]]:
    calls = _calls_by_step(plan)
    return [{"step": step, "syscalls": calls[number]} for number, step in enumerate(plan.steps)]


def _calls_by_step(plan: Plan) -> list[list[str]]:
    calls: list[list[str]] = [[] for _ in plan.steps]
    for op in plan.ops:
        calls[op.step].append(explain_op(plan, op))
    return calls
