"""Every exception Substrate raises on purpose, and the exit status each one ends in.

    SubstrateError                 1    failure
    ├─ UsageError                  2    the call's words are wrong
    ├─ BundleError                 2    config.json is wrong: every problem with its JSON path
    ├─ PolicyError                 2    a policy file is wrong: every problem with its line
    ├─ DependencyError             3    a program or library that must be there is not
    ├─ UnsupportedError            4    this machine or this version cannot do what was asked
    │  ├─ IdMapsUnsupportedError   4    a file system has no id-mapped mounts
    │  └─ OverlayUnsupportedError  4    no overlay can be had for a project, or for its layer
    ├─ RefusedError                5    possible, but refused for safety
    ├─ ConflictError               6    host and world, or accept and host, changed the same
    ├─ WorldExistsError            1    the id is in use
    ├─ WorldNotFoundError          1    "container … does not exist"
    ├─ WorldStateError             1    the verb does not fit the world's status
    ├─ TraceError                  1    the trace cannot be read, or is not what it was
    │  ├─ TraceWriteError          1    a record could not be written
    │  └─ SpanNotFoundError        1    no record of the trace has that span
    ├─ StepError                   1    a step of the isolation sequence failed in the kernel
    │  ├─ LayerInUseError          1    somebody can still write to the layer of an earlier span
    │  └─ LayerNamesError          1    the kernel did not take the layers as they were named
    ├─ CannotExecuteError        126    the program is there and cannot be run
    └─ CommandNotFoundError      127    the program is not there

Messages are lower case without a full stop: what was being done, then what the kernel said. The
hint is one line that can be typed. Raised once, printed once, by `cli/report.py`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class SubstrateError(Exception):
    """A failure with a message for people and a hint that can be typed."""

    status = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(SubstrateError):
    """The command line does not make sense."""

    status = 2


class BundleError(SubstrateError):
    """The bundle's configuration is wrong; `problems` lists every fault.

    A problem reads `config.json: $.process.args: what was expected`.
    """

    status = 2

    def __init__(self, problems: Sequence[str], hint: str = "") -> None:
        super().__init__("\n".join(problems), hint)
        self.problems = tuple(problems)


class PolicyError(SubstrateError):
    """A policy file is wrong; `problems` lists every fault.

    A problem reads `/path/policy.yaml:LINE: $.fs.deny[0]: what was expected`.
    """

    status = 2

    def __init__(self, problems: Sequence[str], hint: str = "") -> None:
        super().__init__("\n".join(problems), hint)
        self.problems = tuple(problems)


class DependencyError(SubstrateError):
    """A program or library that must be installed is missing."""

    status = 3


class UnsupportedError(SubstrateError):
    """What was asked is beyond this machine, or this version of Substrate."""

    status = 4


class IdMapsUnsupportedError(UnsupportedError):
    """The project's file system has no id-mapped mounts; a world with other ids may do."""


class OverlayUnsupportedError(UnsupportedError):
    """The kernel's overlayfs cannot hold the layer of a project; a copy of it may do."""


class RefusedError(SubstrateError):
    """It could be done, and is refused because it would be unsafe."""

    status = 5


class ConflictError(SubstrateError):
    """Two sides changed the same path; `conflicts` are (path, what happened) pairs."""

    status = 6

    def __init__(self, message: str, hint: str, conflicts: Sequence[tuple[str, str]]) -> None:
        super().__init__(message, hint)
        self.conflicts = tuple(conflicts)


class WorldExistsError(SubstrateError):
    """The world id is already in use."""


class WorldNotFoundError(SubstrateError):
    """No world has that id; the message ends in `does not exist`, which engines match."""


class WorldStateError(SubstrateError):
    """The verb does not fit the world's status (OCI runtime-spec, lifecycle)."""


class TraceError(SubstrateError):
    """The trace cannot be read, or a record of it is not one."""


class TraceWriteError(TraceError):
    """A record could not be written whole; nothing of it counts as recorded."""


class SpanNotFoundError(TraceError):
    """No record of the trace has that span id."""


class StepError(SubstrateError):
    """A step of the isolation sequence failed; `errno` is what the kernel answered."""

    def __init__(self, message: str, hint: str = "", errno: int = 0) -> None:
        super().__init__(message, hint)
        self.errno = errno


class LayerInUseError(StepError):
    """The layer that a new one would be put over is mounted: somebody can still write to it."""


class LayerNamesError(StepError):
    """An overlay was not made; before Linux 6.5 its layers cannot be named one by one."""


class CannotExecuteError(StepError):
    """The payload's program exists and could not be executed."""

    status = 126


class CommandNotFoundError(StepError):
    """The payload's program does not exist in the world."""

    status = 127
