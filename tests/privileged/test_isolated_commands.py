"""Commands that a policy isolates: never on the host, and never accepted unseen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.features import requires
from tests.support.sessions import NEEDED, Place, new_place

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = requires(*NEEDED)


@pytest.fixture
def place() -> Iterator[Place]:
    with new_place({"a.txt": "a\n"}) as made:
        yield made


def test_what_an_isolated_command_changed_is_accepted_with_an_explicit_yes(place: Place) -> None:
    place.write_policy('cmd_isolated: ["cp *"]\n')
    assert place.call("-c", "echo plain > plain.txt").returncode == 0
    assert place.call("-c", "cp a.txt copy.txt").returncode == 0
    # What hides the name may be it.
    assert place.call("-c", 'x=cp; "$x" a.txt hidden.txt').returncode == 0
    assert place.call("--no-world", "-c", "cp a.txt outside.txt").returncode == 126
    shown = place.call("diff").stdout
    assert (
        shown == "+ copy.txt  ! isolated-command\n+ hidden.txt  ! isolated-command\n+ plain.txt\n"
    )
    refused = place.call("accept")
    assert refused.returncode == 5
    assert "copy.txt: isolated-command" in refused.stderr
    assert not list(place.project.glob("*.txt"))[1:]
    assert place.call("accept", "plain.txt").returncode == 0
    assert place.call("accept", "--risky", "copy.txt", "copy.txt").returncode == 0
    assert place.call("accept", "--allow-risky").returncode == 0
    assert (place.project / "hidden.txt").read_text() == "a\n"


def test_where_nothing_is_isolated_by_name_nothing_is_marked(place: Place) -> None:
    assert place.call("-c", 'x=cp; "$x" a.txt hidden.txt').returncode == 0
    assert place.call("diff").stdout == "+ hidden.txt\n"
    assert place.call("accept").returncode == 0


def test_what_would_be_denied_counts_as_isolated(place: Place) -> None:
    place.write_policy('mode: observe\ncmd_denied: ["cp *"]\ncmd_isolated: ["npm *"]\n')
    assert place.call("-c", "cp a.txt copy.txt").returncode == 0
    assert place.call("accept").returncode == 5


def test_an_end_that_was_not_recorded_marks_everything(place: Place) -> None:
    place.write_policy('cmd_isolated: ["cp *"]\n')
    place.call("-c", "echo plain > plain.txt")
    place.call("-c", "cp a.txt copy.txt")
    (mark,) = (place.home / "data").glob("*/isolated/*")
    (mark.parent.parent / "spans" / f"{mark.name}.json").unlink()
    assert "+ plain.txt  ! isolated-command" in place.call("diff").stdout
