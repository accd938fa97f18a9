from __future__ import annotations

import os
import pwd
import re
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from substrate import jsontext
from substrate.kernel import procfs
from substrate.resources import schema_path
from substrate.world.state import (
    CREATED,
    CREATING,
    RUNNING,
    STOPPED,
    Layer,
    State,
    from_json,
    timestamp,
)
from tests.support.examples import examples

NOW = "2024-05-06T07:08:09.000000001Z"
TEXT = st.text(st.characters(blacklist_categories=["Cs"]), max_size=8)
PAIRS = st.lists(st.tuples(TEXT, TEXT), max_size=3, unique_by=lambda pair: pair[0]).map(tuple)
STATES = st.builds(
    State,
    world_id=st.sampled_from(["w", "a-b.c"]),
    status=st.sampled_from([CREATING, CREATED, RUNNING, STOPPED]),
    bundle=TEXT,
    rootfs=TEXT,
    created=st.just(NOW),
    owner=st.integers(0, 2**32 - 2),
    # Beyond pid_max: nobody's.
    pid=st.integers(2**22 + 1, 2**30),
    start_time=st.integers(0, 2**60),
    annotations=PAIRS,
    namespaces=st.lists(st.sampled_from(["pid", "user", "mount"]), unique=True).map(tuple),
    may_set_groups=st.booleans(),
    layer=st.none() | st.builds(Layer, TEXT, TEXT, TEXT, st.booleans()),
    data=TEXT,
    degraded=PAIRS,
)


with open(schema_path("state"), encoding="utf-8") as file:
    VALIDATOR = jsonschema.Draft202012Validator(jsontext.loads(file.read()))


@settings(max_examples=examples(40))
@given(STATES)
def test_a_stored_state_is_the_same_state(state: State) -> None:
    stored = jsontext.dumps(state.to_json())
    assert from_json(jsontext.loads(stored), "state.json") == state


@settings(max_examples=examples(40))
@given(STATES)
def test_what_is_shown_follows_the_schema(state: State) -> None:
    VALIDATOR.validate(state.to_oci())


def state(status: str = RUNNING, **changes: Any) -> State:
    return State("w", status, "/bundle", "/rootfs", NOW, 0, **changes)


def alive() -> dict[str, int]:
    """Return pid and start time of a process that runs: ours."""
    started = procfs.start_time(os.getpid())
    assert started is not None
    return {"pid": os.getpid(), "start_time": started}


@pytest.mark.parametrize("status", [CREATED, RUNNING])
def test_a_world_whose_process_is_gone_has_stopped(status: str) -> None:
    gone = state(status, pid=2**22 + 1, start_time=5)
    assert (gone.current_status, gone.to_oci()["pid"]) == (STOPPED, 0)
    assert gone.status == status
    # What is stored does not pretend to know.
    assert gone.to_json()["status"] == status


@pytest.mark.parametrize("status", [CREATED, RUNNING])
def test_a_pid_used_again_is_not_the_worlds(status: str) -> None:
    reused = alive()
    reused["start_time"] -= 1
    assert state(status, **reused).current_status == STOPPED


@pytest.mark.parametrize("status", [CREATING, CREATED, RUNNING])
def test_a_world_that_lives_is_as_it_was_written(status: str) -> None:
    living = state(status, **alive())
    assert living.current_status == status
    assert living.to_oci()["pid"] == os.getpid()


def test_a_world_without_a_process_yet_is_being_created() -> None:
    assert state(CREATING).current_status == CREATING
    assert not state(CREATING).is_alive


def test_a_stopped_world_has_no_pid() -> None:
    assert state(STOPPED, **alive()).to_oci()["pid"] == 0


def test_the_owner_is_shown_by_name_and_stored_by_number() -> None:
    shown = state()
    assert shown.to_oci()["owner"] == pwd.getpwuid(0).pw_name
    assert shown.to_json()["owner"] == "0"


def test_an_owner_without_a_name_is_shown_by_number() -> None:
    strange = State("w", RUNNING, "/b", "/r", NOW, 4_000_000_001)
    assert strange.to_oci()["owner"] == "4000000001"


def test_the_time_is_rfc_3339_in_utc() -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", timestamp())
    assert timestamp() <= timestamp()
