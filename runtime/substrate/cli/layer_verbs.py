"""The verbs about layers, rows of the table in `options.py`."""

from __future__ import annotations

from substrate.cli.grammar import JSON, NUMBER, TEXT, Operand, Option, Verb

LAYER_VERBS = (
    Verb(
        "diff",
        "Show what a world changed in its project",
        "Lists the files a world wrote, modified, deleted or renamed, compared with the directory"
        " below its layer. PATHs restrict it to these and what is in them.",
        (
            "substrate-runtime diff web",
            "substrate-runtime diff --stat web src",
            "substrate-runtime diff web --json",
        ),
        (Operand("ID"), Operand("PATH", required=False, repeat=True)),
        (
            Option(("--span",), "Show what this span changed.", TEXT, "SPAN"),
            JSON,
            Option(("--stat",), "Print the number of files and bytes instead of the paths."),
            Option(("--name-status",), "Print one letter and the path for each change."),
            Option(("--patch",), "Print a patch of the text files, as `git apply` reads it."),
            Option(
                ("--limit",),
                "Show this many changes, 0 for all; otherwise what the bundle says (maxEntries).",
                NUMBER,
                "N",
            ),
            Option(("--all",), "Include files that were touched and are unchanged."),
        ),
    ),
    Verb(
        "rollback",
        "Drop the layers of later spans",
        "Takes the project back to where it was after POINT, a span or a snapshot, and prints the"
        " spans whose layers went. What they changed is still shown by `diff --span`.",
        ("substrate-runtime rollback web 00f067aa0ba902b7", "substrate-runtime rollback --all web"),
        (Operand("ID"), Operand("POINT", required=False)),
        (Option(("--all",), "Go back to before the first span."),),
    ),
    Verb(
        "snapshot",
        "Name the present state of a world",
        "NAME can be given to `rollback` and `fork --at` later.",
        ("substrate-runtime snapshot web before-upgrade",),
        (Operand("ID"), Operand("NAME")),
    ),
    Verb(
        "fork",
        "Make a second world from a first and its changes",
        "NEW-ID begins with what ID shows, or showed at POINT, a span or a snapshot: the same"
        " bundle, project and layers. It is idle: commands come by `exec`. From there each goes its"
        " own way, and each can be accepted. What runs in ID is not in NEW-ID; while it can write"
        " to what would be inherited, the fork is refused.",
        (
            "substrate-runtime fork web other-try",
            "substrate-runtime fork --at 00f067aa0ba902b7 web before",
        ),
        (Operand("ID"), Operand("NEW-ID")),
        (
            Option(("--at",), "Begin with the state after this span or snapshot.", TEXT, "POINT"),
            JSON,
        ),
    ),
)
