"""An ordinary user, who cannot open a sealed segment for writing as root can."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from substrate.trace.directory import ACTIVE
from substrate.trace.verify import verify
from substrate.trace.writer import TraceWriter
from tests.support.features import requires
from tests.support.trace import line, read

pytestmark = requires("root")

_USER = 4242
_SMALL = 4096


def test_segments_roll_over_under_writers_of_an_ordinary_user() -> None:
    with tempfile.TemporaryDirectory(prefix="sw-trace-", dir="/tmp") as place:
        os.chown(place, _USER, _USER)
        directory = f"{place}/@trace"
        assert _as_user(directory) == 0
        os.chown(directory, 0, 0)
        for path in Path(directory).iterdir():
            os.chown(path, 0, 0)
        numbers = [data["n"] for data in read(directory)]
        assert numbers == [*range(41)]
        verdict = verify(directory)
        assert {fault.kind for fault in verdict.problems} == {"shape"}
        assert verdict.segments > 3


def _as_user(directory: str) -> int:
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 1
    try:
        os.setgroups([])
        os.setresgid(_USER, _USER, _USER)
        os.setresuid(_USER, _USER, _USER)
        with TraceWriter(directory, _SMALL) as one, TraceWriter(directory, _SMALL) as other:
            for number in range(0, 40, 2):
                one.append_line(line(number, 500))
                other.append_line(line(number + 1, 500))
        # Sealed and not renamed, as after a crash: opening it for writing fails.
        os.chmod(f"{directory}/{ACTIVE}", 0o400)
        with TraceWriter(directory, _SMALL) as late:
            late.append_line(line(40, 500))
        status = 0
    finally:
        os._exit(status)
