"""Programs of the system, by absolute path and with fixed arguments; never through a shell.

Nothing is taken from the environment: engines call a runtime without PATH and HOME.
"""

from __future__ import annotations

import os
import subprocess

from substrate.errors import DependencyError
from substrate.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_DIRECTORIES = ("/usr/bin", "/bin", "/usr/local/bin", "/usr/sbin", "/sbin")
_PACKAGES = {"newuidmap": "uidmap", "newgidmap": "uidmap"}


@record
class Completed:
    """How a program ended; `timed_out` ones were killed."""

    status: int
    stdout: bytes
    stderr: bytes
    timed_out: bool = False


def find_program(name: str) -> str:
    """Return the absolute path of a system program; raises `DependencyError` when missing."""
    for directory in _DIRECTORIES:
        path = os.path.join(directory, name)
        if os.access(path, os.X_OK):
            return path
    package = _PACKAGES.get(name, name)
    message = f"{name} is not installed"
    raise DependencyError(message, f"apt-get install {package}")


def run_program(
    argv: Sequence[str],
    *,
    program: str | None = None,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    timeout_s: float | None = None,
) -> Completed:
    """Run a program by absolute path to its end; `program` when argv[0] is not its path."""
    process = subprocess.Popen(
        list(argv), executable=program, env=dict(env or {}),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    try:
        output, errors = process.communicate(stdin, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        # Its children too: they hold our pipes open, and whoever started it wants them gone.
        os.killpg(process.pid, 9)
        output, errors = process.communicate()
        return Completed(process.returncode, output, errors, timed_out=True)
    return Completed(process.returncode, output, errors)


def write_maps_as_allowed(
    pid: int, uid_map: Iterable[tuple[int, int, int]], gid_map: Iterable[tuple[int, int, int]]
) -> None:
    """Write a process's id maps through newuidmap(1) and newgidmap(1).

    They allow the ranges of /etc/subuid and /etc/subgid; their complaint becomes the OSError.
    """
    for name, mappings in (("newuidmap", uid_map), ("newgidmap", gid_map)):
        words = [str(word) for mapping in mappings for word in mapping]
        done = run_program([find_program(name), str(pid), *words], timeout_s=30)
        if done.status:
            text = done.stderr.decode(errors="replace").strip()
            raise PermissionError(1, text or f"{name} failed with status {done.status}")
