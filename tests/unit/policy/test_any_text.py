"""Whatever the text, there is a decision; and wrapping what is denied never makes it allowed."""

from __future__ import annotations

import shlex

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from substrate.policy.broker import Broker
from tests.support.policies import DENIES_RM, policy
from tests.support.shell_texts import pieces, wrapped

QUICK = settings(
    max_examples=25, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
BROKER = Broker(policy(DENIES_RM))


@QUICK
@given(wrapped())
def test_no_wrapping_makes_a_denied_command_allowed(text: str) -> None:
    decision = BROKER.judge_text(text).decision
    assert decision.action != "allow", decision


@QUICK
@given(wrapped())
def test_what_is_wrapped_in_words_alone_is_allowed(text: str) -> None:
    assert BROKER.judge_text(f"echo {shlex.quote(text)}").decision.action == "allow"


@QUICK
@given(st.lists(pieces, max_size=20).map("".join), st.booleans())
def test_every_text_has_a_decision(text: str, posix: bool) -> None:
    decision = BROKER.judge_text(text, posix=posix).decision
    assert decision.action in {"allow", "isolate", "deny"}
    assert decision.rule
    assert decision.reason


@QUICK
@given(st.lists(pieces, max_size=8))
def test_every_argv_has_a_decision(argv: list[str]) -> None:
    assert BROKER.judge_argv(argv).decision.action in {"allow", "isolate", "deny"}


def test_a_megabyte_is_not_read() -> None:
    for text in ("a " * 500_000, "a;" * 500_000, "$(" * 500_000):
        decision = BROKER.judge_text(text).decision
        assert (decision.action, decision.rule) == ("isolate", "unjudged:too-long")


def test_shells_inside_each_other_are_followed_and_bounded() -> None:
    text = "rm -rf y"
    for _ in range(5):
        text = f"sh -c {shlex.quote(text)}"
    assert BROKER.judge_text(text).decision.action == "deny"
    decision = BROKER.judge_text("sudo " * 200 + "rm -rf y").decision
    assert (decision.action, decision.rule) == ("isolate", "unjudged:too-deep")
