"""create: a world up to its gate, with its state on disk before anything outlives the runtime."""

from __future__ import annotations

import _blake2
import errno
import os

from substrate import jsontext
from substrate.bundle.degradable import OVERLAY
from substrate.bundle.read import read_bundle
from substrate.errors import (
    IdMapsUnsupportedError,
    OverlayUnsupportedError,
    SubstrateError,
    UnsupportedError,
    UsageError,
    WorldNotFoundError,
)
from substrate.filesystem.baseline import write_baseline
from substrate.filesystem.layers import OVERLAY_HINT, check_separate, make_layer
from substrate.filesystem.removal import remove_layers
from substrate.isolation.launch import Events, launch
from substrate.isolation.resolve import Demand, resolve
from substrate.kernel import procfs
from substrate.record import record, replace
from substrate.world import state as states
from substrate.world.context import DEFAULT_ROOT
from substrate.world.filters import find_filter
from substrate.world.masked import is_masked
from substrate.world.overrides import NO_OVERRIDES, override
from substrate.world.store import CONFIG_FILE, GATE_FILE, STEPS_FILE, World

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from substrate.bundle.model import Config, Process
    from substrate.isolation.conversation import Conversation
    from substrate.isolation.spec import WorldSpec
    from substrate.isolation.timing import Durations
    from substrate.world.context import Context
    from substrate.world.limits import Seat
    from substrate.world.output import Limited
    from substrate.world.overrides import Overrides

BUNDLE_FILE = "config.json"


@record
class CreateRequest:
    """What `create` and `run` are asked for.

    `listening`: another process will start it. `has_console`: somebody takes the pty master.
    `idle`: only a reaping init runs in it; the bundle's process is what `exec` starts from.
    `attended`: the caller stays to the end and relays what must be counted. `over_layers`: of a
    world that has ended, whose layers it shows again. `fill` is called with the new layer there
    and not mounted yet. `on_copy` is told how far the copy of the project has
    come, where there must be one: (done, -1 for not counted), twice the same at its end.
    """

    world_id: str
    bundle: str
    config_file: str = BUNDLE_FILE
    project: str | None = None
    overrides: Overrides = NO_OVERRIDES
    listening: bool = True
    has_console: bool = False
    idle: bool = False
    attended: bool = False
    no_pivot: bool = False
    new_keyring: bool = True
    preserve_fds: int = 0
    executor: str = "native"
    over_layers: bool = False
    fill: Callable[[states.State], None] | None = None
    on_copy: Callable[[int, int], None] | None = None


@record
class Created:
    """A world at its gate. The caller owns the conversation and the pty master (-1: none).

    And `output`, None unless it is limited, whose pipes the payload has been given.
    """

    state: states.State
    config: Config
    process: Process | None
    talk: Conversation
    master_fd: int
    output: Limited | None = None


def read_request(request: CreateRequest) -> tuple[dict[str, Any], Config, Process | None]:
    """Read the bundle of a request, with the caller's overrides applied to its process."""
    if not request.bundle:
        message = "the bundle's directory is empty"
        raise UsageError(message, "use --bundle DIR")
    data, config = read_bundle(request.bundle, request.config_file)
    return data, config, override(config.process, request.overrides)


def make_spec(
    context: Context,
    request: CreateRequest,
    config: Config,
    process: Process | None,
    data: str,
    *,
    host_ids: bool = False,
    copied: str = "",
) -> WorldSpec:
    """Return the resolved world of a request; nothing is made yet but a cached filter.

    `host_ids`: a world of root's that would get ids of its own gets the host's, if it may.
    `copied`: why it gets a copy of its project, if it may, instead of layers.
    """
    demand = Demand(
        world_id=request.world_id,
        bundle=os.path.abspath(request.bundle),
        layer=os.path.join(os.path.realpath(data), "layer"),
        project=None if request.project is None else os.path.abspath(request.project),
        user_given=request.overrides.user is not None,
        cwd_given=request.overrides.cwd is not None,
        listening=request.listening,
        attended=request.attended,
        no_pivot=request.no_pivot,
        new_keyring=request.new_keyring,
        preserve_fds=request.preserve_fds,
        no_cgroups=context.no_cgroups,
        by_systemd=context.by_systemd,
        cgroup_name=_cgroup_name(context, request.world_id),
        allow_degraded=context.allow_degraded,
        host_ids=host_ids,
        copied=copied,
    )
    seccomp = find_filter(context, config)
    spec = resolve(config, process, demand, seccomp, privileged=procfs.is_privileged())
    if spec.root_path is not None or not spec.maps_uid(os.geteuid()):
        return spec
    # Whatever of the host is shown, layers and the state of other worlds are not. Nobody but us
    # could read them; a world without our uid could not even be shown where they are.
    own = {os.path.realpath(path) for path in (context.root, context.data, context.cache)}
    return replace(spec, masked_paths=spec.masked_paths + tuple(sorted(own)))


def _cgroup_name(context: Context, world_id: str) -> str:
    """Return the name of a world's cgroup: worlds of other state roots may have the same id."""
    if context.root == DEFAULT_ROOT:
        return world_id
    return f"{world_id}-{_blake2.blake2b(context.root.encode(), digest_size=4).hexdigest()}"


def create(
    context: Context,
    request: CreateRequest,
    world: World,
    on_timings: Callable[[Durations], None] | None = None,
) -> Created:
    """Make the world whose directory was claimed. On failure everything is taken back.

    Raises what `read_bundle`, `resolve` and `launch` raise, and `SubstrateError` for a hook.
    """
    try:
        try:
            copied = _former_copy(world) if request.over_layers else ""
            return _create(context, request, world, on_timings, copied=copied)
        except (IdMapsUnsupportedError, OverlayUnsupportedError) as error:
            # Only now: where layers can be had they are, whatever is allowed.
            _remove_cgroup(world)
            if not request.over_layers:
                _remove_layers(world)
            return _otherwise(context, request, world, on_timings, error)
    except BaseException:
        if not request.over_layers:
            forget(world)
        raise


def _former_copy(world: World) -> str:
    """Return why a world that had ended has a copy of its project, "" when it has layers."""
    former = world.read()
    if former.layer is None or not former.layer.copied:
        return ""
    return dict(former.degraded).get(OVERLAY, "the world has a copy of its project")


def _otherwise(
    context: Context,
    request: CreateRequest,
    world: World,
    on_timings: Callable[[Durations], None] | None,
    error: UnsupportedError,
) -> Created:
    """Make a world as what is allowed to be missing lets it be, or raise the error."""
    _, config, _ = read_request(request)
    extension = config.substrate
    allowed = (*context.allow_degraded, *(extension.allow_degraded if extension else ()))
    project = extension.project if extension else None
    if OVERLAY in allowed and project is not None and project.write == "layers":
        from substrate.world.copying import explain

        path = os.path.join(request.bundle, project.path) if project.path != "." else "."
        why = explain(context.data, request.project or path, error.message)
        return _create(context, request, world, on_timings, copied=why)
    if isinstance(error, OverlayUnsupportedError):
        raise error
    try:
        return _create(context, request, world, on_timings, host_ids=True)
    except OverlayUnsupportedError:
        raise
    except UnsupportedError:
        raise error from None


def _create(
    context: Context,
    request: CreateRequest,
    world: World,
    on_timings: Callable[[Durations], None] | None,
    *,
    host_ids: bool = False,
    copied: str = "",
) -> Created:
    data, config, process = read_request(request)
    spec = make_spec(
        context, request, config, process, world.data, host_ids=host_ids, copied=copied
    )
    _check_console(request, spec.process)
    # As it is now: `exec`, and hooks after `create`, must not see a bundle changed since.
    world.write_file(CONFIG_FILE, jsontext.dumps(_as_run(data, spec.process)))
    if request.idle:
        spec = replace(spec, process=None, init=True, relays_output=False)
    state = _with_layer(context, world, spec, _first_state(request, spec))
    world.write(state)
    layer = state.layer
    if layer is not None and not request.over_layers:
        world.make_data()
        if spec.project is not None and spec.project.limit_bytes is not None:
            from substrate.filesystem.space import limit_space

            limit_space(world.data, spec.project.limit_bytes)
        os.mkdir(layer.directory, 0o700)
        if layer.copied:
            from substrate.world.copying import make

            if request.fill is not None:
                message = "a world with a copy of its project cannot be filled with layers"
                raise UnsupportedError(message, OVERLAY_HINT)
            make(layer, spec, request.on_copy)
        else:
            write_baseline(layer.directory, layer.project)
            make_layer(layer.directory, layer.project, layer.at, layer.userxattr)
    if layer is not None and not layer.copied:
        # Anew for a world that had ended: the bundle may deny other paths now.
        if request.over_layers or is_masked(config, layer.at):
            from substrate.world.covering import cover

            cover(world.data, layer, spec.masked_paths if is_masked(config, layer.at) else None)
        if request.fill is not None:
            request.fill(state)
    output = _limited_output(request, spec)
    try:
        return _launch(world, spec, request, state, on_timings, output)
    except BaseException:
        if output is not None:
            output.close()
        raise


def forget(world: World) -> None:
    """Remove the files of a world, and its cgroup; the process is already gone."""
    _remove_cgroup(world)
    _remove_layers(world)
    world.remove()


def _remove_cgroup(world: World) -> None:
    try:
        state = world.read()
    except WorldNotFoundError:
        return
    if state.cgroup:
        from substrate.world.limits import remove_cgroup

        remove_cgroup(state, world.path, _say_nothing)


def _say_nothing(_warning: str) -> None:
    """Whatever could not be removed, the error that is being raised says why there is no world."""


def _remove_layers(world: World) -> None:
    if os.path.lexists(world.data):
        remove_layers(world.data)


def _check_console(request: CreateRequest, process: Process | None) -> None:
    if process is not None and process.terminal and not request.has_console:
        message = "the world has a terminal, and nobody to take it"
        raise UsageError(message, "use --console-socket, or `run` without --detach")


def _as_run(data: dict[str, Any], process: Process | None) -> dict[str, Any]:
    """Return the configuration with the process's user, directory and environment as resolved.

    They are the defaults of every later `exec`.
    """
    if process is None:
        return data
    user = {
        "uid": process.user.uid,
        "gid": process.user.gid,
        "additionalGids": list(process.user.additional_gids),
        "umask": process.user.umask,
    }
    resolved = {"args": list(process.args), "cwd": process.cwd, "env": list(process.env)}
    return data | {"process": {**(data.get("process") or {}), **resolved, "user": user}}


def _first_state(request: CreateRequest, spec: WorldSpec) -> states.State:
    return states.State(
        world_id=request.world_id,
        # What has layers is never half made: until it runs again, it is what has ended.
        status=states.STOPPED if request.over_layers else states.CREATING,
        bundle=spec.bundle,
        rootfs=spec.root_path or "",
        created=states.timestamp(),
        owner=os.geteuid(),
        annotations=spec.config.annotations,
        namespaces=spec.new_namespaces + tuple(name for name, _ in spec.joined_namespaces),
        may_set_groups=spec.identity is None or spec.identity.may_set_groups,
        cgroup="" if spec.cgroup is None else spec.cgroup.place.directory,
        unit="" if spec.cgroup is None or spec.cgroup.unit is None else spec.cgroup.unit.reference,
        wall_time_s=_wall_time(spec),
        degraded=tuple((loss.name, loss.reason) for loss in spec.degraded),
        idle=spec.process is None,
        protected=spec.protected,
    )


def _wall_time(spec: WorldSpec) -> float | None:
    extension = spec.config.substrate
    return None if extension is None else extension.limits.wall_time_s


def _with_layer(
    context: Context, world: World, spec: WorldSpec, state: states.State
) -> states.State:
    project = spec.project
    if project is None:
        return state
    # Whatever the mode: state and layers must not be among what the world can name.
    check_separate(project.path, context.root, context.data, context.cache)
    if project.layer is None:
        return state
    owner = group = -1
    if spec.mounts_from_runtime and spec.identity is not None and spec.identity.idmapped:
        owner, group = spec.identity.uid_map[0].host_id, spec.identity.gid_map[0].host_id
    layer = states.Layer(
        project.path, project.at, project.layer, not spec.rootful, owner, group,
        project.copy is not None,
    )  # fmt: skip
    return replace(state, layer=layer, data=world.data)


def _launch(
    world: World,
    spec: WorldSpec,
    request: CreateRequest,
    state: states.State,
    on_timings: Callable[[Durations], None] | None,
    output: Limited | None,
) -> Created:
    gate_fd = _listen(world) if request.listening else -1
    opened: list[int] = [gate_fd] if gate_fd >= 0 else []
    current = state
    seat: Seat | None = None

    def record_pid(pid: int) -> None:
        nonlocal current
        current = replace(current, pid=pid, start_time=procfs.start_time(pid) or 0)
        world.write(current)
        if seat is not None:
            seat.take(pid)

    def run_creation_hooks() -> None:
        from substrate.world.hooks import run_host_hooks
        from substrate.world.inner_hooks import InnerHooks

        hooks = spec.config.hooks
        run_host_hooks("prestart", hooks.prestart, current)
        run_host_hooks("createRuntime", hooks.create_runtime, current)
        inner = InnerHooks(current, world.path, request.executor)
        inner.run_container_hooks(hooks.create_container)

    events = Events(record_pid, run_creation_hooks)
    try:
        inputs = {"gate": gate_fd} | ({} if output is None else output.inputs)
        if spec.cgroup is not None:
            from substrate.world.limits import make_cgroup

            seat = make_cgroup(spec.cgroup, world.path, accounting=spec.process is None)
            inputs["cgroup"] = seat.fd
        for name, path in spec.joined_namespaces:
            inputs[f"namespace:{name}"] = _open_namespace(name, path)
            opened.append(inputs[f"namespace:{name}"])
        launched = launch(spec, inputs, request.executor, events, on_timings)
    finally:
        if seat is not None:
            seat.close()
        for fd in opened:
            os.close(fd)
    if output is not None:
        output.give()
    if request.listening:
        from substrate.isolation.failures import steps_after_gate

        world.write_file(STEPS_FILE, jsontext.dumps(steps_after_gate(launched.talk.plan)))
    current = replace(current, status=states.CREATED)
    if launched.unmapped:
        reason = "shown with nobody's ids: " + ", ".join(launched.unmapped)
        current = replace(current, degraded=(*current.degraded, ("idmapped-mounts", reason)))
    world.write(current)
    talk, master = launched.talk, launched.master_fd
    return Created(current, spec.config, spec.process, talk, master, output)


def _limited_output(request: CreateRequest, spec: WorldSpec) -> Limited | None:
    extension, process = spec.config.substrate, spec.process
    limit = None if extension is None else extension.limits.output_bytes
    if limit is None or process is None or not request.attended:
        return None
    from substrate.world.output import Limited

    return Limited(limit, terminal=process.terminal)


def _listen(world: World) -> int:
    """Return a listening socket at the world's gate, where `start` will connect."""
    import _socket

    gate = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    # By descriptor: a socket's address holds 107 bytes, and a state root may be deeper.
    gate.bind(f"/proc/self/fd/{world.fileno()}/{GATE_FILE}")
    gate.listen(1)
    return gate.detach()


def _open_namespace(name: str, path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        message = f"cannot open the {name} namespace {path}: {error.strerror}"
        if error.errno == errno.ENOENT:
            message += f" (config.json: $.linux.namespaces, type {name})"
        raise SubstrateError(message) from None
