"""`create ID`."""

from __future__ import annotations

import os

from substrate.cli.calls import context_of, timings_printer
from substrate.cli.report import warn
from substrate.cli.requests import bundle_directory, overrides_of, preserved_fds
from substrate.isolation.conversation import end
from substrate.world.console import connect_console, send_console
from substrate.world.create import BUNDLE_FILE, CreateRequest, create
from substrate.world.delete import remove
from substrate.world.pidfile import write_pid_file
from substrate.world.store import World

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.cli.parse import Arguments
    from substrate.cli.progress import ProgressLine
    from substrate.world.create import Created


class _OnCopy:
    """Shows how far the copy of a project is, for the few worlds that need one."""

    def __init__(self) -> None:
        self._line: ProgressLine | None = None

    def __call__(self, done: int, of: int) -> None:
        """Take note of how much is done; it is all when both are equal."""
        if self._line is None:
            from substrate.cli.progress import ProgressLine

            self._line = ProgressLine("copying the project")
        if done == of:
            self._line.end()
        else:
            self._line(done, of)


def request_of(arguments: Arguments, *, listening: bool, attended: bool = False) -> CreateRequest:
    """Return what `create` and `run` are asked for; `attended`: the caller relays a terminal."""
    config = arguments.text("config")
    is_sent = arguments.text("console_socket") is not None
    return CreateRequest(
        world_id=arguments.operands[0],
        bundle=bundle_directory(arguments),
        config_file=BUNDLE_FILE if config is None else os.path.abspath(config),
        project=arguments.text("project"),
        overrides=overrides_of(arguments),
        listening=listening,
        has_console=attended or is_sent,
        attended=attended and not is_sent,
        idle=arguments.flag("idle"),
        no_pivot=arguments.flag("no_pivot"),
        new_keyring=not arguments.flag("no_new_keyring"),
        preserve_fds=preserved_fds(arguments),
        executor=arguments.text("executor") or "native",
        on_copy=_OnCopy(),
    )


def run(arguments: Arguments) -> int:
    """Carry out the verb."""
    request = request_of(arguments, listening=True)
    context = context_of(arguments)
    socket_path = arguments.text("console_socket")
    console = None if socket_path is None else connect_console(socket_path)
    with World.claim(context, request.world_id) as world:
        created = create(context, request, world, timings_printer(arguments))
        try:
            for name, reason in created.state.degraded:
                warn(f"{name}: {reason}")
            if console is not None and created.master_fd >= 0:
                send_console(console, created.master_fd)
            _write_pid_file(arguments, created)
        except BaseException:
            end(created.talk)
            remove(world, created.state, warn)
            raise
    return 0


def _write_pid_file(arguments: Arguments, created: Created) -> None:
    path = arguments.text("pid_file")
    if path is not None:
        write_pid_file(path, created.state.pid)
