from __future__ import annotations

from typing import Any

import pytest

from substrate.bundle.model import Capabilities, Process, User
from substrate.errors import UsageError
from substrate.world.overrides import NO_OVERRIDES, Overrides, override

PROCESS = Process(
    args=("sh",), cwd="/", env=("PATH=/bin", "A=1"), user=User(5, 6, (7,), 0o77),
    capabilities=Capabilities(bounding=("CAP_KILL",)), no_new_privileges=True,
)  # fmt: skip


def overridden(**asked: Any) -> Process:
    process = override(PROCESS, Overrides(**asked))
    assert process is not None
    return process


def test_nothing_asked_changes_nothing() -> None:
    assert override(PROCESS, NO_OVERRIDES) == PROCESS
    assert override(None, NO_OVERRIDES) is None


def test_a_bundle_without_a_process_gets_a_powerless_one() -> None:
    process = override(None, Overrides(args=("sh", "-c", "id")))
    assert process is not None
    assert (process.args, process.cwd) == (("sh", "-c", "id"), "/")
    assert process.no_new_privileges
    assert process.capabilities is None
    assert process.user == User(0, 0)


def test_a_command_replaces_the_whole_command() -> None:
    assert overridden(args=("id",)).args == ("id",)


def test_the_working_directory_is_absolute() -> None:
    assert overridden(cwd="/tmp").cwd == "/tmp"
    for wrong in ("tmp", "", "./x"):
        with pytest.raises(UsageError, match="is not absolute"):
            overridden(cwd=wrong)


def test_variables_are_added_and_replaced_in_place() -> None:
    process = overridden(env=("A=2", "B=x=y", "EMPTY="))
    assert process.env == ("PATH=/bin", "A=2", "B=x=y", "EMPTY=")


@pytest.mark.parametrize("entry", ["A", "", "=x", "="])
def test_a_variable_has_a_name_and_a_value(entry: str) -> None:
    with pytest.raises(UsageError, match="is not NAME=VALUE"):
        overridden(env=(entry,))


def test_another_user_has_none_of_the_groups_of_the_first() -> None:
    assert overridden(user=(33, 44)).user == User(33, 44, (), 0o77)
    assert overridden(user=(33, None)).user == User(33, 33, (), 0o77)


def test_groups_are_added() -> None:
    assert overridden(groups=(8, 9)).user.additional_gids == (7, 8, 9)
    assert overridden(user=(33, None), groups=(8,)).user.additional_gids == (8,)


@pytest.mark.parametrize("name", ["CAP_NET_RAW", "net_raw", "NET_RAW", "cap_net_raw"])
def test_a_capability_is_added_but_never_inheritable(name: str) -> None:
    """CVE-2022-29162."""
    capabilities = overridden(capabilities=(name,)).capabilities
    assert capabilities == Capabilities(
        bounding=("CAP_KILL", "CAP_NET_RAW"), permitted=("CAP_NET_RAW",),
        effective=("CAP_NET_RAW",),
    )  # fmt: skip


def test_a_capability_is_there_once() -> None:
    capabilities = overridden(capabilities=("KILL", "CAP_KILL")).capabilities
    assert capabilities is not None
    assert capabilities.bounding == ("CAP_KILL",)


def test_an_unknown_capability_is_an_error() -> None:
    with pytest.raises(UsageError, match="there is no capability CAP_FLY"):
        overridden(capabilities=("fly",))


def test_restrictions_can_be_added_and_not_taken_away() -> None:
    free = Process(args=("sh",), cwd="/")
    bound = override(free, Overrides(no_new_privileges=True))
    assert bound is not None
    assert bound.no_new_privileges
    assert overridden(no_new_privileges=False).no_new_privileges


def test_a_terminal_can_be_asked_for() -> None:
    assert overridden(terminal=True).terminal
    assert not overridden(terminal=None).terminal
