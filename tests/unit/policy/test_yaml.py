from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from substrate.errors import PolicyError
from substrate.policy.yamltext import Node, read_yaml


def problem(text: bytes) -> str:
    with pytest.raises(PolicyError) as caught:
        read_yaml(text, "p.yaml")
    return str(caught.value)


def test_every_value_has_its_line() -> None:
    root = read_yaml(b"a: 1\nb:\n  c:\n    - x\n    - y\n", "p.yaml")
    assert root.value["a"] == Node(1, 1)
    assert [item.line for item in root.value["b"].value["c"].value] == [4, 5]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("12:30", "12:30"),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        ("2026-01-01", "2026-01-01"),
        ("7", 7),
        ("-1.5", -1.5),
        ("1e3", 1000.0),
        ("true", True),
        ("~", None),
        ("'7'", "7"),
        ("'true'", "true"),
        (".inf", ".inf"),
    ],
)
def test_scalars_are_those_of_the_core_schema(text: str, value: object) -> None:
    assert read_yaml(f"a: {text}".encode(), "p.yaml").plain() == {"a": value}


def test_an_empty_file_says_nothing() -> None:
    assert read_yaml(b"# nothing\n", "p.yaml").plain() == {}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"a: 1\na: 2", "p.yaml:2: the key 'a' is there twice"),
        (b"a: &x 1", "p.yaml:1: anchors and aliases are not used in a policy"),
        (b"a: &x [1]\nb: *x", "p.yaml:1: anchors"),
        (b"<<: *x", "p.yaml:1: anchors"),
        (b"a: !!python/object/apply:os.system [id]", "p.yaml:1: the tag"),
        (b"a: !!str 1", "p.yaml:1: the tag"),
        (b"1: a", "p.yaml:1: a key that is no string"),
        (b"a: 1\n---\nb: 2", "p.yaml:2: a second document"),
        (b"a: [1", "p.yaml:2: did not find expected"),
        (b"a: \xff", "p.yaml: byte 3: not UTF-8"),
        (b"a: \x01", "p.yaml: "),
        (b"a: " + b"[" * 50 + b"]" * 50, "p.yaml:1: nested too deeply"),
        (b"a: [" + b"1," * 30_000 + b"]", "p.yaml:1: nested too deeply, or too many"),
        (b"#" * 300_000, "p.yaml: larger than 256 KiB"),
    ],
)
def test_what_a_policy_needs_not_is_refused_with_its_line(text: bytes, told: str) -> None:
    assert problem(text).startswith(told)


@settings(max_examples=30, deadline=None, database=None)
@given(st.one_of(st.binary(max_size=60), st.text("{}[]:,-&*!|>'\"#%@`? \n\tab0<~", max_size=40)))
def test_any_bytes_are_read_or_refused(text: bytes | str) -> None:
    with suppress(PolicyError):
        made = read_yaml(text if isinstance(text, bytes) else text.encode(), "p.yaml")
        assert made.line >= 1
