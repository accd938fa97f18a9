"""Where a value of a policy comes from."""

from __future__ import annotations

from substrate.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Whose file it is, from the weakest to the strongest.
DEFAULT, SYSTEM, USER, GIVEN, PROJECT = "default", "system", "user", "given", "project"
LAYERS = (DEFAULT, SYSTEM, USER, GIVEN, PROJECT)


@record
class Source:
    """A place in a policy file; `line` counts from 1."""

    layer: str
    file: str
    path: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"

    def to_json(self) -> dict[str, Any]:
        """Return the place as JSON."""
        return {"layer": self.layer, "file": self.file, "path": self.path, "line": self.line}


@record
class Sourced:
    """One value, or one entry of a list, and where it was written."""

    value: Any
    source: Source

    def to_json(self) -> dict[str, Any]:
        """Return the value and its place as JSON."""
        return {"value": self.value, "source": self.source.to_json()}


@record
class Refused:
    """What a project's file asks for and does not get, because it would loosen the policy."""

    value: Any
    source: Source
    reason: str

    def to_json(self) -> dict[str, Any]:
        """Return the refusal as JSON."""
        return {
            "value": self.value,
            "source": self.source.to_json(),
            "reason": self.reason,
        }
