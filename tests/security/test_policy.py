"""Attacks on the policy: commands in disguise, and policy files that say more than they may.

What a text runs is asked of real shells, so that every disguise is proven to work before the
judgement about it counts.
"""

from __future__ import annotations

import os
import random
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings

from substrate.errors import PolicyError, RefusedError
from substrate.policy.broker import Broker
from substrate.policy.effective import load_policy
from tests.support import shell_texts
from tests.support.features import requires
from tests.support.policies import DENIES_RM, policy
from tests.support.real_shells import RealShells

if TYPE_CHECKING:
    from pathlib import Path

BROKER = Broker(policy(DENIES_RM))
THOROUGH = settings(
    max_examples=400, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)

DISGUISES = {
    "plainly": "rm -rf x",
    "behind_another_command": "cd . && rm -rf x",
    "in_quotes": "r'm' \"-rf\" x",
    "behind_a_backslash": "\\rm -r\\f x",
    "in_escapes_of_c": "$'\\x72\\155' -rf x",
    "on_a_continued_line": "r\\\nm -r\\\nf x",
    "with_options_apart": "rm -r x -f",
    "with_long_options": "rm --recursive --force x",
    "in_a_subshell": "(((true)); (rm -rf x))",
    "in_a_group": "{ rm -rf x; }",
    "in_a_branch": "if false; then :; else rm -rf x; fi",
    "in_a_loop": "for i in 1; do rm -rf $i; done",
    "in_a_case": "case a in a|b) rm -rf x;; esac",
    "in_a_function": "f() { rm -rf x; }; f",
    "in_the_background": "rm -rf x & wait",
    "in_a_pipeline": "true | rm -rf x | cat",
    "behind_assignments": "A=1 B='c d' rm -rf x",
    "behind_redirections": "2>&1 >out rm -rf x",
    "in_a_substitution": 'echo "a $(rm -rf x)"',
    "in_backticks": "echo `echo \\`rm -rf x\\``",
    "in_an_expansion": 'echo "${nothing:-$(rm -rf x)}"',
    "in_arithmetic": "echo $((1 + $(rm -rf x; echo 1)))",
    "in_an_arithmetic_subscript": "i='a[$(rm -rf x >&2; echo 1)]'; ((i))",
    "in_a_process_substitution": "cat <(rm -rf x)",
    "in_a_here_document": "cat <<E\n$(rm -rf x)\nE\n",
    "behind_a_here_document": "cat <<'E' && rm -rf x\n'\nE\n",
    "behind_a_here_documents_odd_end": "cat <<-'E F'\n\tE\n\tE F\nrm -rf x",
    "in_an_array": "a=($(rm -rf x))",
    "behind_an_array": "a=(1)rm -rf x\nb=(2)c rm -rf x",
    "in_a_condition": "[[ -n $(rm -rf x) ]]",
    "behind_a_comment": "true # '\nrm -rf x",
    "behind_a_hash_in_a_word": "echo a#b; rm -rf x",
    "through_env": "env A=1 nice -n 1 rm -rf x",
    "through_env_with_a_nameless_variable": "env =ls rm -rf x",
    "through_env_that_splits": "env -S 'rm -rf x'",
    "through_timeout": "timeout -k 1 5 rm -rf x",
    "through_nohup": "nohup rm -rf x",
    "through_command": "command command rm -rf x",
    "through_exec": "exec -a ls rm -rf x",
    "through_xargs": "echo x | xargs rm -rf",
    "through_xargs_options": "echo -rf x | xargs rm",
    "through_xargs_places": "echo -rf | xargs -I% rm % x",
    "through_find": "find . -name file -exec rm -rf {} ';'",
    "through_a_shell": "sh -c 'rm -rf x'",
    "through_shells": "bash -c \"sh -ec 'rm -rf x'\"",
    "through_a_shells_input": "echo 'rm -rf x' | bash",
    "through_a_shells_document": "bash <<E\nrm -rf x\nE\n",
    "through_a_shells_string": "sh -s <<<'rm -rf x'",
    "through_another_descriptor": "echo 'rm -rf x' | bash 3<<<true",
    "through_a_shells_file": "bash <(echo rm -rf x)",
    "through_source": "source /dev/stdin <<<'rm -rf x'",
    "through_eval": "eval 'rm -rf' x",
    "through_a_trap": "trap 'rm -rf x' EXIT",
    "through_an_alias": "shopt -s expand_aliases\nalias ls='rm -rf'\nls x",
    "through_a_prompt": "x='$(rm -rf x)'; echo \"${x@P}\"",
    "through_the_trace_prompt": "PS4='$(rm -rf x)'; set -x; true",
    "through_a_hashed_name": "hash -p $(command -v rm) ls; ls -rf x",
    "through_a_callback": "mapfile -c 1 -C 'rm -rf' a <file; echo 1 | mapfile -c 1 -C 'rm -rf' a",
    "through_a_start_file": "echo 'rm -rf x' >s; BASH_ENV=s bash -c true",
    "in_a_variable": "$RM -rf x",
    "in_a_variable_made_here": "X=rm; $X -rf x",
    "in_variables_of_options": 'O=-rf; rm "$O" x',
    "in_positional_parameters": 'set -- rm -rf x; "$@"',
    "in_braces": "{rm,-rf,x}",
    "in_a_glob": "cd ${RM:+..}/programs && r[m] -rf x; PATH=. r? -rf x",
    "in_a_functions_arguments": 'f() { rm "$@"; }; f -rf x',
    "as_a_home_directory": "HOME=rm\n~ -rf x",
    "as_the_directory_before": "OLDPWD=rm; ~- -rf x",
    "as_options_from_a_home_directory": "HOME=-rf; rm ~ x",
    "through_eval_with_an_end_of_options": "eval -- rm -rf x",
    "by_coprocess": "coproc rm -rf x; wait",
    "timed_and_negated": "time -p ! rm -rf x",
}


@pytest.fixture
def shells(tmp_path: Path) -> RealShells:
    return RealShells(tmp_path)


@pytest.mark.parametrize("disguise", DISGUISES)
def test_a_denied_command_is_never_allowed(disguise: str, shells: RealShells) -> None:
    text = DISGUISES[disguise]
    assert shells.runs_rm_rf(text), "the shell does not run this: the disguise proves nothing"
    assert BROKER.judge_text(text).decision.action in {"deny", "isolate"}


@pytest.mark.parametrize(
    "text",
    [
        "echo 'rm -rf x'",
        "cat <<'E'\nrm -rf x\n$(rm -rf x)\nE\n",
        "true # rm -rf x",
        "[[ 'rm -rf x' == rm* ]]",
        "x='rm -rf x'",
        "echo rm -rf x",
        "case rm in -rf) ;; esac",
    ],
)
def test_what_only_speaks_of_a_denied_command_is_allowed(text: str, shells: RealShells) -> None:
    assert not shells.runs_rm_rf(text)
    assert BROKER.judge_text(text).decision.action == "allow"


@pytest.mark.parametrize(
    "text",
    [
        "((rm -rf x))",
        "[[ a || rm -rf x ]]",
        "echo $'\\'; rm -rf x #'",
        "true &>f rm -rf x",
    ],
)
def test_a_text_that_another_shell_reads_otherwise_is_not_allowed_for_it(
    text: str, shells: RealShells
) -> None:
    assert not shells.runs_rm_rf(text, "bash")
    assert shells.runs_rm_rf(text, "dash")
    for judged in (BROKER.judge_text(text, posix=True), BROKER.judge_argv(["sh", "-c", text])):
        assert judged.decision.action == "isolate"


@pytest.mark.parametrize("shell", ["bash", "dash"])
def test_nothing_that_is_allowed_runs_what_is_denied(shell: str, shells: RealShells) -> None:
    chance = random.Random(20_240_601)  # noqa: S311 -- the same texts every time
    allowed = ran = 0
    while allowed < 150:
        text = shell_texts.any_text(chance)
        action = BROKER.judge_text(text, posix=shell == "dash").decision.action
        if action == "allow":
            allowed += 1
            assert not shells.runs_rm_rf(text, shell), text
        elif ran < 20 and chance.random() < 0.05:
            ran += shells.runs_rm_rf(text, shell)
    assert ran >= 5, "hardly one of the texts runs anything: they prove nothing"


@THOROUGH
@given(shell_texts.wrapped())
def test_no_wrapping_makes_a_denied_command_allowed(text: str) -> None:
    assert BROKER.judge_text(text).decision.action != "allow"


def _environment(tmp_path: Path) -> dict[str, str]:
    home = tmp_path / "home"
    (home / "config").mkdir(parents=True)
    file = home / "config/policy.yaml"
    file.write_text("cmd_denied: [a]\nmode: enforce\n")
    file.chmod(0o600)
    return {"SUBSTRATE_HOME": os.fspath(home)}


def _project(tmp_path: Path, text: str | None = None) -> Path:
    project = tmp_path / "project"
    project.mkdir()
    if text is not None:
        (project / ".substrate").mkdir()
        (project / ".substrate/policy.yaml").write_text(text)
    return project


def test_a_policy_that_the_agent_wrote_loosens_nothing(tmp_path: Path) -> None:
    environment = _environment(tmp_path)
    project = _project(tmp_path, "mode: observe\ncmd_denied: {replace: [b]}\nnet_allowed: ['*']\n")
    made = load_policy(os.fspath(project), environment)
    assert Broker(made).judge_text("a").decision.action == "deny"
    assert not made.allowed_domains()
    assert len(made.refused) == 3
    # What tightens holds.
    assert Broker(made).judge_text("b").decision.action == "deny"


@pytest.mark.parametrize("name", [".substrate", ".substrate/policy.yaml"])
def test_a_link_in_the_project_is_not_followed_to_a_policy(tmp_path: Path, name: str) -> None:
    environment = _environment(tmp_path)
    project = _project(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "policy.yaml").write_text("cmd_denied: [b]\n")
    if name == ".substrate":
        (project / name).symlink_to(elsewhere)
    else:
        (project / ".substrate").mkdir()
        (project / name).symlink_to(elsewhere / "policy.yaml")
    with pytest.raises(RefusedError, match="symbolic link"):
        load_policy(os.fspath(project), environment)
    (project / name).unlink()
    assert load_policy(os.fspath(project), environment).word("mode") == "enforce"


def test_a_pipe_in_place_of_the_policy_does_not_hang(tmp_path: Path) -> None:
    environment = _environment(tmp_path)
    project = _project(tmp_path, "")
    (project / ".substrate/policy.yaml").unlink()
    os.mkfifo(project / ".substrate/policy.yaml")
    answers: list[BaseException] = []

    def load() -> None:
        try:
            load_policy(os.fspath(project), environment)
        except PolicyError as error:
            answers.append(error)

    thread = threading.Thread(target=load, daemon=True)
    thread.start()
    thread.join(30)
    assert not thread.is_alive()
    assert "not a regular file" in str(answers[0])


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n",
        "cmd_denied: !!python/object/apply:os.system ['touch /tmp/owned']\n",
        "cmd_denied: [" + "x," * 100_000 + "]\n",
        "[" * 100_000,
        "x" * 1_000_000,
    ],
    ids=["bomb", "object", "entries", "depth", "size"],
)
def test_a_policy_cannot_make_objects_or_grow(tmp_path: Path, text: str) -> None:
    environment = _environment(tmp_path)
    project = _project(tmp_path, text)
    with pytest.raises(PolicyError):
        load_policy(os.fspath(project), environment)


@requires("root")
def test_a_policy_of_somebody_else_is_not_the_persons(tmp_path: Path) -> None:
    environment = _environment(tmp_path)
    file = tmp_path / "home/config/policy.yaml"
    assert load_policy(None, environment).files
    os.chown(file, 65534, 65534)
    with pytest.raises(RefusedError, match="belongs to uid 65534"):
        load_policy(None, environment)
