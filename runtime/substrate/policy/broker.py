"""Deciding about one command: allow, isolate, deny, and in observe mode would_deny.

Of all that a text would run the strictest answer counts. What cannot be judged is never allowed.
"""

from __future__ import annotations

from substrate.policy.commandwords import given_words
from substrate.policy.merge import ALSO_ALLOWED
from substrate.policy.patterns import MAYBE, NO, YES, Pattern, covers, parse_pattern, stops
from substrate.policy.syntax import UNKNOWN, Fault
from substrate.policy.unwrapping import Call, Unwrapper, program_name
from substrate.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from substrate.policy.effective import Policy
    from substrate.policy.provenance import Source, Sourced

ALLOW, ISOLATE, DENY, WOULD_DENY = "allow", "isolate", "deny", "would_deny"
DENIED_STATUS = 126
LONGEST_SHOWN = 200


@record
class Decision:
    """What is decided, by which rule, and where that rule was written.

    `rule` is stable: the key and the pattern (`cmd_denied:rm -rf *`), or `unjudged:` and why.
    `command` is the part of the text that it is about.
    """

    action: str
    rule: str
    source: Source | None
    reason: str
    command: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the decision as it is recorded."""
        return {
            "action": self.action,
            "rule": self.rule,
            "source": None if self.source is None else self.source.to_json(),
            "reason": self.reason,
            "command": self.command,
        }


@record
class Judgement:
    """A decision, and the answer about every single command that led to it."""

    decision: Decision
    parts: tuple[Decision, ...]


class Broker:
    """Judges commands by one policy; to be kept as long as the policy holds."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._denied = _rules(policy.list("cmd_denied"))
        self._isolated = _rules(policy.list("cmd_isolated"))
        # Each list must allow; None where nobody made one, and all is allowed.
        self._allowed = [
            _rules(policy.values[key])
            for key in ("cmd_allowed", ALSO_ALLOWED)
            if key in policy.values
        ]
        self._deny_unjudged = policy.word("cmd_unjudged") == DENY
        self._observes = policy.word("mode") == "observe"

    def judge_text(
        self, text: str, definitions: Mapping[str, str] | None = None, posix: bool = False
    ) -> Judgement:
        """Judge a shell text.

        `definitions`: aliases and functions of the session, name to the text that they run, an
        alias's with ` "$@"` behind it. `posix`: another shell than bash may read it.
        """
        unwrapper = Unwrapper(definitions or {}, posix)
        unwrapper.text(text)
        return self._judge(unwrapper, text)

    def judge_argv(self, argv: Sequence[str]) -> Judgement:
        """Judge an exact argv, which no shell reads."""
        unwrapper = Unwrapper({})
        if argv:
            unwrapper.argv(tuple(argv))
        return self._judge(unwrapper, " ".join(argv))

    def _judge(self, unwrapper: Unwrapper, text: str) -> Judgement:
        parts = [self._call(call) for call in unwrapper.calls]
        parts += [self._unjudged(fault) for fault in unwrapper.faults]
        if unwrapper.changes_lookup and self._allowed:
            reason = "with another PATH the allowed names are other programs"
            parts.append(self._unjudged(Fault("code-variable", reason, text)))
        if not parts:
            parts.append(Decision(ALLOW, "nothing", None, "it runs no command", _shown(text)))
        strictest = max(parts, key=lambda part: _STRICTNESS[part.action])
        return Judgement(strictest, tuple(parts))

    def _call(self, call: Call) -> Decision:
        shown = _shown(" ".join(word.text for word in call.words))
        name = program_name(call.words[0])
        given = given_words(name or "", call.words[1:])
        possible: Decision | None = None
        for action, rules in ((DENY, self._denied), (ISOLATE, self._isolated)):
            for pattern, entry in rules:
                answer = stops(pattern, call, given)
                if answer == NO:
                    continue
                key = "cmd_denied" if action == DENY else "cmd_isolated"
                if answer == YES:
                    reason = f"{_told(call, shown)} is {pattern.text!r}"
                    return self._decision(action, f"{key}:{pattern.text}", entry, reason, shown)
                if possible is None and answer == MAYBE:
                    reason = f"{_told(call, shown)} may turn out to be {pattern.text!r}"
                    possible = self._unjudged(Fault("unknown-arguments", reason, shown))
        return possible or self._allow(call, shown)

    def _allow(self, call: Call, shown: str) -> Decision:
        rule, entry = "everything", None
        for rules in self._allowed:
            found = next(((p, e) for p, e in rules if covers(p, call)), None)
            if found is None:
                reason = f"{_told(call, shown)} is not among the allowed commands"
                return Decision(ISOLATE, "unlisted", None, reason, shown)
            rule, entry = f"cmd_allowed:{found[0].text}", found[1]
        source = None if entry is None else entry.source
        return Decision(ALLOW, rule, source, f"{_told(call, shown)} is allowed", shown)

    def _unjudged(self, fault: Fault) -> Decision:
        action = DENY if self._deny_unjudged else ISOLATE
        entry = self._policy.values["cmd_unjudged"]
        return self._decision(
            action, f"unjudged:{fault.code}", entry, fault.reason, _shown(fault.text)
        )

    def _decision(
        self, action: str, rule: str, entry: Sourced, reason: str, command: str
    ) -> Decision:
        if action == DENY and self._observes:
            action = WOULD_DENY
        return Decision(action, rule, entry.source, reason, command)


_STRICTNESS = {ALLOW: 0, ISOLATE: 1, WOULD_DENY: 2, DENY: 3}


def _rules(entries: Sequence[Sourced]) -> list[tuple[Pattern, Sourced]]:
    return [(parse_pattern(entry.value), entry) for entry in entries]


def _told(call: Call, shown: str) -> str:
    return f"{shown!r}" if not call.via else f"{shown!r} (through {', '.join(call.via)})"


def _shown(text: str) -> str:
    text = text.replace(UNKNOWN, "…")
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 1] + "…"
