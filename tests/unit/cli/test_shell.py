"""`substrate`: what it can do, and that it does nothing else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from substrate import __version__
from substrate.cli import doctor, shell
from substrate.cli.front.table import PROGRAM
from substrate.cli.help import render
from substrate.cli.parse import Arguments
from substrate.host.probes import PROBES

if TYPE_CHECKING:
    from tests.support.golden import Golden

FINDINGS = [
    doctor.Finding("namespaces", "worlds", ok=True, needed=True, reason="", hint=""),
    doctor.Finding("openat2", "paths", ok=False, needed=True, reason="a\x1bb", hint="newer kernel"),
    doctor.Finding("landlock", "a fence", ok=False, needed=False, reason="is off", hint=""),
]


@pytest.fixture
def _nothing_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "missing", lambda _name: "")


@pytest.fixture
def _everything_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "missing", lambda name: f"no {name}")


@pytest.fixture
def _no_worlds(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_kwargs: object) -> None:
        pytest.fail("a world was asked for")

    monkeypatch.setattr("substrate.api.inprocess.InProcessWorld.ensure_session", refuse)


def test_help_and_version(capsys: pytest.CaptureFixture[str], golden: Golden) -> None:
    assert shell.main(["--version"]) == 0
    assert __version__ in capsys.readouterr().out
    assert shell.main(["--help"]) == 0
    golden("cli/shell.txt", capsys.readouterr().out)


@pytest.mark.parametrize("verb", [verb.name for verb in PROGRAM.verbs])
def test_the_help_of_every_verb_is_had_in_every_usual_way(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["help", verb], [verb, "--help"], [verb, "-h"]):
        assert shell.main(words) == 0
        assert capsys.readouterr().out == render(PROGRAM, verb, 80)
    assert shell.call_verb([verb, "--help"], Arguments("", {})) == 0
    assert capsys.readouterr().out == render(PROGRAM, verb, 80)


@pytest.mark.parametrize(
    "words",
    [
        ["touch", "/tmp/x"],
        ["doctor", "x"],
        ["--", "ls"],
        ["--nosuch", "-c", "true"],
        ["-c"],
        ["run"],
        ["why"],
        ["--timeout", "soon", "-c", "true"],
        ["--timeout", "-1", "-c", "true"],
        ["--no-world", "--timeout", "0", "run", "--", "true"],
    ],
)
@pytest.mark.usefixtures("_no_worlds")
def test_anything_unknown_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert shell.main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("substrate: ")
    assert "\nhint: " in error


@pytest.mark.usefixtures("_nothing_missing")
def test_doctor_is_content_when_nothing_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert shell.main(["doctor", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["ready"] is True
    assert [row["name"] for row in document["probes"]] == list(PROBES)


@pytest.mark.usefixtures("_everything_missing")
def test_doctor_ends_in_4_when_a_needed_thing_is_missing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert shell.main(["doctor"]) == 4
    assert "the default bundle cannot run here: " in capsys.readouterr().out
    assert shell.main(["doctor", "--json"]) == 4
    document = json.loads(capsys.readouterr().out)
    assert document["ready"] is False
    assert document["probes"][0]["reason"].startswith("no ")


@pytest.mark.parametrize("uid", [0, 1000])
@pytest.mark.usefixtures("_nothing_missing")
def test_what_is_needed_depends_on_who_asks(uid: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: uid)
    needed = {finding.name for finding in doctor.probe() if finding.needed}
    assert ("userns" in needed) is (uid == 0)
    assert ("userns.unprivileged" in needed) is (uid != 0)


def test_every_needed_feature_has_a_probe() -> None:
    names = {*doctor._NEEDED, *doctor._NEEDED_BY_ROOT, *doctor._NEEDED_BY_OTHERS}
    assert names <= set(PROBES)


def test_the_table_shows_why_and_what_to_do(golden: Golden) -> None:
    golden("cli/doctor.txt", doctor.render(FINDINGS))


def test_colour_changes_nothing_else() -> None:
    coloured = doctor.render(FINDINGS, colour=True)
    for code in ("\x1b[32m", "\x1b[33m", "\x1b[1;31m", "\x1b[0m"):
        assert code in coloured
        coloured = coloured.replace(code, "")
    assert coloured == doctor.render(FINDINGS)
