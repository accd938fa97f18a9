from __future__ import annotations

import hashlib
from typing import Any

import pytest

from substrate.policy.broker import Broker
from substrate.policy.effective import Policy, merge_policy, plain_values
from substrate.policy.explain import show, why
from substrate.policy.files import PolicyFile
from tests.support.policies import policy


def values(made: Policy) -> dict[str, Any]:
    return plain_values(made.values)


def refused(made: Policy) -> list[Any]:
    return [one.value for one in made.refused]


def test_without_files_the_shipped_default_holds() -> None:
    made = policy()
    assert values(made)["mode"] == "enforce"
    assert made.allowed_domains() is None
    assert Broker(made).judge_text("anything at all").decision.action == "allow"
    assert Broker(made).judge_text("$X").decision.action == "isolate"


def test_a_list_adds_and_replace_takes_the_place_of_what_is_weaker() -> None:
    made = policy("cmd_denied: [b]\n", system="cmd_denied: [a]\n")
    assert values(made)["cmd_denied"] == ["a", "b"]
    made = policy("cmd_denied: {replace: [b]}\n", system="cmd_denied: [a]\n")
    assert values(made)["cmd_denied"] == ["b"]
    made = policy("env: {allow: [X]}\n")
    assert {"PATH", "X"} <= set(values(made)["env"]["allow"])
    assert values(policy("env: {allow: {replace: [X]}}\n"))["env"] == {"allow": ["X"]}


def test_of_two_scalars_the_stronger_files_holds() -> None:
    made = policy(
        "mode: observe\nlimits: {pids: 20}\n", system="mode: enforce\nlimits: {pids: 9}\n"
    )
    assert (made.word("mode"), made.limit("pids")) == ("observe", 20)


def test_a_project_can_tighten() -> None:
    made = policy(
        "net_allowed: [github.com, '*.pypi.org']\nlimits: {memory: 2G}\nfs: {expose: [/opt]}\n",
        "mode: enforce\ncmd_unjudged: deny\ncmd_denied: [x]\ncmd_isolated: [y]\n"
        "net_allowed: [files.pypi.org]\nlimits: {memory: 1G, pids: 50}\n"
        "fs: {deny: [.env], readonly: [v], risky: [r], hide: [/etc/ssl], expose: [/opt/a]}\n"
        "env: {allow: [PATH, LC_ALL]}\n",
    )
    held = values(made)
    assert made.refused == ()
    assert held["cmd_denied"] == ["x"]
    assert held["cmd_isolated"] == ["y"]
    assert held["cmd_unjudged"] == "deny"
    assert made.allowed_domains() == ("files.pypi.org",)
    assert held["limits"] == {"memory": 1 << 30, "pids": 50}
    assert held["fs"] == {
        "deny": [".env"],
        "readonly": ["v"],
        "risky": ["r"],
        "expose": ["/opt/a"],
        "hide": ["/etc/ssl"],
    }
    assert held["env"] == {"allow": ["PATH", "LC_ALL"]}


@pytest.mark.parametrize(
    ("user", "project", "key", "value"),
    [
        ("cmd_denied: [a]", "cmd_denied: {replace: []}", "cmd_denied", ["a"]),
        ("cmd_isolated: [a]", "cmd_isolated: {replace: [b]}", "cmd_isolated", ["a", "b"]),
        ("mode: enforce", "mode: observe", "mode", "enforce"),
        ("cmd_unjudged: deny", "cmd_unjudged: isolate", "cmd_unjudged", "deny"),
        ("net_allowed: [a.org]", "net_allowed: [a.org, b.org]", "net_allowed", ["a.org"]),
        ("net_allowed: [a.org]", "net_allowed: ['*']", "net_allowed", ["a.org"]),
        ("net_allowed: [a.org]", "net_allowed: ['a.org:22']", "net_allowed", []),
        ("net_allowed: ['*.a.org']", "net_allowed: [x.y.a.org]", "net_allowed", []),
        ("", "net_allowed: [a.org]", "net_allowed", []),
    ],
)
def test_a_project_cannot_loosen(user: str, project: str, key: str, value: Any) -> None:
    made = policy(user + "\n", project + "\n")
    assert values(made)[key] == value
    if value != ["a.org"] or "b.org" in project:
        assert refused(made)


def test_a_project_cannot_raise_a_limit_or_show_more() -> None:
    made = policy(
        "limits: {memory: 1G}\n",
        "limits: {memory: 2G}\nfs: {expose: [/root]}\nenv: {allow: [SECRET, PATH]}\n",
    )
    assert made.limit("memory") == 1 << 30
    assert values(made)["fs"] == {"expose": []}
    assert made.environment({"SECRET": "x", "PATH": "/bin", "HOME": "/h"}) == {"PATH": "/bin"}
    assert refused(made) == [2 << 30, "/root", "SECRET"]
    assert made.refused[0].to_json()["source"]["line"] == 1


def test_a_command_must_be_allowed_by_the_person_and_by_the_project() -> None:
    made = policy('cmd_allowed: ["git *", "ls *"]\n', 'cmd_allowed: ["git *", "rm *"]\n')
    broker = Broker(made)
    found = {text: broker.judge_text(text).decision.action for text in ("git a", "ls a", "rm a")}
    assert found == {"git a": "allow", "ls a": "isolate", "rm a": "isolate"}
    alone = Broker(policy("", 'cmd_allowed: ["git *"]\n'))
    assert alone.judge_text("rm a").decision.action == "isolate"


def test_a_project_whose_digest_the_person_trusts_may_loosen() -> None:
    project = "net_allowed: [b.org]\nmode: observe\ncmd_denied: {replace: []}\n"
    digest = "sha256:" + hashlib.sha256(project.encode()).hexdigest()
    user = f"cmd_denied: [a]\nnet_allowed: [a.org]\ntrusted_projects: [{digest}]\n"
    made = policy(user, project)
    assert made.allowed_domains() == ("a.org", "b.org")
    assert (made.word("mode"), values(made)["cmd_denied"], made.refused) == ("observe", [], ())
    changed = policy(user, project + "# one byte more\n")
    assert changed.allowed_domains() == ()
    assert changed.word("mode") == "enforce"


def test_every_value_says_where_it_comes_from() -> None:
    made = policy("cmd_denied:\n  - a\n  - b\n", "cmd_denied: [c]\n", system="mode: observe\n")
    rows = {
        (row["key"], str(row["value"])): row["source"] for row in show(made, explain=True)["values"]
    }
    assert rows["cmd_denied", "b"] == {
        "layer": "user",
        "file": "/home/u/policy.yaml",
        "path": "$.cmd_denied[1]",
        "line": 3,
    }
    assert rows["cmd_denied", "c"]["layer"] == "project"
    assert rows["mode", "observe"]["layer"] == "system"
    assert rows["cmd_unjudged", "isolate"]["layer"] == "default"
    assert all(source is not None for source in rows.values())
    assert "values" not in show(made)


def test_show_names_the_files_and_what_was_refused() -> None:
    shown = show(policy("", "mode: observe\n"))
    assert [file["layer"] for file in shown["files"]] == ["system", "user", "project"]
    assert [file["trusted"] for file in shown["files"]] == [True, True, False]
    assert shown["refused"][0]["value"] == "observe"
    assert shown["refused"][0]["reason"].startswith("a project can only tighten")


def test_the_id_is_of_the_values_and_not_of_the_files() -> None:
    first = policy("cmd_denied: [a]\n")
    assert first.policy_id == policy("# other\ncmd_denied:\n - a\n").policy_id
    assert first.policy_id != policy("cmd_denied: [b]\n").policy_id
    assert first.policy_id.startswith("sha256:")


def test_why_answers_with_every_part() -> None:
    made = policy('cmd_denied: ["rm -rf *"]\n')
    answer = why(made, "cd x && sudo rm -rf y")
    assert answer["decision"]["action"] == "deny"
    assert [part["command"] for part in answer["parts"]] == ["cd x", "sudo rm -rf y", "rm -rf y"]
    assert why(made, ["rm", "-rf", "y"])["decision"]["rule"] == "cmd_denied:rm -rf *"
    assert answer["policy_id"] == made.policy_id


def test_a_stronger_file_of_the_persons_own_is_trusted() -> None:
    files = [
        PolicyFile("user", "/u", b"mode: enforce"),
        PolicyFile("given", "/g", b"mode: observe"),
    ]
    assert merge_policy(files).word("mode") == "observe"
