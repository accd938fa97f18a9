from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from substrate.errors import TraceError
from substrate.trace.directory import ACTIVE
from substrate.trace.reader import Located, Reader, Torn, end_of_lines, record_at, scan_file
from substrate.trace.writer import TraceWriter
from tests.support.examples import examples
from tests.support.trace import line, read


def test_records_come_in_order_over_all_segments(directory: str) -> None:
    with TraceWriter(directory, 4096) as writer:
        for number in range(30):
            writer.append_line(line(number, 400))
    with Reader(directory) as reader:
        found = list(reader)
        numbers = [one.data["n"] for one in found if "n" in one.data]
        assert numbers == list(range(30))
        assert len({one.segment for one in found}) > 2
        headers = [one.data for one in found if "seq" in one.data]
        for header in headers:
            name, file = reader.segment(header["seq"], header["segment_id"]) or ("", None)
            assert file is not None
            with file:
                for one in found:
                    if one.segment == name:
                        assert record_at(file, one.offset, one.length) == one.data
        assert reader.segment(99, "a" * 32) is None


def test_a_segment_sealed_while_it_is_read_is_read_once(directory: str) -> None:
    with TraceWriter(directory, 4096) as writer:
        writer.append_line(line(0, 400))
        with Reader(directory) as reader:
            for number in range(1, 30):
                writer.append_line(line(number, 400))
            numbers = [one.data["n"] for one in reader if "n" in one.data]
    # The rest of the first segment may be seen, nothing twice and nothing out of order.
    assert numbers == list(range(len(numbers)))
    assert 1 <= len(numbers) < 30


def test_a_trace_that_is_not_there_is_told(directory: str) -> None:
    with pytest.raises(TraceError, match="cannot open the trace") as caught:
        Reader(directory)
    assert "nothing has been recorded" in caught.value.hint


def test_a_link_among_the_segments_is_not_followed(directory: str, tmp_path: Path) -> None:
    with TraceWriter(directory, 4096) as writer:
        writer.append_line(line(0, 400))
    (tmp_path / "foreign").write_bytes(line(1, 10))
    Path(directory, f"trace-00000000-{'a' * 32}.jsonl").symlink_to(tmp_path / "foreign")
    with Reader(directory) as reader, pytest.raises(TraceError, match="cannot read the segment"):
        list(reader)


@settings(max_examples=examples(20))
@given(
    st.lists(st.tuples(st.integers(0, 300), st.floats(0, 1), st.booleans()), max_size=8),
)
def test_a_torn_line_never_costs_a_whole_one(pieces: list[tuple[int, float, bool]]) -> None:
    """A stump is any beginning of a line that was not finished; several may follow each other."""
    content = b""
    whole: list[int] = []
    for number, (length, part, torn) in enumerate(pieces):
        text = line(number, length)
        content += text[: int(part * (len(text) - 1))] if torn else text
        if not torn:
            whole.append(number)
    fd = os.memfd_create("segment")
    with open(fd, "w+b") as file:
        file.write(content)
        file.flush()
        found = list(scan_file(file, "segment"))
        assert end_of_lines(fd) == content.rfind(b"\n") + 1
    assert [one.data["n"] for one in found if isinstance(one, Located)] == whole
    assert sum(one.length for one in found) == len(content)
    for one in found:
        if isinstance(one, Located):
            assert content[one.offset : one.offset + one.length] == line(
                one.data["n"], pieces[one.data["n"]][0]
            )


@pytest.mark.parametrize(
    "stump", [b"{", b'{"v":1', b'{"v":1,"ts":"x","a":"', b"\0\0\0", b"[]\n", b'{"v":2}\n']
)
def test_bytes_that_are_no_record_are_told_with_their_place(directory: str, stump: bytes) -> None:
    with TraceWriter(directory) as writer:
        writer.append_line(line(0, 10))
        with Path(directory, ACTIVE).open("ab") as file:
            file.write(stump)
        writer.append_line(line(1, 10))
    assert [data["n"] for data in read(directory)] == [0, 1]
    with Reader(directory) as reader:
        (torn,) = [one for one in reader.scan() if isinstance(one, Torn)]
    assert torn.length == len(stump)
    assert Path(directory, ACTIVE).read_bytes()[torn.offset :].startswith(stump)


def test_a_line_that_is_being_written_is_left_for_later(directory: str) -> None:
    with TraceWriter(directory) as writer:
        writer.append_line(line(0, 10))
    with Path(directory, ACTIVE).open("ab") as file:
        file.write(line(1, 50)[:20])
    with Reader(directory) as reader:
        (torn,) = [one for one in reader.scan() if isinstance(one, Torn)]
    assert torn.at_end
    assert [data["n"] for data in read(directory)] == [0]
