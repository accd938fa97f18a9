"""The fast parser: what each spelling means."""

from __future__ import annotations

import pytest

from substrate.cli.options import RUNTIME
from substrate.cli.parse import Arguments, parse, read_user
from substrate.errors import UsageError


def _parse(line: str) -> Arguments:
    return parse(RUNTIME, line.split())


def _error(line: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        _parse(line)
    return caught.value


def test_podmans_create_is_understood() -> None:
    arguments = _parse(
        "--log-format=json --log /x/oci-log --cgroup-manager disabled create --bundle /b"
        " --pid-file /x/pid --no-pivot --no-new-keyring --preserve-fds 2 --console-socket /s ctr1"
    )
    assert arguments.verb == "create"
    assert arguments.operands == ("ctr1",)
    assert arguments.text("log_format") == "json"
    assert arguments.text("log") == "/x/oci-log"
    assert arguments.text("cgroup_manager") == "disabled"
    assert arguments.text("bundle") == "/b"
    assert arguments.text("pid_file") == "/x/pid"
    assert arguments.text("console_socket") == "/s"
    assert arguments.number("preserve_fds") == 2
    assert arguments.flag("no_pivot")
    assert arguments.flag("no_new_keyring")


def test_containerds_calls_are_understood() -> None:
    exec_ = _parse(
        "--root /r --log /l --log-format json --systemd-cgroup --debug"
        " exec --process /p.json --detach --pid-file /pid --console-socket /s ctr1"
    )
    assert exec_.flag("systemd_cgroup")
    assert exec_.flag("debug")
    assert exec_.flag("detach")
    assert exec_.text("process") == "/p.json"
    assert exec_.operands == ("ctr1",)
    assert _parse("kill --all ctr1 9").operands == ("ctr1", "9")
    assert _parse("ps --format json ctr1").text("format") == "json"
    assert _parse("delete --force ctr1").flag("force")


def test_what_was_not_given_has_its_default() -> None:
    arguments = _parse("create ctr1")
    assert arguments.text("bundle") == "."
    assert arguments.text("log_format") == "text"
    assert arguments.text("root") is None
    assert arguments.number("preserve_fds") is None
    assert arguments.flag("debug") is False
    assert arguments.many("allow_degraded") == ()
    assert _parse("exec ctr1 sh").user("user") is None


@pytest.mark.parametrize(
    "line",
    [
        "create --bundle /b x",
        "create --bundle=/b x",
        "create -b /b x",
        "create -b/b x",
        "create x --bundle /b",
        "create --bundle /a x -b /b",
        "create --bundle /b -- x",
    ],
)
def test_every_spelling_of_a_value_means_the_same(line: str) -> None:
    arguments = _parse(line)
    assert (arguments.text("bundle"), arguments.operands) == ("/b", ("x",))


def test_flags_of_one_letter_can_be_joined() -> None:
    arguments = _parse("exec -dte A=1 -eB=2 x sh")
    assert arguments.flag("detach")
    assert arguments.flag("tty")
    assert arguments.many("env") == ("A=1", "B=2")


def test_options_may_follow_the_operands_of_verbs_without_command() -> None:
    assert _parse("delete x --force").flag("force")
    kill = _parse("kill x --all 15")
    assert kill.flag("all")
    assert kill.operands == ("x", "15")
    assert _parse("diff x src --json").flag("json")


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("exec x ls -l --all", ("ls", "-l", "--all")),
        ("exec x -- ls --", ("ls", "--")),
        ("exec -- x ls", ("ls",)),
        ("exec -- x -- ls", ("ls",)),
        ("exec x -- -- ls", ("--", "ls")),
        ("exec x --detach", ("--detach",)),
        ("exec x", ()),
        ("exec x --", ()),
        ("plan sh --json", ("sh", "--json")),
        ("plan -- --json", ("--json",)),
        ("plan -- -- sh", ("--", "sh")),
        ("ps x -ef", ("-ef",)),
    ],
)
def test_the_command_is_taken_as_it_is(line: str, command: tuple[str, ...]) -> None:
    arguments = _parse(line)
    assert arguments.command == command
    assert not arguments.flag("detach")
    assert not arguments.flag("json")


def test_a_value_may_look_like_an_option() -> None:
    assert _parse("create --bundle -- x").text("bundle") == "--"
    assert _parse("create -b --debug x").text("bundle") == "--debug"
    assert _parse("kill x -").operands == ("x", "-")


def test_json_is_understood_before_and_after_the_verb() -> None:
    assert _parse("--json list").flag("json")
    assert _parse("list --json").flag("json")


@pytest.mark.parametrize(
    ("line", "verb", "operands"),
    [
        ("--help", "help", ()),
        ("-h create", "help", ()),
        ("create --help", "help", ("create",)),
        ("create -h --preserve-fds x", "help", ("create",)),
        ("--version", "version", ()),
        ("-v state x", "version", ()),
    ],
)
def test_help_and_version_stand_before_what_is_missing(
    line: str, verb: str, operands: tuple[str, ...]
) -> None:
    arguments = _parse(line)
    assert (arguments.verb, arguments.operands) == (verb, operands)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", "no verb was given"),
        ("creat x", "did you mean create?"),
        ("create --bundel /b x", "did you mean --bundle?"),
        ("create --bundle", "--bundle needs a value"),
        ("create -b", "-b needs a value"),
        ("create", "ID is missing"),
        ("create a b", "'b' is one operand too many"),
        ("create --no-pivot=yes x", "--no-pivot takes no value"),
        ("create --preserve-fds -1 x", "'-1' is not a number"),
        ("create --preserve-fds 1_0 x", "'1_0' is not a number"),
        ("create --preserve-fds ٣ x", "is not a number"),
        ("--log-format xml list", "'xml' is not one of text, json"),
        ("completion csh", "'csh' is not one of bash, zsh, fish"),
        ("state --root /r x", "--root goes before the verb"),
        ("exec -detach x sh", "write --detach with two dashes"),
        ("create -bundle=/b x", "write --bundle with two dashes"),
        ("delete -fx y", "there is no option '-x'"),
    ],
)
def test_a_wrong_line_is_an_error_that_says_what_is_wrong(line: str, words: str) -> None:
    error = _error(line)
    assert words in error.message
    assert error.hint.startswith("substrate-runtime ")
    assert error.status == 2


def test_after_an_error_the_options_before_it_are_known() -> None:
    values: dict[str, str | int | bool | list[str]] = {}
    with pytest.raises(UsageError):
        parse(RUNTIME, ["--log", "/l", "--log-format", "json", "create", "--bogus"], values)
    assert values["log"] == "/l"
    assert values["log_format"] == "json"


@pytest.mark.parametrize(
    ("text", "ids"),
    [("0", (0, None)), ("1000:100", (1000, 100)), ("4294967294", (4294967294, None))],
)
def test_a_user_is_a_uid_and_perhaps_a_gid(text: str, ids: tuple[int, int | None]) -> None:
    assert read_user(text) == ids
    assert _parse(f"exec --user {text} x sh").user("user") == ids


@pytest.mark.parametrize(
    "text",
    [
        *("", "root", "1000:", ":0", "0:0:0", "-1", "+1", " 0", "0x10", "1e3", "1_0", "٣", "0\n"),
        *("4294967295", "4294967296", "0:4294967295", "99999999999999999999"),
    ],
)
def test_anything_else_is_no_user(text: str) -> None:
    with pytest.raises(ValueError, match="is not a numeric UID or UID:GID"):
        read_user(text)
    with pytest.raises(UsageError):
        parse(RUNTIME, ["exec", "--user", text, "x", "sh"])
