"""Trace events for tests: one of each kind, and strategies for any."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from substrate.trace import events
from substrate.trace.events import Origin, to_json

if TYPE_CHECKING:
    from substrate.trace.events import Event

SESSION = "018f3b1c0000700080000123456789ab"
SPAN = "b7ad6b7169203331"
PARENT = "00f067aa0ba902b7"
DIGEST = "ab" * 32
TS = "2026-01-02T03:04:05.123456789Z"
ORIGIN = Origin(SESSION, SPAN, PARENT, "shell", "wld_1", "policy-7", "agent-3")
DIFF = {
    "summary": {"files": 3, "dirs": 0, "bytes_added": 12, "bytes_removed": 4, "risky": 0},
    "writes": ["new.txt"],
    "mods": ["a/b.py"],
    "deletes": ["old.txt"],
    "renames": [["from", "to"]],
    "digests": {"new.txt": DIGEST, "to": "cd" * 32},
}

START = events.CommandStart(
    ORIGIN,
    "/home/u/project",
    ("git", "commit", "-m", "it's \udcff done"),
    DIGEST,
    redacted=1,
    cmd="git commit -m '…'",
    request_sha256=DIGEST,
    policy_decision=events.Decision("isolate", "cmd_isolated[2]", "policy.yaml", "git writes"),
    degraded=("cgroup.memory",),
)
NET = events.NetEvent(
    ORIGIN, "example.com:443/tcp", "allowed", "example.com", "203.0.113.7", 443, "tcp", 2, 10, 20
)
COMPLETE = events.CommandComplete(
    ORIGIN,
    1,
    12.5,
    scopes_used=("example.com:443/tcp",),
    fs_diff=DIFF,
    stdin=events.Stream(0, kind="none"),
    stdout=events.Stream(12, DIGEST),
    resources={"cpu_ms": 3.5, "memory_peak": 1 << 20, "oom_killed": False, "throttled": 0},
    evidence={"rootfs": "sha256:…"},
)
DENIED = events.PolicyEvent(
    Origin(SESSION, "c" * 16),
    events.Decision("deny", "cmd_denied[0]", "policy.yaml", "rm -rf"),
    "/",
    ("rm", "-rf", "/"),
    DIGEST,
)
ALL: tuple[Event, ...] = (
    START,
    NET,
    COMPLETE,
    DENIED,
    events.ReplayEvent(ORIGIN, events.ReplayContext(PARENT, "now"), "differs", ("exit",), 1),
    events.AcceptEvent(ORIGIN, "accept", "partial", (SPAN,), DIFF, "a conflict"),
    events.WorldEvent(Origin(SESSION, world_id="wld_1"), "created", DIGEST),
)


def lines() -> list[dict[str, Any]]:
    """Return every event as a record, one after the other in time."""
    return [to_json(event, f"2026-01-02T03:04:05.{n:09}Z") for n, event in enumerate(ALL, 1)]


UNFINISHED = to_json(
    events.CommandStart(Origin(SESSION, "d" * 16, SPAN), "/", ("make",), DIGEST), TS
)


def stream() -> list[dict[str, Any]]:
    """Return every event as a record, and a command whose end is not on record."""
    return [*lines(), UNFINISHED]


def finished(start: events.CommandStart) -> list[dict[str, Any]]:
    """Return the two records of a command that changed some files."""
    complete = events.CommandComplete(start.origin, 0, 1.5, fs_diff=DIFF)
    return [to_json(start, TS), to_json(complete, TS)]


# Text as it comes out of file names and words: any character, and bytes that are no UTF-8.
any_text = st.text(
    st.one_of(
        st.characters(codec="utf-8"), st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF)
    )
)


def origins() -> st.SearchStrategy[Origin]:
    """Return any origin."""
    spans = st.integers(1, 2**64 - 1).map(lambda number: f"{number:016x}")
    sessions = st.integers(1, 2**128 - 1).map(lambda number: f"{number:032x}")
    names = st.none() | any_text
    return st.builds(Origin, sessions, spans, st.none() | spans, any_text, names, names, names)


def starts() -> st.SearchStrategy[events.CommandStart]:
    """Return any announced command."""
    return st.builds(
        events.CommandStart,
        origins(),
        any_text,
        st.lists(any_text, max_size=4).map(tuple),
        st.just(DIGEST),
        argv_omitted=st.integers(0, 9),
        redacted=st.integers(0, 9),
        cmd=st.none() | any_text,
        policy_decision=st.none()
        | st.builds(
            events.Decision,
            st.sampled_from(["allow", "isolate", "deny", "would_deny"]),
            st.none() | any_text,
        ),
        degraded=st.lists(any_text, max_size=2).map(tuple),
    )
