"""Whether a trace is what was written: the chain of its segments, and each record's shape.

Every header names length and SHA-256 of the segment before it, so a change, a truncation, a
removal or an exchange of a sealed segment breaks the chain at its successor. Nothing inside the
trace can vouch for its end: who may write the active segment can cut it, and who may write the
directory can remove the last segments or make all of them anew. An *anchor*, printed by
`anchor` and kept elsewhere, pins everything up to the moment it was taken.
"""

from __future__ import annotations

import os
import stat

from substrate.errors import SpanNotFoundError, TraceError, UsageError
from substrate.record import as_dict, record
from substrate.trace.directory import ACTIVE, WRITABLE, sealed_name
from substrate.trace.events import SEGMENT_OPEN
from substrate.trace.ids import is_session_id
from substrate.trace.reader import Located, Reader, Torn, end_of_lines, scan_file
from substrate.trace.rotation import digest, read_header
from substrate.trace.spans import request_sha256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, BinaryIO

MOST_FAULTS_SHOWN = 1000


@record
class Fault:
    """One thing that is wrong, or worth knowing.

    `kind`: a word to match; `offset`: bytes from the beginning of the segment, when it has a place.
    """

    kind: str
    segment: str
    detail: str
    offset: int | None = None


@record
class Anchor:
    """A place in the trace and the digest of its segment up to there."""

    seq: int
    segment_id: str
    bytes: int
    sha256: str

    def __str__(self) -> str:
        return f"{self.seq}-{self.segment_id}-{self.bytes}-{self.sha256}"


@record
class Verdict:
    """The outcome. `problems` are what no crash explains; `notes` are told and excusable.

    `head` pins all that was read; `records` counts without headers, `torn` the torn lines.
    """

    problems: tuple[Fault, ...]
    notes: tuple[Fault, ...]
    segments: int
    records: int
    torn: int
    head: Anchor | None

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """Return the verdict as JSON; the anchor as the text that `--anchor` takes."""
        return {
            "ok": self.ok,
            "problems": [as_dict(fault) for fault in self.problems],
            "notes": [as_dict(fault) for fault in self.notes],
            "segments": self.segments,
            "records": self.records,
            "torn": self.torn,
            "head": str(self.head) if self.head else None,
        }


def parse_anchor(text: str) -> Anchor:
    """Return the anchor of a text; raises `UsageError`."""
    parts = text.split("-")
    if (
        len(parts) != 4
        or not parts[0].isdecimal()
        or not is_session_id(parts[1])
        or not parts[2].isdecimal()
        or len(parts[3]) != 64
        or not text.isascii()
    ):
        message = f"{text[:100]!r} is no anchor"
        raise UsageError(message, "an anchor is what `substrate trace anchor` prints")
    return Anchor(int(parts[0]), parts[1], int(parts[2]), parts[3])


def anchor(directory: str) -> Anchor:
    """Return the anchor of the trace as it is now; raises `TraceError` when there is none."""
    with Reader(directory) as reader:
        newest = reader.newest()
        if newest is None:
            message = f"the trace {directory} has no segment"
            raise TraceError(message, "nothing has been recorded there yet")
        with newest:
            header = read_header(newest.fileno(), os.path.basename(directory))
            length, sha256 = digest(newest.fileno(), end_of_lines(newest.fileno()))
    return Anchor(header["seq"], header["segment_id"], length, sha256)


def verify(
    directory: str,
    anchors: Sequence[Anchor] = (),
    *,
    pruned: bool = False,
    spans: bool = False,
) -> Verdict:
    """Walk the whole trace and return what is wrong with it.

    `pruned`: the oldest segments may be gone, because somebody removed them on purpose. `spans`:
    check that the exact requests are those the records tell of, too. Raises `TraceError` only
    when the trace cannot be read.
    """
    with Reader(directory) as reader:
        walk = _Walk(anchors, directory if spans else "", pruned=pruned)
        for name, file in reader.segments():
            walk.segment(name, file)
        return walk.verdict()


class _Walk:
    """What has been seen so far on the way from the first segment to the last."""

    def __init__(self, anchors: Sequence[Anchor], spans: str, *, pruned: bool) -> None:
        self.problems: list[Fault] = []
        self.notes: list[Fault] = []
        self.segments = self.records = self.torn = 0
        self.head: Anchor | None = None
        self._name = ""
        self._pruned = pruned
        # The directory whose exact requests are compared, empty for none.
        self._spans = spans
        self._waiting = list(anchors)

    def segment(self, name: str, file: BinaryIO) -> None:
        """Check one segment against those before it."""
        self.segments += 1
        length, sha256 = digest(file.fileno())
        first = next(scan_file(file, name), None)
        header = first.data if isinstance(first, Located) and first.offset == 0 else {}
        if header.get("event_type") != SEGMENT_OPEN or _faults(header):
            self._problem("no-header", name, "the first line is no header of a segment", 0)
            self._records(name, file)
            return
        self._check_header(header, name)
        self._check_file(file, name)
        self._records(name, file)
        self._check_anchors(header["segment_id"], file, name)
        end = end_of_lines(file.fileno()) if name == ACTIVE else length
        if end != length:
            _, sha256 = digest(file.fileno(), end)
        self.head = Anchor(header["seq"], header["segment_id"], end, sha256)
        self._name = name

    def verdict(self) -> Verdict:
        """Return what was found, with what never came."""
        for missing in self._waiting:
            text = f"the segment {missing.segment_id} that an anchor names is not there"
            self._problem("anchor", sealed_name(missing.seq, missing.segment_id), text)
        if self.segments and self._name != ACTIVE:
            text = "no active segment follows: a crash, or it was removed"
            self.notes.append(Fault("no-active", self._name, text))
        return Verdict(
            tuple(self.problems[:MOST_FAULTS_SHOWN]),
            tuple(self.notes[:MOST_FAULTS_SHOWN]),
            self.segments,
            self.records,
            self.torn,
            self.head,
        )

    def _problem(self, kind: str, segment: str, detail: str, offset: int | None = None) -> None:
        self.problems.append(Fault(kind, segment, detail, offset))

    def _check_header(self, header: dict[str, Any], name: str) -> None:
        if name not in (ACTIVE, sealed_name(header["seq"], header["segment_id"])):
            self._problem("renamed", name, f"its header says segment {header['seq']}", 0)
        prev = header["prev"]
        if self.head is None:
            if self.segments > 1:
                # The segment before has no header, which has been told.
                return
            if (header["seq"] or prev is not None) and not self._pruned:
                text = f"the trace begins with segment {header['seq']}: the ones before are gone"
                self._problem("missing", name, text)
            return
        if header["seq"] != self.head.seq + 1:
            text = f"segment {header['seq']} follows segment {self.head.seq}"
            self._problem("missing", name, text)
            return
        if prev is None or prev["segment_id"] != self.head.segment_id:
            self._problem("exchanged", self._name, "its successor follows another segment")
        elif prev["bytes"] > self.head.bytes:
            text = f"{self.head.bytes} bytes long; it was sealed with {prev['bytes']}"
            self._problem("truncated", self._name, text)
        elif prev["bytes"] < self.head.bytes:
            text = f"{self.head.bytes} bytes long; it was sealed with {prev['bytes']}"
            self._problem("extended", self._name, text)
        elif prev["sha256"] != self.head.sha256:
            self._problem("edited", self._name, "its content is not what was sealed")

    def _check_file(self, file: BinaryIO, name: str) -> None:
        status = os.fstat(file.fileno())
        mode = stat.S_IMODE(status.st_mode)
        if mode & 0o077:
            self.notes.append(Fault("mode", name, f"open to others, mode {mode:o}"))
        elif name != ACTIVE and mode & WRITABLE:
            self.notes.append(Fault("mode", name, f"a sealed segment is writable, mode {mode:o}"))

    def _records(self, name: str, file: BinaryIO) -> None:
        for found in scan_file(file, name):
            if isinstance(found, Torn):
                self.torn += 1
                text = f"{found.length} bytes of a record that was never finished"
                kind = "unfinished" if found.at_end else "torn"
                self.notes.append(Fault(kind, name, text, found.offset))
                continue
            if found.data.get("event_type") == SEGMENT_OPEN:
                if found.offset:
                    text = "a header inside the segment"
                    self._problem("second-header", name, text, found.offset)
                continue
            self.records += 1
            if faults := _faults(found.data):
                self._problem("shape", name, "; ".join(faults[:5]), found.offset)
            elif self._spans and "request_sha256" in found.data:
                self._check_request(found, name)

    def _check_request(self, found: Located, name: str) -> None:
        span_id = found.data["span_id"]
        try:
            sha256 = request_sha256(self._spans, span_id)
        except SpanNotFoundError:
            text = f"the exact request of span {span_id} is not kept any more"
            self.notes.append(Fault("no-request", name, text, found.offset))
            return
        if sha256 != found.data["request_sha256"]:
            text = f"the exact request of span {span_id} is not the one that was recorded"
            self._problem("request", name, text, found.offset)

    def _check_anchors(self, segment_id: str, file: BinaryIO, name: str) -> None:
        for pinned in [one for one in self._waiting if one.segment_id == segment_id]:
            self._waiting.remove(pinned)
            length, sha256 = digest(file.fileno(), pinned.bytes)
            if length < pinned.bytes:
                text = f"{length} bytes long; it had {pinned.bytes} when the anchor was taken"
                self._problem("anchor", name, text)
            elif sha256 != pinned.sha256:
                self._problem("anchor", name, "not what it was when the anchor was taken")


def _faults(data: dict[str, Any]) -> list[str]:
    from substrate.trace.shape import faults

    return faults(data)
