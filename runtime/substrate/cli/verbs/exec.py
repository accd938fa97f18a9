"""`exec ID COMMAND…`."""

from __future__ import annotations

from substrate.cli.calls import context_of
from substrate.cli.report import warn
from substrate.cli.requests import overrides_of, preserved_fds
from substrate.errors import UnsupportedError
from substrate.world.exec import ExecRequest, execute

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Carry out the verb."""
    for key, option in (("cgroup", "--cgroup"), ("apparmor", "--apparmor"),
                        ("process_label", "--process-label")):  # fmt: skip
        if arguments.text(key):
            message = f"{option} is not supported"
            raise UnsupportedError(message, "leave it out")
    request = ExecRequest(
        world_id=arguments.operands[0],
        process_file=arguments.text("process"),
        overrides=overrides_of(arguments),
        preserve_fds=preserved_fds(arguments),
        detach=arguments.flag("detach"),
        ignore_paused=arguments.flag("ignore_paused"),
        pid_file=arguments.text("pid_file"),
        console_socket=arguments.text("console_socket"),
        executor=arguments.text("executor") or "native",
        span_id=arguments.text("span"),
        session=arguments.text("session") or "",
    )
    return execute(context_of(arguments), request, warn).status
