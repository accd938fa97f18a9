from __future__ import annotations

import pytest

from substrate.policy.grammar import read_script
from substrate.policy.syntax import UNKNOWN


def commands(text: str, posix: bool = False) -> list[list[str]]:
    script = read_script(text, posix)
    assert script.faults == ()
    return [[word.text for word in command.words] for command in script.commands if command.words]


def fault(text: str, posix: bool = False) -> str:
    faults = read_script(text, posix).faults
    return faults[0].code if faults else ""


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a b", [["a", "b"]]),
        ("a; b & c\nd && e || f | g |& h", [[x] for x in "abcdefgh"]),
        ("(a; (b)); { c; }", [["a"], ["b"], ["c"]]),
        ("if a; then b; elif c; then d; else e; fi", [["a"], ["b"], ["c"], ["d"], ["e"]]),
        ("while a; do b; done < f; until c; do d; done", [["a"], ["b"], ["c"], ["d"]]),
        ("for x in 1 2 # three\ndo a $x; done", [["a", UNKNOWN]]),
        ("for ((i=0; i<$(a); i++)); do b; done", [["a"], ["b"]]),
        ("select x in 1; do a; done", [["a"]]),
        ("case $(a) in x|y) b;; (z) c;& *) d;; esac", [["a"], ["b"], ["c"], ["d"]]),
        ("f() { a; }; function g { b; }; function h() (c)", [["a"], ["b"], ["c"]]),
        ("! time -p a", [["a"]]),
        ("coproc a b", [["a", "b"]]),
        ("[[ -f $(a) && x =~ ^(b|c)$ ]] && d", [["a"], ["d"]]),
        ("((x = $(a) + 1)) || b", [["a"], ["b"]]),
        ("x=1 y=$(a) b", [["a"], ["b"]]),
        ("x=(1 $(a) # no\n 2) ; b", [["a"], ["b"]]),
        ("export x=(1 2) y=3", [["export", "x=", "y=3"]]),
        ("a >f 2>&1 <g b", [["a", "b"]]),
        ("a <(b) >(c)", [["b"], ["c"], ["a", UNKNOWN, UNKNOWN]]),
        ("a `b \\`c\\``", [["c"], ["b", UNKNOWN], ["a", UNKNOWN]]),
        ("a ${x:-$(b)}", [["b"], ["a", UNKNOWN]]),
        ('a "$(b "$(c)")"', [["c"], ["b", UNKNOWN], ["a", UNKNOWN]]),
        ("a $((1 + $(b)))", [["b"], ["a", UNKNOWN]]),
        ("cat <<E\n$(a) `b`\nE\nc", [["cat"], ["a"], ["b"], ["c"]]),
        ("cat <<'E'; b\n$(a)\nE\nc", [["cat"], ["b"], ["c"]]),
        ("cat <<-E\n\t\tx\n\tE\na", [["cat"], ["a"]]),
        ("cat <<A <<B\nA\nB\na", [["cat"], ["a"]]),
        ("cat <<E\nx \\\n\n y\nE\na", [["cat"], ["a"]]),
        ("a # b; $(c", [["a"]]),
        ("a#b; c", [["a#b"], ["c"]]),
        ("echo a\\\n  b", [["echo", "a", "b"]]),
        ("", []),
        (" \n # nothing\n", []),
    ],
)
def test_every_simple_command_of_a_text_is_found(text: str, found: list[list[str]]) -> None:
    assert commands(text) == found


@pytest.mark.parametrize(
    "written",
    ["rm", "'rm'", '"rm"', "r'm'", "\\rm", "r\\m", "$'rm'", "$'\\x72\\155'", "r\\\nm", "r''m"],
)
def test_quotes_do_not_change_a_word(written: str) -> None:
    assert commands(written) == [["rm"]]


@pytest.mark.parametrize(
    "text",
    [
        *("a $x", 'a "$x"', 'a "$@"', "a *", "a x?", "a [ab]", "a {b,c}", "a {1..3}", "a $((1))"),
        *("a $'\\U110000'", "a $'\\cx'", 'a $"b"', "a ~/$x", "a ${x}", "a $1", "a $?"),
    ],
)
def test_what_only_the_shell_knows_is_unknown(text: str) -> None:
    script = read_script(text, posix=False)
    assert script.faults == ()
    assert not script.commands[-1].words[1].known


def test_unquoted_expansions_may_be_several_words_and_quoted_ones_are_one() -> None:
    words = read_script('a $x "$x" "$@" * "*"', posix=False).commands[0].words
    assert [word.many for word in words] == [False, True, False, True, True, False]


@pytest.mark.parametrize(
    "text",
    [
        *("if a", "a |", "a &&", "(a", "a)", "{ a", "}", "fi", "a 'b", 'a "b', "a `b", "a $(b"),
        *("a ${b", "a \\", "; a", "case x in", "for 1 in", "a <<E\nb", "a <", "x() y", "!(a)b)"),
        *("a $((1) )", "[[ a", "a ${ b; }", "a ${x@P}", "a $[1]", "a[b c]=d e", "coproc N { a; }"),
        *("a\rb", "a\x00b", "a &\\\n& b", "x=(a)b", "a @(b|c)", "a \"${x:-'}'}\"", "a=b if c"),
        *('a "`b \\"c\\"`"', "$(cat <<E\nE\n", "a $(b <<E)\nE\n", "cat <<$x\n$x\n", "i\\\nf a"),
        *("cat <<E\na\\\nE\nE\n", "(cat <<E)\nE\n", "[[ a #b ]]\n]]", "if\\\n a; then b; fi"),
    ],
)
def test_what_is_no_shell_text_or_read_in_two_ways_is_not_read(text: str) -> None:
    assert fault(text) == "syntax"


@pytest.mark.parametrize(
    "text",
    [
        *("((rm -rf x))", "[[ a && rm ]]", "a $'\\'; rm #'", "a &>f rm", "a |& rm", "a=(rm)"),
        *("a <<<b", "a <(b)", 'a $"b"', "function f { a; }", "for ((;;)); do a; done", "a >&f"),
        *("select x in a; do b; done", "coproc a"),
    ],
)
def test_what_another_shell_reads_otherwise_is_not_read_for_it(text: str) -> None:
    assert fault(text) == ""
    assert fault(text, posix=True) == "syntax"


def test_commands_before_an_error_are_found() -> None:
    script = read_script("rm -rf x\nif", posix=False)
    assert [word.text for word in script.commands[0].words] == ["rm", "-rf", "x"]
    assert script.faults


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("( " * 200, "too-deep"),
        ("$(" * 500, "too-deep"),
        ("{ " * 500, "too-deep"),
        ("! " * 5000 + "a", "too-deep"),
        ("a;" * 5000, "too-many"),
        ("a " * 100_000, "too-long"),
    ],
)
def test_size_and_depth_are_bounded(text: str, code: str) -> None:
    assert fault(text) == code


def test_a_substitution_in_a_quoted_subscript_is_noticed() -> None:
    assert fault("test -v 'a[$(rm)]'") == "subscript"
    assert fault("echo 'a[1]' '$(b)'") == ""
