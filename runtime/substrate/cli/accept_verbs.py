"""The verbs that decide about a world's changes, rows of the table in `options.py`."""

from __future__ import annotations

from substrate.cli.grammar import JSON, MANY, NUMBER, TEXT, Operand, Option, Verb

_DRY_RUN = Option(("--dry-run",), "Only show what would be done.")

# What both programs take.
ACCEPT_OPTIONS = (
    Option(("--allow-risky",), "Accept risky changes too."),
    Option(("--risky",), "Accept risky changes at PATH. May be given again.", MANY, "PATH"),
    Option(("--theirs",), "Where both sides changed the same, take the world's version."),
    Option(("--ours",), "Where both sides changed the same, keep the host's version."),
    Option(("--force",), "The same as --theirs --allow-risky."),
    _DRY_RUN,
    JSON,
)
DISCARD_OPTIONS = (
    Option(("--span",), "Drop what this span changed, and only that.", TEXT, "SPAN"),
    _DRY_RUN,
    JSON,
)
UNDO_OPTIONS = (
    Option(("--accept",), "Only if this is the number of the last accept.", NUMBER, "N"),
    Option(("--theirs",), "Give up what has been changed since."),
    _DRY_RUN,
    JSON,
)

ACCEPT_VERBS = (
    Verb(
        "accept",
        "Make changes of a world part of its project",
        "Applies what `diff` shows to the real project, all of it or nothing. PATHs (or patterns"
        " like 'src/**/*.c') restrict it to these and what is in them. What the host has changed"
        " meanwhile is a conflict: nothing is applied, and the exit status is 6. What can run code"
        " or reach outside later (git hooks, CI files, set-id bits …) is risky: it needs"
        " --allow-risky or --risky, else nothing is applied, and the exit status is 5.",
        (
            "substrate-runtime accept --dry-run web",
            "substrate-runtime accept web src 'docs/**/*.md'",
            "substrate-runtime accept --risky .github/workflows web",
            "substrate-runtime accept --theirs --json web",
        ),
        (Operand("ID"), Operand("PATH", required=False, repeat=True)),
        ACCEPT_OPTIONS,
    ),
    Verb(
        "discard",
        "Forget changes of a world",
        "Drops what `diff` shows, all of it or that at the PATHs, from the layers of a world whose"
        " processes have ended. The project stays as it is. With --span what one span changed goes,"
        " unless a later one changed the same or goes on from it.",
        (
            "substrate-runtime discard web",
            "substrate-runtime discard web build '**/*.o'",
            "substrate-runtime discard --span 00f067aa0ba902b7 web",
        ),
        (Operand("ID"), Operand("PATH", required=False, repeat=True)),
        DISCARD_OPTIONS,
    ),
    Verb(
        "undo",
        "Take the last accept of a world back",
        "Restores what the last accept has displaced, all of it or nothing; again, and the accept"
        " before is undone. What was accepted is a change of the world again. What has been changed"
        " in the project since is a conflict: nothing is restored, and the exit status is 6.",
        ("substrate-runtime undo web", "substrate-runtime undo --dry-run --json web"),
        (Operand("ID"),),
        UNDO_OPTIONS,
    ),
)
