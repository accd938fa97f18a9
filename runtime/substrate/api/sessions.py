"""The world of a session: one for each project, made when it is first needed and kept.

It is found by its id, which is made from the project's path: `substrate diff` a day later, or in
another terminal, means the same world.
"""

from __future__ import annotations

import os
from _blake2 import blake2b

from substrate import jsontext, resources
from substrate.api.keeping import POLICY_FILE, SESSION_FILE, keep, restore
from substrate.errors import (
    BundleError,
    RefusedError,
    SubstrateError,
    WorldExistsError,
    WorldNotFoundError,
    WorldStateError,
)
from substrate.record import record, replace
from substrate.trace.ids import is_session_id, new_session_id
from substrate.world import state as states
from substrate.world.store import CONFIG_FILE, World
from substrate.world.stored import stored_config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from substrate.api.judging import Judge
    from substrate.api.records import WorldSpec
    from substrate.world.context import Context
    from substrate.world.create import CreateRequest
    from substrate.world.state import State

DEFAULT_BUNDLE = "host-project" if os.geteuid() == 0 else "rootless"
# Not a word of the id's own: what a path may have and an id may not.
_REPLACED = "-"
_NAME_LENGTH = 40


class _EndedError(WorldStateError):
    """The world of a session has ended."""


@record
class Session:
    """A world that takes commands. `directory` is the project's path in it, "" without one.

    `policy` is what the policy said of worlds when it was made, as JSON.
    """

    world_id: str
    project: str
    directory: str
    degraded: tuple[tuple[str, str], ...]
    made: bool
    session_id: str
    bundle: str
    output_bytes: int | None = None
    revived: bool = False
    policy: str = ""


def find_project(directory: str) -> str:
    """Return the repository that encloses a directory, or the directory itself."""
    here = start = os.path.realpath(directory)
    while here != "/":
        # A file in a worktree or submodule.
        if os.path.lexists(os.path.join(here, ".git")):
            return here
        here = os.path.dirname(here)
    return start


def check_project(project: str, environment: Mapping[str, str]) -> None:
    """Refuse a project that would show the person's home directory, or more, to the world."""
    home = environment.get("HOME", "")
    home = os.path.realpath(home) if home else "/root"
    if home == project or home.startswith(project.rstrip("/") + "/"):
        message = f"{project} holds the home directory: keys and tokens would be in the world"
        raise RefusedError(message, "cd into a project, or name one with --project DIR")


def world_id_of(project: str, bundle: str) -> str:
    """Return the id of a project's world: readable, and another for every path and bundle."""
    last = os.path.basename(project)
    name = "".join(c if c.isascii() and c.isalnum() else _REPLACED for c in last)
    digest = blake2b(f"{bundle}\0{project}".encode("utf-8", "surrogateescape"), digest_size=5)
    return f"{name[:_NAME_LENGTH].strip(_REPLACED) or 'root'}-{digest.hexdigest()}"


def complete(spec: WorldSpec, directory: str) -> WorldSpec:
    """Return the specification with everything it left out, for a session in a directory."""
    bundle = spec.bundle or DEFAULT_BUNDLE
    project = os.path.realpath(spec.project_dir) if spec.project_dir else find_project(directory)
    return replace(
        spec, bundle=bundle, project_dir=project, id=spec.id or world_id_of(project, bundle)
    )


def bundle_directory(bundle: str) -> str:
    """Return the directory of a bundle: the shipped one of that name, or the path."""
    if "/" not in bundle and bundle not in (".", ".."):
        shipped = resources.bundle_path(bundle)
        if shipped is not None:
            return shipped
    if not os.path.isfile(os.path.join(bundle, "config.json")):
        names = ", ".join(resources.bundle_names())
        raise BundleError([f"there is no bundle {bundle}"], f"use a directory, or one of {names}")
    return os.path.abspath(bundle)


def ensure(context: Context, spec: WorldSpec, judge: Judge, warn: Callable[[str], None]) -> Session:
    """Return the running world of a complete specification, making it unless it is there.

    One that has ended runs again, over its layers. Raises what `create` raises.
    """
    made = revived = False
    while True:
        try:
            return replace(session_of(context, spec), made=made, revived=revived)
        except WorldNotFoundError:
            made = _make(context, spec, judge, warn)
        except _EndedError:
            revived = revive(context, spec, judge, warn)


def revive(context: Context, spec: WorldSpec, judge: Judge, warn: Callable[[str], None]) -> bool:
    """Make the world of a session run again over its layers; False when it runs.

    `spec` is complete. The policy of now holds, as for a world made now.
    """
    from tempfile import TemporaryDirectory

    from substrate.world.revive import revive as revive_world

    with TemporaryDirectory(prefix="substrate-") as directory:
        revived = revive_world(context, _request(context, spec, judge, directory), warn)
    if revived:
        _keep(context, spec, judge)
        warn(f"the world of {spec.project_dir} had ended; it runs again over its changes")
    return revived


def session_of(context: Context, spec: WorldSpec, *, ended: bool = False) -> Session:
    """Return the session of a world that is there; with `ended` one that takes no commands too.

    Raises `WorldNotFoundError`, and `WorldStateError` for one that has ended.
    """
    world_id = spec.id or ""
    with _open(context, spec) as world:
        # Who makes or removes it holds the lock.
        world.lock()
        state = world.read()
        session_id = _session_id(world)
        policy = (world.read_file(POLICY_FILE) or b"").decode()
        extension = stored_config(world).substrate
    status = state.current_status
    if status == states.PAUSED and not ended:
        message = f"the world of {spec.project_dir} is paused"
        raise WorldStateError(message, f"substrate-runtime resume {world_id}")
    if status != states.RUNNING and not ended:
        message = f"the world of {spec.project_dir} has ended ({status})"
        raise _EndedError(message, "look at substrate diff; substrate end begins anew")
    _check_same_project(state, spec)
    layer = state.layer
    directory = _directory(state)
    project = layer.project if layer is not None else (spec.project_dir or "")
    return Session(
        world_id,
        project,
        directory,
        state.degraded,
        made=False,
        session_id=session_id,
        bundle=state.bundle,
        output_bytes=None if extension is None else extension.limits.output_bytes,
        policy=policy,
    )


def later_keys(session: Session, judge: Judge) -> list[str]:
    """Return the keys of the policy that have changed since the world was made, and do not hold.

    Nothing for a world that is older than this question.
    """
    now = judge.of_world()
    if not session.policy or session.policy == jsontext.dumps(now):
        return []
    then: dict[str, Any] = jsontext.loads(session.policy)
    return sorted(key for key in {*then, *now} if then.get(key) != now.get(key))


def _open(context: Context, spec: WorldSpec) -> World:
    """Open the world of a session, found again by its layers after a restart of the machine."""
    world_id = spec.id or ""
    try:
        return World.open(context, world_id)
    except WorldNotFoundError:
        if restore(context, world_id):
            return World.open(context, world_id)
    message = f"{spec.project_dir} has no world: no command has run in one here"
    raise WorldNotFoundError(message, "substrate -c COMMAND makes one")


def _session_id(world: World) -> str:
    """Return the id of the world's session, a new one for a world that had none."""
    raw = world.read_file(SESSION_FILE)
    session_id = "" if raw is None else raw.decode("ascii", "replace").strip()
    if not is_session_id(session_id):
        session_id = new_session_id()
        world.write_file(SESSION_FILE, session_id + "\n")
    return session_id


def _make(context: Context, spec: WorldSpec, judge: Judge, warn: Callable[[str], None]) -> bool:
    # Loaded where there is no world yet: it costs more than a command.
    from tempfile import TemporaryDirectory

    from substrate.world.run import Manner, run

    with TemporaryDirectory(prefix="substrate-") as directory:
        request = _request(context, spec, judge, directory)
        try:
            run(context, request, warn, Manner(detach=True))
        except WorldExistsError:
            return False  # another call was quicker
    session_of(context, spec)
    _keep(context, spec, judge)
    return True


def _keep(context: Context, spec: WorldSpec, judge: Judge) -> None:
    with World.open(context, spec.id or "") as world:
        world.write_file(POLICY_FILE, jsontext.dumps(judge.of_world()))
    keep(context, spec.id or "")


def _request(context: Context, spec: WorldSpec, judge: Judge, directory: str) -> CreateRequest:
    """Return what a session's world is made by; a file of it may be in the directory."""
    from substrate.world.create import CreateRequest

    bundle = bundle_directory(spec.bundle or DEFAULT_BUNDLE)
    return CreateRequest(
        world_id=spec.id or "",
        bundle=bundle,
        config_file=_by_policy(context, bundle, judge, directory),
        project=spec.project_dir,
        listening=False,
        # Commands come by `begin`, and who attends those counts their output.
        attended=True,
        idle=True,
    )


def _by_policy(context: Context, bundle: str, judge: Judge, directory: str) -> str:
    """Return the configuration to make the world of: the bundle's, or one the policy tightened."""
    from substrate.bundle.read import read_bundle

    data, _ = read_bundle(bundle)
    extension = data.get("substrate")
    if not isinstance(extension, dict):
        return CONFIG_FILE
    tightened = judge.settings(extension, context.allow_degraded)
    if tightened == extension:
        return CONFIG_FILE
    path = os.path.join(directory, CONFIG_FILE)
    with open(path, "w", encoding="utf-8") as file:
        file.write(jsontext.dumps({**data, "substrate": tightened}, 2))
    return path


def _check_same_project(state: State, spec: WorldSpec) -> None:
    layer = state.layer
    if layer is not None and spec.project_dir and layer.project != spec.project_dir:
        message = f"the world {state.world_id} is of {layer.project}, not of {spec.project_dir}"
        raise SubstrateError(message, "leave --world out, or name another one")


def _directory(state: State) -> str:
    """Return where commands start: the project as the world sees it, else its root directory."""
    return "/" if state.layer is None else state.layer.at
