"""`spec`."""

from __future__ import annotations

import os

from substrate import jsontext, resources
from substrate.bundle.defaults import default_config, rootless_config
from substrate.bundle.jsonfile import read_json
from substrate.errors import SubstrateError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from substrate.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Carry out the verb."""
    directory = arguments.text("bundle") or "."
    path = os.path.join(directory, "config.json")
    content = jsontext.dumps(_configuration(arguments), 4) + "\n"
    os.makedirs(directory, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        fd = os.open(path, flags, 0o644)
    except FileExistsError:
        message = f"{path} is there already, and is never replaced"
        raise SubstrateError(
            message, "remove it, or name another directory with --bundle"
        ) from None
    with open(fd, "w", encoding="utf-8") as file:
        file.write(content)
    return 0


def _configuration(arguments: Arguments) -> Any:
    template = arguments.text("template")
    if template is None:
        return rootless_config() if arguments.flag("rootless_config") else default_config()
    shipped = resources.bundle_path(template)
    if shipped is None:
        message = f"there is no shipped bundle {template!r}"
        raise UsageError(message, "one of: " + ", ".join(resources.bundle_names()))
    return read_json(os.path.join(shipped, "config.json"))
