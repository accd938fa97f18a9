from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from substrate.errors import (
    RefusedError,
    SpanNotFoundError,
    TraceError,
    TraceWriteError,
    UsageError,
)
from substrate.jsontext import dumps_line
from substrate.record import replace
from substrate.trace import spans
from substrate.trace.digests import argv_sha256
from substrate.trace.events import Decision, Origin, timestamp, to_json
from substrate.trace.redact import Rules
from substrate.trace.shape import faults
from substrate.trace.spans import (
    Request,
    allowed_environment,
    command_start,
    prepare,
    read_request,
    refusal,
    request_sha256,
    shorten_diff,
    write_request,
)
from tests.support import records
from tests.support.examples import examples

REQUEST = Request(
    ("deploy", "--token=hunter2", "\udcff\udcfe", "ü"),
    "/work",
    {"PATH": "/bin", "API_KEY": "k"},
    umask=0o022,
    cmd="deploy --token=hunter2 $X",
    timeout_s=2.5,
    stdin_kind="data",
    stdin_sha256=records.DIGEST,
    stdin_bytes=12,
    settings={"bundle": records.DIGEST},
)


def _path(directory: str) -> Path:
    return Path(directory, "spans", f"{records.SPAN}.json")


def test_the_exact_request_comes_back(directory: str) -> None:
    salt, sha256 = write_request(directory, records.ORIGIN, REQUEST)
    assert read_request(directory, records.SPAN) == (REQUEST, salt, sha256)
    assert sha256 == hashlib.sha256(_path(directory).read_bytes()).hexdigest()
    assert sha256 == request_sha256(directory, records.SPAN)


def test_a_record_takes_the_file_that_was_made_ahead(directory: str) -> None:
    prepare(directory)
    (blank,) = Path(directory, "spans").iterdir()
    inode = blank.stat().st_ino
    _, sha256 = write_request(directory, records.ORIGIN, REQUEST)
    assert _path(directory).stat().st_ino == inode
    assert sha256 == request_sha256(directory, records.SPAN)
    assert not blank.exists()


@pytest.mark.parametrize("mode", [0o644, 0o600])
def test_a_file_made_ahead_is_trusted_no_more_than_a_new_one(directory: str, mode: int) -> None:
    prepare(directory)
    (blank,) = Path(directory, "spans").iterdir()
    blank.unlink()
    target = Path(directory, "target")
    target.touch()
    target.chmod(mode)
    if mode == 0o600:
        blank.symlink_to(target)
    else:
        blank.hardlink_to(target)
    with pytest.raises((RefusedError, TraceWriteError)):
        write_request(directory, records.ORIGIN, REQUEST)
    assert target.read_bytes() == b""


def test_words_that_are_no_utf_8_are_there_as_bytes_too(directory: str) -> None:
    write_request(directory, records.ORIGIN, REQUEST)
    data = json.loads(_path(directory).read_text())
    assert data["argv_base64"][2] == "//4="


def test_the_exact_request_is_for_its_user_alone(directory: str) -> None:
    mask = os.umask(0)
    try:
        write_request(directory, records.ORIGIN, REQUEST)
    finally:
        os.umask(mask)
    path = _path(directory)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_span_has_one_request(directory: str) -> None:
    write_request(directory, records.ORIGIN, REQUEST)
    with pytest.raises(TraceWriteError, match="has a record already"):
        write_request(directory, records.ORIGIN, replace(REQUEST, argv=("other",)))
    assert read_request(directory, records.SPAN)[0] == REQUEST


def test_a_link_in_place_of_the_request_is_not_followed(directory: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    path = _path(directory)
    os.makedirs(path.parent, mode=0o700)
    path.symlink_to(outside)
    with pytest.raises(TraceWriteError):
        write_request(directory, records.ORIGIN, REQUEST)
    assert not outside.exists()
    path.unlink()
    path.with_name(f".{path.name}.new").symlink_to(outside)
    with pytest.raises(TraceWriteError):
        write_request(directory, records.ORIGIN, REQUEST)
    assert not outside.exists()
    path.symlink_to(outside)
    outside.write_text("{}")
    with pytest.raises(TraceError):
        read_request(directory, records.SPAN)


@pytest.mark.parametrize("span_id", ["", "..", "../../etc/passwd", "B7AD6B7169203331", "0" * 16])
def test_a_span_id_is_never_a_path(directory: str, span_id: str) -> None:
    with pytest.raises(UsageError, match="is no span id"):
        read_request(directory, span_id)
    with pytest.raises(UsageError):
        write_request(directory, Origin(records.SESSION, span_id), REQUEST)


def test_a_request_that_is_not_kept_is_told(directory: str) -> None:
    with pytest.raises(TraceError, match="cannot open the trace"):
        read_request(directory, records.SPAN)
    write_request(directory, records.ORIGIN, REQUEST)
    with pytest.raises(SpanNotFoundError):
        read_request(directory, "1" * 16)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"v": 2}', "{", '{"v": 1, "argv": 3}'])
def test_a_damaged_request_is_told(directory: str, content: str) -> None:
    write_request(directory, records.ORIGIN, REQUEST)
    _path(directory).write_text(content)
    with pytest.raises(TraceError, match="damaged"):
        read_request(directory, records.SPAN)


def test_a_request_others_can_read_is_refused(directory: str) -> None:
    write_request(directory, records.ORIGIN, REQUEST)
    _path(directory).chmod(0o644)
    with pytest.raises(RefusedError, match="open to others"):
        read_request(directory, records.SPAN)


def test_a_request_without_room_is_an_error_and_leaves_nothing(
    directory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda fd, data: real(fd, data[:10]))
        with pytest.raises(TraceWriteError, match="No space left"):
            write_request(directory, records.ORIGIN, REQUEST)
    assert os.listdir(_path(directory).parent) == []


def test_the_line_has_no_secret_and_says_how_many_were_there(directory: str) -> None:
    recorded = write_request(directory, records.ORIGIN, REQUEST)
    start = command_start(records.ORIGIN, REQUEST, recorded)
    text = dumps_line(to_json(start, timestamp()))
    assert "hunter2" not in text
    assert '"k"' not in text
    assert start.redacted == 2
    assert start.argv == ("deploy", "--token=[redacted]", *REQUEST.argv[2:])
    assert start.request_sha256 == recorded[1]


def test_the_digest_of_secret_words_can_be_checked_with_the_salt_only(directory: str) -> None:
    recorded = write_request(directory, records.ORIGIN, REQUEST)
    start = command_start(records.ORIGIN, REQUEST, recorded)
    exact = [os.fsencode(word) for word in REQUEST.argv]
    assert start.argv_sha256 == argv_sha256(exact, recorded[0])
    assert start.argv_sha256 != argv_sha256(exact)
    harmless = command_start(records.ORIGIN, replace(REQUEST, argv=("ls",), cmd=None))
    assert harmless.argv_sha256 == argv_sha256([b"ls"])
    assert harmless.argv_sha256 == hashlib.sha256(b"ls\0").hexdigest()


@settings(max_examples=examples(20))
@given(st.lists(st.binary(max_size=5), max_size=4), st.lists(st.binary(max_size=5), max_size=4))
def test_no_two_commands_have_one_digest(one: list[bytes], two: list[bytes]) -> None:
    one = [word.replace(b"\0", b"") for word in one]
    two = [word.replace(b"\0", b"") for word in two]
    assert (argv_sha256(one) == argv_sha256(two)) == (one == two)


@pytest.mark.parametrize("word", ["a\0b", chr(0xD800), chr(0xDC0A)])
def test_what_the_kernel_takes_for_no_word_is_refused(directory: str, word: str) -> None:
    request = Request((word,), "/", {})
    with pytest.raises(UsageError, match="word of the command"):
        write_request(directory, records.ORIGIN, request)
    with pytest.raises(UsageError, match="word of the command"):
        command_start(records.ORIGIN, request)


def test_a_refused_request_is_on_record_without_its_secrets() -> None:
    decision = Decision("deny", "cmd_denied[0]")
    event = refusal(records.ORIGIN, REQUEST, decision)
    data = to_json(event, timestamp())
    assert "hunter2" not in dumps_line(data)
    assert (event.policy_decision, event.redacted) == (decision, 2)
    assert faults(data) == []


def test_a_long_line_is_cut_between_words_so_that_no_half_secret_is_shown() -> None:
    for before in range(2600, 2760, 3):
        cmd = "x " * (before // 2) + "ghp_" + "a1B2" * 9 + " y" * 9000
        start = command_start(records.ORIGIN, Request(("sh",), "/", {}, cmd=cmd))
        assert start.cmd is not None
        assert "ghp_" not in start.cmd
        assert start.cmd.endswith("…")


def test_rules_reach_the_typed_line_and_the_directory() -> None:
    request = Request(("x",), "/home/hunter22", {}, cmd="say hunter22")
    start = command_start(records.ORIGIN, request, rules=Rules(values=("hunter22",)))
    assert (start.cwd, start.cmd, start.redacted) == ("/home/[redacted]", "say [redacted]", 2)


@settings(max_examples=examples(12))
@given(st.lists(st.integers(0, 20_000), max_size=8), st.sampled_from("aü\udcff\x1b"))
def test_a_line_stays_short_and_words_are_left_out_whole(sizes: list[int], letter: str) -> None:
    argv = tuple(letter * size for size in sizes)
    start = command_start(records.ORIGIN, Request(argv, "/", {}, cmd=letter * 99_000))
    assert len(start.argv) + start.argv_omitted == len(argv)
    assert start.argv == argv[: len(start.argv)]
    exact = argv_sha256(map(os.fsencode, argv))
    assert (start.argv_sha256 == exact) == (start.argv_omitted == 0)
    line = dumps_line(to_json(start, timestamp()))
    assert len(line) <= 64 << 10


def test_the_environment_is_what_is_allowed_the_locale_and_what_is_named() -> None:
    given_ = {"PATH": "/bin", "LC_ALL": "C", "AWS_SECRET_ACCESS_KEY": "x", "LD_PRELOAD": "y"}
    assert allowed_environment(given_) == {"LC_ALL": "C", "PATH": "/bin"}
    assert "LD_PRELOAD" in allowed_environment(given_, ["LD_PRELOAD", "UNSET"])


def test_a_short_diff_is_kept_and_a_long_one_cut_with_true_totals() -> None:
    assert shorten_diff(records.DIFF | {"truncated": False}, reference="r") == {
        name: records.DIFF[name] for name in ("summary", "writes", "mods", "deletes", "renames")
    } | {"reference": "r"}
    many = records.DIFF | {"writes": [f"f{n}" for n in range(1000)]}
    short = shorten_diff(many, most=10)
    assert short["truncated"] is True
    assert short["writes"] == [f"f{n}" for n in range(10)]
    assert short["mods"] == ["a/b.py"]
    assert short["summary"] == records.DIFF["summary"]


def test_a_few_very_long_paths_are_cut_too() -> None:
    short = shorten_diff(records.DIFF | {"writes": ["x" * 4000] * 100})
    assert len(dumps_line(short)) < spans.LONGEST_ARGV
    assert short["truncated"]
