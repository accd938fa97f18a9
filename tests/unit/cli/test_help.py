"""Help, completion and the reference page all say what the table says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ci import docs_cli
from substrate.cli import completion
from substrate.cli import options as table
from substrate.cli.help import render
from substrate.cli.runtime import main

if TYPE_CHECKING:
    from tests.support.golden import Golden

SOURCES = Path(docs_cli.ROOT) / "runtime"


@pytest.mark.parametrize("verb", [verb.name for verb in table.VERBS])
def test_the_help_of_a_verb_is_as_reviewed(verb: str, golden: Golden) -> None:
    golden(f"cli/help-{verb}.txt", render(table.RUNTIME, verb, 80))


def test_the_help_of_the_program_is_as_reviewed(golden: Golden) -> None:
    golden("cli/help.txt", render(table.RUNTIME, None, 80))


@pytest.mark.parametrize("name", ["substrate-runtime", "substrate"])
def test_the_reference_page_is_up_to_date(name: str) -> None:
    written = (docs_cli.REFERENCE / f"{name}.md").read_text(encoding="utf-8")
    assert written == docs_cli.page(name), "run: python ci/docs_cli.py"


@pytest.mark.parametrize("words", [["help", "kill"], ["kill", "--help"], ["kill", "-h", "x"]])
def test_help_is_had_in_every_usual_way(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 0
    assert capsys.readouterr().out == render(table.RUNTIME, "kill", 80)


def test_help_on_an_unknown_verb_suggests_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help", "kil"]) == 2
    assert "there is no verb 'kil'; did you mean kill?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "expected", "unexpected"),
    [
        ("substrate-runtime cr", "plain,create", "plain,kill"),
        ("substrate-runtime create --b", "plain,--bundle", "plain,--config"),
        ("substrate-runtime create --bundle .", "dir,.", "file,."),
        ("substrate-runtime create --pid-file .", "file,.", "dir,."),
        ("substrate-runtime --log-format j", "plain,json", "plain,text"),
        ("substrate-runtime help de", "plain,delete", "plain,create"),
        ("substrate-runtime completion z", "plain,zsh", "plain,bash"),
        ("substrate-runtime exec web --", "", "plain,--detach"),
    ],
)
def test_completion_answers_what_may_come_next(
    line: str, expected: str, unexpected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(line.split()) - 1))
    answers = completion.answer(table.RUNTIME, "bash").split("\n")
    assert expected in answers
    assert unexpected not in answers


def test_bash_completes_a_verb_with_the_printed_script(tmp_path: Path) -> None:
    program = tmp_path / "substrate-runtime"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m substrate "$@"\n')
    program.chmod(0o755)
    script = (
        'eval "$(substrate-runtime completion bash)"\n'
        "COMP_WORDS=(substrate-runtime feat) COMP_CWORD=1\n"
        "_substrate_runtime substrate-runtime\n"
        'echo "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(
        ["bash", "-c", script],
        check=True,
        capture_output=True,
        text=True,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "PYTHONPATH": str(SOURCES)},
    )
    assert done.stdout == "features\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_script_asks_for_its_own_dialect(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["completion", shell]) == 0
    assert f"substrate-runtime completion --answer {shell}" in (
        capsys.readouterr().out.replace('"$1"', "substrate-runtime")
    )
