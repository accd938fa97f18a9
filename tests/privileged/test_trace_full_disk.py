"""A trace on a disk without room: an error before the command, and nothing damaged after it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.features import requires

pytestmark = requires("root", "overlayfs")

_ROOT = Path(__file__).parents[2]
_MOUNTED = 'mount -t tmpfs -o size=512k,mode=0700 room "$0" && cd "$1" && exec "$2" -c "$3" "$0"'
_PROGRAM = """
import os, sys
from substrate.errors import TraceWriteError
from substrate.trace.events import Origin
from substrate.trace.reader import Reader, Torn
from substrate.trace.spans import Request, write_request
from substrate.trace.verify import verify
from substrate.trace.writer import TraceWriter
from tests.support import records
from tests.support.trace import is_whole, line, read

place = sys.argv[1]
directory = place + "/@trace"
writer = TraceWriter(directory, segment_bytes=int({segment_bytes}))
writer.append_line(line(0, 100))
with open(place + "/filler", "wb") as filler:
    filler.write(b"x" * 300_000)

acknowledged, refused = [0], []
for number in range(1, 400):
    try:
        # Sizes that end in the middle of a page.
        writer.append_line(line(number, 1000 + number * 7))
        acknowledged.append(number)
    except TraceWriteError as error:
        assert "No space left" in error.message or "no space left" in error.message, error
        assert "make room" in error.hint, error.hint
        refused.append(number)
assert refused, "the disk was never full"
try:
    write_request(directory, records.ORIGIN, Request(("x" * 200_000,), "/", {{}}))
except TraceWriteError as error:
    assert "pace left" in error.message, error
else:
    raise AssertionError("a request was written to a full disk")

os.unlink(place + "/filler")
writer.append_line(line(1000, 3000))
acknowledged.append(1000)
found = read(directory)
assert all(map(is_whole, found))
assert [data["n"] for data in found] == acknowledged
with Reader(directory) as reader:
    torn = [one for one in reader.scan() if isinstance(one, Torn)]
assert not torn, torn
assert {{fault.kind for fault in verify(directory).problems}} == {{"shape"}}
write_request(directory, records.ORIGIN, Request(("x",), "/", {{}}))
print(len(acknowledged), len(refused))
"""


def test_a_full_disk_refuses_records_and_loses_none(tmp_path: Path) -> None:
    _in_room(tmp_path, segment_bytes=1 << 20)


def test_a_disk_that_fills_up_in_a_rotation_loses_no_record(tmp_path: Path) -> None:
    _in_room(tmp_path, segment_bytes=4096)


def _in_room(place: Path, segment_bytes: int) -> None:
    program = _PROGRAM.format(segment_bytes=segment_bytes)
    words = ["sh", "-c", _MOUNTED, str(place), str(_ROOT), sys.executable, program]
    done = subprocess.run(
        ["unshare", "--mount", "--propagation=private", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    kept, refused = map(int, done.stdout.split())
    assert kept > 10
    assert refused > 10
