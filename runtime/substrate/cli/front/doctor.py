"""`substrate doctor`."""

from __future__ import annotations

from substrate.cli.doctor import examine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Carry out the verb."""
    return examine(arguments.flag("json"))
