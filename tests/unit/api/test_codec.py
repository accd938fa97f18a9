"""Records of the API and their JSON: nothing is lost either way, and schemas say the same."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from substrate import jsontext, resources
from substrate.api import codec
from substrate.api.records import (
    ExecRequest,
    ExecResult,
    Limit,
    Output,
    PolicyDecision,
    Resources,
    Scope,
    WorldSpec,
)
from substrate.errors import UsageError
from substrate.filesystem.entries import Entry, FsDiff, make_diff
from substrate.record import as_dict
from tests.support.examples import examples

_WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
_COUNTS = st.integers(0, 1 << 40)
_FLAGS = st.booleans()
_SPANS = st.integers(1, (1 << 64) - 1).map("{:016x}".format)
_NAMES = st.text(st.characters(exclude_characters="\0="), min_size=1, max_size=8)
_PATHS = st.binary(min_size=1, max_size=12).map(os.fsdecode)


def _maybe(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


def _several(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(values, max_size=3).map(tuple)


@st.composite
def _entries(draw: st.DrawFn) -> Entry:
    status = os.stat_result((0o100644, 0, 0, 1, 0, 0, draw(_COUNTS), 0, 0, 0))
    change = draw(st.sampled_from(["write", "mod", "delete", "rename", "meta", "touched"]))
    entry = Entry(change, draw(_PATHS), draw(st.sampled_from(["file", "dir", "symlink"])), status)
    entry.mtime_ns = draw(_COUNTS)
    if change == "rename":
        entry.origin = draw(_PATHS)
    entry.risky = draw(_several(st.sampled_from(["setuid", "git-hook"])))
    return entry


_DIFFS = st.lists(_entries(), max_size=4, unique_by=lambda entry: entry.path).map(make_diff)
_COMMANDS = st.one_of(
    st.builds(lambda argv: {"argv": argv}, st.lists(_WORDS, min_size=1, max_size=3).map(tuple)),
    st.builds(lambda text: {"command": text}, _WORDS),
)
_REQUESTS = st.builds(
    lambda command, **rest: ExecRequest(**command, **rest),
    _COMMANDS,
    cwd=_maybe(_WORDS.map("/{}".format)),
    env=st.dictionaries(_NAMES, _WORDS, max_size=3).map(lambda env: tuple(env.items())),
    stdin=_maybe(st.text(max_size=20)),
    pty=_FLAGS,
    span_id=_maybe(_SPANS),
    parent_span=_maybe(_SPANS),
    agent_id=_maybe(_WORDS),
    timeout_s=_maybe(st.floats(0.001, 1e6)),
    output_bytes=_maybe(_COUNTS),
)
_OUTPUTS = st.builds(
    Output,
    text=st.binary(max_size=20).map(lambda data: data.decode("utf-8", "surrogateescape")),
    size=_COUNTS,
    sha256=st.just("0" * 64),
    truncated=_FLAGS,
    file=_maybe(_WORDS),
)
_RESULTS = st.builds(
    ExecResult,
    exit=st.integers(0, 255),
    span_id=_SPANS,
    world_id=_WORDS,
    duration_ms=_COUNTS,
    signal=_maybe(_WORDS),
    timed_out=_FLAGS,
    stdout=_maybe(_OUTPUTS),
    stderr=_maybe(_OUTPUTS),
    fs_diff=_maybe(_DIFFS),
    scopes_used=_several(st.builds(Scope, _WORDS, st.integers(0, 65535), _WORDS, _maybe(_WORDS))),
    resources=_maybe(
        st.builds(
            Resources,
            _maybe(_COUNTS),
            _maybe(_COUNTS),
            _maybe(_FLAGS),
            limits_hit=_several(st.builds(Limit, _WORDS, _WORDS, _WORDS, _FLAGS)),
        )
    ),
    policy_decision=_maybe(
        st.builds(
            PolicyDecision,
            st.sampled_from(["allow", "isolate", "deny", "would_deny"]),
            _maybe(_WORDS),
            _maybe(_WORDS),
            _maybe(_WORDS),
        )
    ),
    degraded=_several(_WORDS),
    telemetry=_several(_WORDS),
    evidence=_maybe(_WORDS),
)
_SPECS = st.builds(WorldSpec, _maybe(_WORDS), _maybe(_WORDS), _maybe(_WORDS), _FLAGS)


def _validator(name: str) -> Draft202012Validator:
    schemas = []
    for each in (name, "fs-diff"):
        with open(resources.schema_path(each), encoding="utf-8") as file:
            schemas.append(json.load(file))
    known = [(schema["$id"], Resource.from_contents(schema)) for schema in schemas]
    registry: Registry[Any] = Registry().with_resources(known)
    Draft202012Validator.check_schema(schemas[0])
    return Draft202012Validator(schemas[0], registry=registry)


VALIDATORS = {name: _validator(name) for name in ("exec-request", "exec-result", "world-spec")}


def _there_and_back(value: Any, schema: str) -> Any:
    text = jsontext.dumps(codec.to_json(value))
    data = jsontext.loads(text)
    assert list(VALIDATORS[schema].iter_errors(data)) == []
    return codec.from_json(type(value), data)


@given(_REQUESTS)
def test_a_request_survives_its_json(request: ExecRequest) -> None:
    assert _there_and_back(request, "exec-request") == request


@given(_SPECS)
def test_a_specification_survives_its_json(spec: WorldSpec) -> None:
    assert _there_and_back(spec, "world-spec") == spec


@settings(max_examples=examples(40))
@given(_RESULTS)
def test_a_result_survives_its_json(result: ExecResult) -> None:
    back = _there_and_back(result, "exec-result")
    for name, value in as_dict(result).items():
        if isinstance(value, FsDiff):
            assert getattr(back, name).to_json(touched=True) == value.to_json(touched=True)
        else:
            assert getattr(back, name) == value, name


def test_the_span_and_the_diff_are_optional() -> None:
    assert codec.from_json(ExecRequest, {"command": "true"}) == ExecRequest(command="true")
    least = {"exit": 0, "span_id": "1" * 16, "world_id": "w", "duration_ms": 1}
    assert codec.from_json(ExecResult, least).fs_diff is None
    assert "fs_diff" not in codec.to_json(codec.from_json(ExecResult, least))


def test_a_result_may_have_keys_of_a_later_version_and_a_request_may_not() -> None:
    least = {"exit": 0, "span_id": "1" * 16, "world_id": "w", "duration_ms": 1, "later": [1]}
    assert codec.from_json(ExecResult, least).exit == 0
    with pytest.raises(UsageError, match=r"\$: there is no key 'timeout'"):
        codec.from_json(ExecRequest, {"command": "true", "timeout": 3})
    assert list(VALIDATORS["exec-request"].iter_errors({"command": "true", "timeout": 3}))
    assert not list(VALIDATORS["exec-result"].iter_errors(least))


@pytest.mark.parametrize(
    ("data", "where"),
    [
        ([], r"\$: expected an object"),
        ({"argv": "ls"}, r"\$\.argv: expected an array"),
        ({"argv": ["a\0b"]}, r"\$\.argv\[0\]: a NUL"),
        ({"argv": ["a", 1]}, r"\$\.argv\[1\]: expected a string"),
        ({"command": 1}, r"\$\.command"),
        ({"command": "", "env": {"A=B": "c"}}, r"\$\.env: 'A=B'"),
        ({"command": "", "env": ["A=B"]}, r"\$\.env"),
        ({"command": "", "pty": 1}, r"\$\.pty"),
        ({"command": "", "span_id": "0" * 16}, r"\$\.span_id"),
        ({"command": "", "span_id": "../../etc/passwd"}, r"\$\.span_id"),
        ({"command": "", "timeout_s": 0}, r"\$\.timeout_s"),
        ({"command": "", "timeout_s": True}, r"\$\.timeout_s"),
        ({"command": "", "output_bytes": -1}, r"\$\.output_bytes"),
    ],
)
def test_what_is_wrong_is_told_with_its_path(data: Any, where: str) -> None:
    with pytest.raises(UsageError, match=where):
        codec.from_json(ExecRequest, data)


@pytest.mark.parametrize("data", [{}, {"entries": [{}], "summary": {}}, 3, []])
def test_what_is_no_diff_is_told_so(data: Any) -> None:
    with pytest.raises(UsageError, match="not a file system diff"):
        codec.fs_diff(data)
