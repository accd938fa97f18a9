from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from substrate.errors import PolicyError
from substrate.policy.checks import check_policy
from substrate.policy.keys import KEYS, LIST, WORD
from substrate.resources import schema_path

SCHEMA: dict[str, Any] = json.loads(Path(schema_path("policy")).read_text(encoding="utf-8"))
VALIDATOR = Draft202012Validator(SCHEMA)

GOOD: dict[str, list[Any]] = {
    "mode": ["observe", "enforce"],
    "cmd_allowed": [["git *"], {"replace": []}],
    "cmd_denied": [["rm -rf *", "mkfs*"], []],
    "cmd_isolated": [["npm publish"]],
    "cmd_unjudged": ["isolate", "deny"],
    "net_allowed": [["github.com", "*.pypi.org:443", "[::1]:80", "*", "bücher.example"]],
    "fs.deny": [[".env", "secrets/**"]],
    "fs.readonly": [["vendor"]],
    "fs.risky": [["*.sh"]],
    "fs.expose": [["/opt/tool", "~/.cargo"]],
    "fs.hide": [["/etc/ssl"]],
    "env.allow": [["PATH", "LC_*"]],
    "limits.wall_time": [1, 1.5, "90s", "2h"],
    "limits.egress_bytes": [0, "1M"],
    "limits.output": [10],
    "limits.memory": [1, "2G"],
    "limits.cpus": [0.5, 2],
    "limits.pids": [100],
    "limits.open_files": [1024],
    "limits.disk": ["10G"],
    "trusted_projects": [["sha256:" + "a" * 64]],
}
BAD: dict[str, list[Any]] = {
    "mode": ["Enforce", 1, None, ["observe"]],
    "cmd_denied": ["rm", [1], [""], {"replace": "x"}, {"extend": []}, None, [["a"]]],
    "cmd_unjudged": ["allow"],
    "fs": [[], "x", 1],
    "fs.deny": ["x", {}],
    "env.allow": [True],
    "limits.wall_time": [0, -1, "1 h", True, None, [1]],
    "limits.memory": [0, "0M", "1X", 1.5, -1, 1 << 63],
    "limits.cpus": [0, 70000, "2"],
    "limits.pids": [0, 1.5, "5"],
    "limits.egress_bytes": [-1, "M"],
    "unknown": [1],
    "fs.unknown": [1],
    "limits.CPUs": [1],
}
# A schema cannot say what is wrong with these.
BAD_ENTRIES = {
    "cmd_denied": ["a; b", "rm $X", "-rf", "A=1 b", "'a", "a > b", "a `b`", " "],
    "net_allowed": ["http://x", "*.com", "a b", "10.0.0.1/8", "x:99999", "a..b", "xn--\u2028"],
    "fs.deny": ["/etc", "../x", "a/../b", "a\tb"],
    "fs.expose": ["relative", "/a/../b", "~user/x"],
    "env.allow": ["A=B", "1A", "A*B", "A B"],
    "trusted_projects": ["abc", "sha256:" + "A" * 64],
}


def problems(document: Any, layer: str = "user") -> list[str]:
    """Return what is wrong with a document; YAML takes JSON."""
    try:
        check_policy(json.dumps(document).encode(), layer, "p.yaml")
    except PolicyError as error:
        return list(error.problems)
    return []


def nested(path: str, value: Any) -> dict[str, Any]:
    group, dot, name = path.partition(".")
    return {group: {name: value}} if dot else {path: value}


def test_the_schema_and_the_table_have_the_same_keys() -> None:
    told: dict[str, Any] = {}
    for name, value in SCHEMA["properties"].items():
        inner = value.get("properties")
        told |= {f"{name}.{key}": one for key, one in inner.items()} if inner else {name: value}
    assert told.keys() == KEYS.keys()
    words = {key: tuple(one["enum"]) for key, one in told.items() if "enum" in one}
    assert words == {key: one.words for key, one in KEYS.items() if one.kind == WORD}
    lists = {key for key, one in told.items() if "$ref" in one and key.split(".")[0] != "limits"}
    assert lists == {key for key, one in KEYS.items() if one.kind == LIST}
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize(("path", "value"), [(p, v) for p, values in GOOD.items() for v in values])
def test_what_is_right_is_taken_by_both(path: str, value: Any) -> None:
    assert problems(nested(path, value)) == []
    assert VALIDATOR.is_valid(nested(path, value))


@pytest.mark.parametrize(("path", "value"), [(p, v) for p, values in BAD.items() for v in values])
def test_what_is_wrong_is_refused_by_both(path: str, value: Any) -> None:
    assert problems(nested(path, value))
    assert not VALIDATOR.is_valid(nested(path, value))


@pytest.mark.parametrize(
    ("path", "entry"), [(path, entry) for path, found in BAD_ENTRIES.items() for entry in found]
)
def test_wrong_entries_of_lists_are_refused(path: str, entry: str) -> None:
    (problem,) = problems(nested(path, [entry]))
    assert problem.startswith(f"p.yaml:1: $.{path}[0]: ")


def test_every_problem_is_listed_with_line_and_key() -> None:
    text = b"mode: loud\ncmd_denied:\n  - ok\n  - 7\n  - a; b\nfs:\n  dney: []\nlimits: {pids: 0}\n"
    with pytest.raises(PolicyError) as caught:
        check_policy(text, "user", "/h/policy.yaml")
    assert [line.split(" ", 2)[:2] for line in caught.value.problems] == [
        ["/h/policy.yaml:1:", "$.mode:"],
        ["/h/policy.yaml:4:", "$.cmd_denied[1]:"],
        ["/h/policy.yaml:5:", "$.cmd_denied[2]:"],
        ["/h/policy.yaml:7:", "$.fs.dney:"],
        ["/h/policy.yaml:8:", "$.limits.pids:"],
    ]
    assert caught.value.status == 2


def test_a_project_cannot_trust_itself() -> None:
    (problem,) = problems({"trusted_projects": []}, "project")
    assert "belongs in your own policy" in problem


values = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-2, 3000), st.just("git *"), st.just("observe")
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2), st.dictionaries(st.just("replace"), inner, max_size=1)
    ),
    max_leaves=3,
)
documents = st.dictionaries(
    st.sampled_from([*(key for key in KEYS if "." not in key), "fs", "limits", "other"]),
    st.one_of(values, st.dictionaries(st.sampled_from(["deny", "pids", "cpus", "x"]), values)),
    max_size=3,
)


@settings(max_examples=30, deadline=None, database=None)
@given(documents)
def test_what_the_checks_take_the_schema_takes_too(document: dict[str, Any]) -> None:
    if not problems(document):
        assert VALIDATOR.is_valid(document)
    elif VALIDATOR.is_valid(document):
        # Only what a schema cannot say: the inside of a list's entries.
        assert all("]: " in problem for problem in problems(document))
