"""Whatever a file holds, it is read or refused; never anything else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import substrate
from substrate.bundle.checks import check_config
from substrate.bundle.jsonfile import parse_json
from substrate.bundle.load import load_config, schema_problems
from substrate.bundle.model import Config, parse_config
from substrate.bundle.read import digest
from substrate.errors import BundleError
from tests.support.examples import examples
from tests.unit.bundle.examples import EXAMPLES, example

# Parts the parser hands on as they are, to the room that reads them; and words of the kernel's.
RAW = ("$.linux.", "$.process.scheduler", "$.process.execCPUAffinity", "$.process.user.username")

QUICK = settings(
    max_examples=examples(80),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    database=None,
)

words = st.sampled_from(
    [
        "",
        "/",
        "..",
        "a",
        "host",
        "user",
        "bind",
        "*",
        "a.b:1",
        "CAP_CHOWN",
        "\0",
        "\ud800",
        "x" * 99,
    ]
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([0, 1, -1, 2**31, 2**32, 2**64, 10**400]),
    st.floats(),
    words,
    st.text(max_size=5),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(words | st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Return (container, key) of every value below."""
    items: list[Any] = []
    if isinstance(value, dict):
        items = list(value)
    elif isinstance(value, list):
        items = list(range(len(value)))
    found = [(value, key) for key in items]
    for key in items:
        found.extend(places(value[key]))
    return found


@st.composite
def mutations(draw: st.DrawFn) -> Any:
    data = example(draw(st.sampled_from(sorted(EXAMPLES))))
    for _ in range(draw(st.integers(1, 3))):
        container, key = draw(st.sampled_from(places(data)))
        action = draw(st.sampled_from(["replace", "drop", "add"]))
        if action == "replace":
            container[key] = draw(values)
        elif action == "drop":
            del container[key]
        elif isinstance(container, list):
            container.insert(0, container[key])
        else:
            container[draw(words)] = draw(values)
        if not places(data):
            break
    return data


@QUICK
@given(values)
def test_any_value_is_refused_with_problems_or_read(data: Any) -> None:
    problems: tuple[str, ...] = ("none",)
    try:
        load_config(data)
    except BundleError as error:
        problems = error.problems
    assert problems


@QUICK
@given(mutations())
def test_what_the_validator_accepts_the_parser_accepts(data: Any) -> None:
    if not schema_problems(data) and not check_config(data):
        assert isinstance(parse_config(data), Config)
    else:
        with pytest.raises(BundleError) as caught:
            load_config(data)
        assert all(
            problem.startswith(("config.json: $", "...")) for problem in caught.value.problems
        )


@QUICK
@given(mutations())
def test_what_the_fast_path_accepts_the_schema_accepts(data: Any) -> None:
    try:
        merged, _ = digest(data)
    except BundleError:
        return
    problems = [fault for fault in schema_problems(merged) if not fault.startswith(RAW)]
    # The parser takes null for absent in the extension too, where the schema is stricter.
    assert [fault for fault in problems if not fault.endswith("got null")] == []


@QUICK
@given(st.one_of(st.text(max_size=30), values.map(json.dumps)))
def test_any_text_is_json_or_an_error_with_one_line(text: str) -> None:
    try:
        expected = json.loads(text)
    except ValueError:
        with pytest.raises(BundleError) as caught:
            parse_json(text, "x.json")
        assert len(caught.value.problems) == 1
        return
    # Only these does the standard library take and we not.
    if "NaN" in text or "Infinity" in text:
        return
    found, problem = None, ""
    try:
        found = parse_json(text, "x.json")
    except BundleError as error:
        problem = str(error)
    assert found == expected or problem.endswith("is there twice")


def test_reading_a_bundle_loads_none_of_the_slow_modules() -> None:
    slow = "dataclasses typing enum json re subprocess pathlib logging socket tempfile shutil "
    slow += "collections contextlib click jsonschema ctypes"
    bundle = Path(substrate.__file__).parents[2] / "bundles" / "host-project"
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from substrate.bundle.read import read_bundle\n"
        "read_bundle(sys.argv[2])\n"
        f"print(*sorted(set(sys.modules) & set({slow.split()!r})))"
    )
    runtime = str(Path(substrate.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program, runtime, str(bundle)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == ""
