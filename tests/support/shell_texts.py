"""Texts for shells: any at all, and those in which `rm -rf` is wrapped in something."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from hypothesis import strategies as st

if TYPE_CHECKING:
    import random

pieces = st.sampled_from(
    [
        *(
            " ",
            "\n",
            "\t",
            ";",
            "&",
            "&&",
            "|",
            "(",
            ")",
            "{",
            "}",
            "[[",
            "]]",
            "$",
            "$(",
            "`",
            "((",
            "))",
        ),
        *(
            "${",
            "'",
            '"',
            "\\",
            "\\\n",
            "#",
            "<<E",
            "E",
            "<<<",
            "<(",
            ">",
            "2>&1",
            "=",
            "a=(",
            "if ",
            "fi",
        ),
        *(
            "then ",
            "do ",
            "done",
            "for x in ",
            "case x in ",
            "esac",
            ";;",
            "f()",
            "!",
            "time ",
            "*",
            "~",
        ),
        *(
            "rm -rf x",
            "sh -c ",
            "eval ",
            "xargs ",
            "env ",
            "sudo ",
            "find . -exec ",
            "\x00",
            "é",
            "\ud800",
        ),
    ]
)

WORDS = (
    "rm",
    "'rm'",
    '"rm"',
    "r'm'",
    "\\rm",
    "$'r\\x6d'",
    "r\\\nm",
    "/bin/rm",
    "./rm",
    "''rm",
    "$0/rm",
)
OPTIONS = (
    "-rf",
    "-fr",
    "-r -f",
    "-Rf",
    "--recursive --force",
    "-r --fo",
    "'-rf'",
    "-vrf",
    "$'-rf'",
    "$X",
)
PREFIXES = (
    *(
        "sudo ",
        "sudo -u x -- ",
        "env A=1 ",
        "env -u A ",
        "nohup ",
        "timeout 5 ",
        "nice -n 2 ",
        "command ",
    ),
    *(
        "exec ",
        "builtin ",
        "time ",
        "! ",
        "stdbuf -o0 ",
        "xargs -n 1 ",
        "busybox ",
    ),
    *(
        "/usr/bin/env ",
        "'env' ",
        "su$do ",
        "sudo --odd ",
        "coproc ",
        "noglob ",
        "setsid -w ",
        "${X} ",
        "find . -exec ",
    ),
)
AROUND = (
    *(
        "( {} )",
        "{{ {}; }}",
        "a; {}",
        "a && {} || b",
        "a | {}",
        "{} & b",
        "if a; then {}; fi",
        "while {}; do a; done",
    ),
    *(
        "for x in a; do {}; done",
        "case a in b) {};; esac",
        "f() {{ {}; }}; f",
        "echo $( {} )",
        'echo "$( {} )"',
    ),
    *(
        "echo <( {} )",
        "x=$( {} ) a",
        "a ${{x:-$( {} )}}",
        "cat <<E\n$( {} )\nE\n",
        "[[ a && $( {} ) ]]",
        "a # b\n{}",
        "a=($( {} ))",
    ),
    *(
        "cat <<'E'\nx\nE\n{}",
        "export A=$( {} )",
        "a 'b' \"c\" \\\n d; {}",
        "! {}",
        "time {}",
        "echo $(( $( {} ) ))",
    ),
)


@st.composite
def wrapped(draw: st.DrawFn) -> str:
    """Return a text that runs `rm -rf`, or may, in some number of wrappings."""
    text = f"{draw(st.sampled_from(WORDS))} {draw(st.sampled_from(OPTIONS))} x"
    for _ in range(draw(st.integers(0, 4))):
        kind = draw(st.integers(0, 3))
        if kind == 0:
            text = draw(st.sampled_from(PREFIXES)) + text if _is_simple(text) else f"( {text} )"
        elif kind == 1:
            text = draw(st.sampled_from(AROUND)).format(text)
        elif kind == 2:
            shell = draw(st.sampled_from(["sh -c ", "bash -ec ", "eval ", "dash -c ", "trap "]))
            text = shell + shlex.quote(text)
        elif "`" not in text and "\\" not in text and "<<" not in text:
            text = f"echo `{text}`"
    return text


def _is_simple(text: str) -> bool:
    return text.split(maxsplit=1)[0] in WORDS or text.startswith(
        ("sh ", "bash ", "eval ", *PREFIXES)
    )


_TOKENS = [
    "rm",
    "rm -rf x",
    "-rf",
    "x",
    "r",
    "m",
    "echo",
    "cat",
    "true",
    ":",
    " ",
    " ",
    " ",
    " ",
    "\n",
    "\n",
    "\t",
    ";",
    "&",
    "&&",
    "||",
    "|",
    "|&",
    "(",
    ")",
    "{",
    "}",
    "{ ",
    "; }",
    "((",
    "))",
    "[[",
    "]]",
    "[",
    "]",
    "$",
    "$(",
    "`",
    "${",
    "}",
    "$((",
    "'",
    '"',
    "\\",
    "\\\n",
    "#",
    " #",
    "<<E",
    "<<'E'",
    "<<-E",
    "\nE\n",
    "\nE",
    "E",
    "\n\tE\n",
    "<<<",
    "<(",
    ">(",
    ">f",
    "<f",
    "2>&1",
    "&>f",
    ">&f",
    "1",
    "=",
    "a=",
    "a[",
    "a=(",
    "+=",
    "if ",
    "then ",
    "else ",
    "fi",
    "do ",
    "done",
    "for x in ",
    "while ",
    "until ",
    "case x in ",
    "esac",
    "x)",
    ";;",
    ";&",
    "in ",
    "function f ",
    "f()",
    "f",
    "!",
    "! ",
    "time ",
    "coproc ",
    "$x",
    "$@",
    "${x",
    "${x:-",
    "${x#",
    "${#x}",
    "$'",
    "\\'",
    "'\\''",
    "\\x72",
    '$"',
    "~",
    "*",
    "?",
    "{a,b}",
    "@(",
    ",",
    "..",
    "-c",
    "sh -c ",
    "bash -c ",
    "dash -c ",
    "env ",
    "nice ",
    "xargs ",
    "eval ",
    "exec ",
    "command ",
    "trap ",
    "$[",
    "=~",
    "==",
    "<",
    "&>>",
    "\\$",
    "\\`",
    '\\"',
    "let ",
    "declare ",
    "export ",
    "local ",
    "alias ",
    "unset ",
    "test ",
    "read ",
    "select x in ",
]
_CORES = [
    "rm -rf x",
    "rm -rf x",
    "rm -rf x",
    "rm -rf x\n",
    "'rm' -rf x",
    "echo `rm -rf x`",
    "$(rm -rf x)",
    "sh -c 'rm -rf x'",
    "cat <<E\n$(rm -rf x)\nE\n",
    "{ rm -rf x; }",
    "(rm -rf x)",
    "if true; then rm -rf x; fi",
    "for x in a; do rm -rf x; done",
    "case x in x) rm -rf x;; esac",
    "[[ a && b ]]",
    "((1))",
    "a=(rm -rf x)",
    "rm() { :; }\n",
    '"$(rm -rf x)"',
    "echo <(rm -rf x)",
    "cat <<'E'\nrm -rf x\nE\n",
    "eval rm -rf x",
    "# rm -rf x\n",
]


def any_text(chance: random.Random) -> str:
    """Return tokens of the shell in any order, with something that runs `rm -rf` among them."""
    parts = [chance.choice(_TOKENS) for _ in range(chance.randint(1, 9))]
    for _ in range(chance.randint(1, 3)):
        parts.insert(chance.randrange(len(parts) + 1), chance.choice(_CORES))
    return "".join(parts)
