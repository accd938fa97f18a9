"""Keeping the output of a command: its head, its digest, and the rest on disk."""

from __future__ import annotations

import errno
import os
from hashlib import sha256
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from substrate.api import capture
from substrate.api.capture import Kept

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

_PIECES = st.lists(st.binary(max_size=9), max_size=6)


@given(_PIECES, st.integers(0, 20))
def test_the_digest_is_of_all_and_the_text_of_the_beginning(
    pieces: list[bytes], limit: int
) -> None:
    kept = Kept(limit, None)
    for piece in pieces:
        kept.add(piece)
    output, whole = kept.close(), b"".join(pieces)
    assert output.text.encode("utf-8", "surrogateescape") == whole[:limit]
    assert output.size == len(whole)
    assert output.sha256 == sha256(whole).hexdigest()
    assert output.truncated is (len(whole) > limit)


def test_what_is_beyond_the_limit_is_in_a_file_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "span.stdout"
    kept = Kept(4, str(path))
    kept.add(b"abc")
    assert not path.exists()
    kept.add(b"defg")
    kept.add(b"hi")
    output = kept.close()
    assert (output.text, output.file) == ("abcd", str(path))
    assert path.read_bytes() == b"abcdefghi"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_full_disk_costs_the_file_and_not_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "span.stdout"
    kept = Kept(2, str(path))
    kept.add(b"abc")

    def full(_fd: int, _data: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(capture, "_write_all", full)
    kept.add(b"def")
    output = kept.close()
    assert (output.text, output.size, output.truncated, output.file) == ("ab", 6, True, None)
    assert not path.exists()


def test_a_file_that_is_already_there_is_not_written_to(tmp_path: Path) -> None:
    path = tmp_path / "span.stdout"
    path.symlink_to(tmp_path / "elsewhere")
    kept = Kept(1, str(path))
    kept.add(b"abc")
    assert kept.close().file is None
    assert not (tmp_path / "elsewhere").exists()
