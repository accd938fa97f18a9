from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings

from substrate.trace.events import CommandComplete, CommandStart, Origin, to_json
from substrate.trace.exports.executions import executions, unicode
from substrate.trace.exports.in_toto import in_toto
from substrate.trace.exports.ocsf import ocsf
from substrate.trace.exports.otlp import otlp
from substrate.trace.exports.prov import prov
from tests.support import ocsf_rules, records
from tests.support.examples import examples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Export = Callable[..., Iterator[dict[str, Any]]]

_ALL: tuple[Export, ...] = (otlp, ocsf, in_toto, prov)


def test_commands_are_paired_with_their_ends_and_endpoints() -> None:
    done, unfinished = executions(records.stream())
    assert (done.start["span_id"], done.complete and done.complete["exit"]) == (records.SPAN, 1)
    assert [data["scope"] for data in done.net] == ["example.com:443/tcp"]
    assert unfinished.complete is None
    assert unfinished.ended_ns == unfinished.began_ns


def test_an_end_without_a_beginning_is_left_out() -> None:
    assert list(executions(records.lines()[2:])) == []


@pytest.mark.parametrize("export", _ALL, ids=lambda export: export.__name__)
def test_an_export_is_json_any_reader_takes(export: Export) -> None:
    for document in export(records.stream(), host="build-1"):
        text = json.dumps(document, ensure_ascii=False, allow_nan=False)
        assert json.loads(text.encode("utf-8")) == document


@pytest.mark.parametrize("export", _ALL, ids=lambda export: export.__name__)
def test_an_export_of_nothing_has_no_command(export: Export) -> None:
    assert len(list(export([]))) == (export is prov)


@pytest.mark.parametrize("export", [otlp, ocsf], ids=lambda export: export.__name__)
def test_a_long_trace_is_not_held(export: Export) -> None:
    read = 0

    def endless() -> Iterator[dict[str, Any]]:
        nonlocal read
        while True:
            read += 1
            yield from records.lines()[:3]

    documents = export(endless())
    for _ in range(5):
        next(documents)
    assert read <= 5


@settings(max_examples=examples(10))
@given(records.starts())
def test_any_command_can_be_exported(start: CommandStart) -> None:
    stream = records.finished(start)
    for event in ocsf(stream):
        assert ocsf_rules.faults(event) == []
    for document in (*otlp(stream), *in_toto(stream), *prov(stream)):
        json.dumps(document, ensure_ascii=False).encode()


# --- OCSF ---------------------------------------------------------------------------------------


def test_ocsf_events_keep_the_rules_of_their_class() -> None:
    events = list(ocsf(records.stream(), host="build-1"))
    assert [event["type_uid"] for event in events] == [100701, 100702, 100701, 100701]
    for event in events:
        assert ocsf_rules.faults(event) == []
    launch, end, denied, _ = events
    assert launch["process"]["uid"] == end["process"]["uid"] == records.SPAN
    assert end["exit_code"] == 1
    assert launch["process"]["cmd_line"].startswith("git commit -m ")
    assert (denied["action_id"], denied["status_id"]) == (2, 2)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("metadata", "version"), None),
        (("device", "type_id"), None),
        (("process", "uid"), None),
        (("type_uid",), 100799),
        (("time",), "2026-01-01"),
        (("severity_id",), 42),
        (("surprise",), 1),
    ],
)
def test_the_rules_of_ocsf_find_a_fault(path: tuple[str, ...], value: object) -> None:
    event = next(ocsf(records.stream()))
    place = event
    for key in path[:-1]:
        place = place[key]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    assert ocsf_rules.faults(event)


# --- in-toto ------------------------------------------------------------------------------------


def test_a_statement_has_what_the_predicate_requires() -> None:
    (statement,) = in_toto(records.stream(), host="build-1")
    assert set(statement) == {"_type", "subject", "predicateType", "predicate"}
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://in-toto.io/attestation/runtime-trace/v0.1"
    names = [subject["name"] for subject in statement["subject"]]
    assert names == ["new.txt", "to"]
    for subject in statement["subject"]:
        assert re.fullmatch("[0-9a-f]{64}", subject["digest"]["sha256"])
    predicate = statement["predicate"]
    assert predicate["monitor"]["type"].startswith("https://")
    assert re.match(r"[a-z]+:", predicate["monitoredProcess"]["hostID"])
    assert {"hostID", "type", "event"} <= set(predicate["monitoredProcess"])
    log = predicate["monitorLog"]
    assert [entry["spanID"] for entry in log["process"]] == [records.SPAN, "d" * 16]
    (endpoint,) = log["network"]
    assert (endpoint["hostname"], endpoint["port"], endpoint["protocol"]) == (
        "example.com",
        443,
        "tcp",
    )
    assert all({"name", "digest"} <= set(entry) for entry in log["fileAccess"])
    assert predicate["metadata"]["buildStartedOn"] < predicate["metadata"]["buildFinishedOn"]


def test_a_statement_is_about_something_even_when_no_file_was_left() -> None:
    (statement,) = in_toto([records.UNFINISHED])
    assert [subject["name"] for subject in statement["subject"]] == [f"request of span {'d' * 16}"]


def test_a_file_that_was_deleted_later_is_no_subject() -> None:
    stream = records.lines()[:3]
    later = Origin(records.SESSION, "e" * 16)
    gone = {"summary": {}, "deletes": ["new.txt"]}
    stream.append(to_json(CommandStart(later, "/", ("rm",), records.DIGEST), records.TS))
    stream.append(to_json(CommandComplete(later, 0, 1.0, fs_diff=gone), records.TS))
    (statement,) = in_toto(stream)
    assert [subject["name"] for subject in statement["subject"]] == ["to"]


# --- PROV ---------------------------------------------------------------------------------------


def test_versions_of_a_file_follow_each_other() -> None:
    stream = records.lines()[:3]
    later = Origin(records.SESSION, "e" * 16, agent_id="agent-3")
    changed = {"summary": {}, "mods": ["new.txt"]}
    stream.append(to_json(CommandStart(later, "/", ("sed",), records.DIGEST), records.TS))
    stream.append(to_json(CommandComplete(later, 0, 1.0, fs_diff=changed), records.TS))
    (document,) = prov(stream)
    derived = [
        (one["prov:usedEntity"], one["prov:generatedEntity"])
        for one in document["wasDerivedFrom"].values()
    ]
    assert any(old.endswith(records.SPAN) and new.endswith("e" * 16) for old, new in derived)


@pytest.mark.parametrize(
    ("text", "shown"),
    [("plain", "plain"), ("ü\U0001f600", "ü\U0001f600"), ("a\udcffb", "a�b"), ("\ud800", "�")],
)
def test_what_is_no_character_becomes_the_replacement_character(text: str, shown: str) -> None:
    assert unicode({"k": [text]}) == {"k": [shown]}
