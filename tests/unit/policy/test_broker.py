from __future__ import annotations

import pytest

from substrate.policy.broker import Broker
from tests.support.policies import DENIES_RM, action, policy, rule

HARMLESS = [
    *("format", 'echo "rm -rf y"', "echo rm -rf y", "rm x", "rm -r x", "rm -f x", "rm -- -rf"),
    *("cat <<'E'\nrm -rf x\nE\n", "# rm -rf x", "grep -rf rm x", "./farm -rf x", "ls | wc -l"),
    *("rm foo*", "rm a{b,c}", "rm -r x[ab]", "rm -r ./*", 'rm -r "./$X"'),
    *(
        "trap - EXIT",
        "PATH=. ls",
        "~/bin/format -rf ~",
        "command -v rm",
        "git commit -m 'rm -rf x'",
        "",
        "x=1",
        "[ -f x ] && make -j4 2>&1 | tail",
    ),
]
DENIED = [
    *("rm -rf y", "cd x && sudo rm -rf y", "rm -fr y", "rm -r -f y", "rm -Rf y", "rm y -rf"),
    *("rm --recursive --force y", "rm --rec --fo y", "rm -r --force y", "rm -rvf -- y", "rm -rf"),
    *("/bin/rm -rf y", "./rm -rf y", "~/bin/rm -rf y", '"$BIN"/rm -rf y', "a | rm -rf y | b"),
]
WRAPPED = [
    *("sudo -u root -- rm -rf y", "env A=b rm -rf y", "env -i -u X rm -rf y", "nohup rm -rf y"),
    *("timeout -k 3 5s rm -rf y", "nice -n 5 rm -rf y", "nice -5 rm -rf y", "exec rm -rf y"),
    *("command rm -rf y", "builtin command rm -rf y", "time -p rm -rf y", "ionice -c3 rm -rf y"),
    *(
        "xargs rm -rf",
        "xargs -0 -n1 rm -rf",
        "xargs -I{} rm -rf {}",
        "echo -rf y | xargs -t rm -rf",
    ),
    *(
        "sh -c 'rm -rf y'",
        "bash -lc 'rm -rf y'",
        "bash -o pipefail -ec 'rm -rf y' x",
        "eval rm -rf y",
    ),
    *("sh -c \"sh -c 'rm -rf y'\"", "bash <<< 'rm -rf y'", "bash <<'E'\nrm -rf y\nE\n"),
    *(
        "find . -exec rm -rf {} \\;",
        "find . -type d -execdir rm -rf {} +",
        "find . -ok sh -c 'rm -rf y' \\;",
    ),
    *("busybox rm -rf y", "toybox rm -rf y", "stdbuf -oL rm -rf y", "setsid -w rm -rf y"),
    *("env -S 'rm -rf y'", "flock f rm -rf y", "flock f -c 'rm -rf y'", "watch rm -rf y"),
    *("trap 'rm -rf y' EXIT", "alias x='rm -rf'", "PAGER='rm -rf y' git log", "su -c 'rm -rf y'"),
    *(
        "chroot / rm -rf y",
        "taskset -c 1 rm -rf y",
        "strace -f -o x rm -rf y",
        "script -c 'rm -rf y'",
    ),
    *("/lib64/ld-linux-x86-64.so.2 /bin/rm -rf y", "sudo FOO=1 nice env B=2 rm -rf y"),
    *(
        'x() { rm -rf "$1"; }',
        "export PAGER='rm -rf y'",
        "sudo --odd rm -rf y",
        "parallel rm -rf ::: y",
    ),
]
UNJUDGED = [
    *(
        "$X foo",
        '"$X" -rf y',
        "`echo rm` -rf y",
        "r? -rf y",
        "/bin/r[m] -rf y",
        "{rm,-rf,y}",
        "$X/rm y",
    ),
    *("rm $X", 'rm "$X" y', "rm -r$X y", "rm -r *", "rm $(a)", "xargs rm", 'rm "$@"', "rm -r [a]*"),
    *(
        'sh -c "$X"',
        "sh",
        "bash -s",
        "echo rm -rf y | sh",
        "sh /dev/stdin",
        "bash <(echo rm)",
        "sh $X",
    ),
    *(
        "eval $X",
        ". /dev/stdin",
        "source <(a)",
        "zsh -c 'rm -rf y'",
        "fish -c x",
        "bash --rcfile x",
    ),
    *("alias x=rm", 'x() { rm "$@"; }', "PROMPT_COMMAND=$x", "PS4='$(x)' a", "BASH_ENV=x sh y"),
    *(
        "fc -s rm",
        "hash -p /bin/rm x",
        "mapfile -C x y",
        "bind -x a",
        "enable -f x y",
        "test -v 'a[$(rm)]'",
    ),
    *(
        "sudo $X rm y",
        "xargs --odd rm",
        "nsenter -t 1 rm y",
        "find . $X rm y",
        "su root",
        "env $X a",
    ),
    *(
        "if",
        "a 'b",
        "a\rb",
        "a ${x@P}",
        "((a) )",
        "declare $X=1",
        "env -S 'a${B}'",
        'find . "$X" a \\;',
    ),
]


@pytest.mark.parametrize("text", HARMLESS)
def test_what_only_looks_denied_is_allowed(text: str) -> None:
    assert action(text) == "allow"


@pytest.mark.parametrize("text", DENIED)
def test_a_denied_command_is_denied_however_it_is_spelt(text: str) -> None:
    assert rule(text) == "cmd_denied:rm -rf *"
    assert action(text) == "deny"


@pytest.mark.parametrize("text", WRAPPED)
def test_a_denied_command_is_denied_through_what_runs_it(text: str) -> None:
    assert action(text) == "deny"


@pytest.mark.parametrize("text", UNJUDGED)
def test_what_cannot_be_judged_is_isolated(text: str) -> None:
    assert action(text) == "isolate"
    assert rule(text).startswith("unjudged:")


@pytest.mark.parametrize("text", UNJUDGED)
def test_what_cannot_be_judged_is_denied_when_the_policy_says_so(text: str) -> None:
    assert action(text, DENIES_RM + "cmd_unjudged: deny\n") == "deny"


def test_observe_mode_denies_nothing_and_says_what_it_would() -> None:
    observing = DENIES_RM + "mode: observe\ncmd_unjudged: deny\n"
    assert action("rm -rf y", observing) == "would_deny"
    assert action("$X", observing) == "would_deny"
    assert action("ls", observing) == "allow"


def test_an_isolated_command_is_isolated_and_denying_is_stronger() -> None:
    both = 'cmd_isolated: [npm publish]\ncmd_denied: ["npm publish --force *"]\n'
    assert action("npm publish x", both) == "isolate"
    assert rule("npm publish x", both) == "cmd_isolated:npm publish"
    assert action("npm publish --force", both) == "deny"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("git status", "allow"),
        ("git status -s", "isolate"),
        ("git log --oneline", "allow"),
        ("/usr/bin/git log", "allow"),
        ("ls -al x", "allow"),
        ("ls -la", "allow"),
        ("./git log", "isolate"),
        ("git -c core.pager=x log", "isolate"),
        ("git $X", "isolate"),
        ("make", "isolate"),
        ("git log | make", "isolate"),
        ("git log $X", "allow"),
        ("sudo git log", "isolate"),
        ("PATH=. git log", "isolate"),
        ("export PATH=.; git log", "isolate"),
        ("A=1 git log", "allow"),
    ],
)
def test_with_a_list_of_allowed_commands_all_others_are_isolated(text: str, expected: str) -> None:
    assert action(text, 'cmd_allowed: [git status, "git log *", "ls -la *"]\n') == expected


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("git push", "git push origin main", "deny"),
        ("git push", "git -C x push", "deny"),
        ("git push", "git --no-pager push", "deny"),
        ("git push", "git -c a=b --git-dir c push", "deny"),
        ("git push", "git --unheard-of x push", "isolate"),
        ("git push", "git commit -m push", "allow"),
        ("git push", "git stash push", "allow"),
        ("git push --force *", "git push -f", "deny"),
        ("git push --force *", "git push --force-with-lease", "allow"),
        ("git push --force *", "git push", "allow"),
        ("rm -rf /", "rm -rf //", "deny"),
        ("rm -rf /", "rm -rf /usr/..", "deny"),
        ("rm -rf /", "rm -rf /tmp/x", "allow"),
        ("rm -rf /", "rm -rf x /", "allow"),
        ("rm -rf * /", "rm -rf x / y", "deny"),
        ("rm -rf ~", "rm -rf ~/", "deny"),
        ("rm -rf /", 'rm -rf "/$X"', "isolate"),
        ("rm -rf /", 'rm -rf "a$X"', "allow"),
        ("find * -delete", "find . -name '*.py' -delete", "deny"),
        ("find * -delete", "find . -depth -name x", "allow"),
        ("mkfs*", "mkfs.ext4 /dev/sda", "deny"),
        ("shutdown", "shutdown now", "deny"),
        ("/usr/bin/curl *", "curl x", "deny"),
        ("/usr/bin/curl *", "./curl x", "allow"),
        ("curl * http://*", "curl -s http://a", "deny"),
        ("docker run *", "docker --context x run y", "isolate"),
        ("*", "anything", "deny"),
    ],
)
def test_patterns_match_name_options_and_operands(pattern: str, text: str, expected: str) -> None:
    assert action(text, f"cmd_denied: [{pattern!r}]\n") == expected


def test_an_exact_argv_is_judged_without_a_shell() -> None:
    broker = Broker(policy(DENIES_RM))
    for argv in (["rm", "-rf", "y"], ["sudo", "rm", "-rf", "y"], ["sh", "-c", "rm -rf y"]):
        assert broker.judge_argv(argv).decision.action == "deny"
    assert (
        broker.judge_argv(["find", ".", "-exec", "rm", "-rf", "{}", ";"]).decision.action == "deny"
    )
    for argv in (["echo", "$(rm -rf y)"], ["rm", "*"], ["ls", "a\nb"], []):
        assert broker.judge_argv(argv).decision.action == "allow"


def test_names_of_the_session_are_judged_by_what_they_run() -> None:
    broker = Broker(policy(DENIES_RM))
    names = {"x": 'rm "$@"', "wipe": "rm -rf .", "ls": 'ls --color "$@"'}
    assert broker.judge_text("x -rf y", names).decision.action == "deny"
    assert broker.judge_text("sudo wipe", names).decision.action == "deny"
    assert broker.judge_text("ls", names).decision.action == "allow"


def test_a_decision_names_its_rule_and_its_source() -> None:
    judgement = Broker(policy(DENIES_RM)).judge_text("cd x && sudo rm -rf y")
    decision = judgement.decision.to_json()
    assert decision["rule"] == "cmd_denied:rm -rf *"
    assert decision["source"] == {
        "layer": "user",
        "file": "/home/u/policy.yaml",
        "path": "$.cmd_denied[0]",
        "line": 1,
    }
    assert decision["command"] == "rm -rf y"
    assert decision["reason"] == "'rm -rf y' (through sudo) is 'rm -rf *'"
    assert [part.action for part in judgement.parts] == ["allow", "allow", "deny"]


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("r old", "deny"), ("nested old", "deny"), ("super rm -rf y", "deny"),
        ("super r y", "deny"), ("gentle rm -rf y", "deny"), ("clean", "deny"),
        ("super ls", "allow"), ("gentle ls", "allow"),
        ('super "$X" y', "isolate"), ("plain file", "allow"), ("super --odd rm x", "isolate"),
    ],
)  # fmt: skip
def test_an_alias_is_judged_with_what_is_typed_behind_it(text: str, action: str) -> None:
    definitions = {
        "r": 'rm -rf "$@"', "nested": 'r "$@"', "super": 'sudo "$@"', "gentle": 'nice -n 5 "$@"',
        "plain": 'rm "$@"', "clean": "{ \n    echo begin;\n    r old\n}",
    }  # fmt: skip
    broker = Broker(policy('cmd_denied: ["rm -rf *"]\n'))
    assert broker.judge_text(text, definitions).decision.action == action
