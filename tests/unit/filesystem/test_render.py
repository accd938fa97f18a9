"""What people see of a diff."""

from __future__ import annotations

import base64
import json
import os
from typing import TYPE_CHECKING

import jsonschema
import pytest

from substrate.filesystem.diff import diff_layer
from substrate.filesystem.entries import Entry, make_diff
from substrate.filesystem.render import change_lines, name_status_lines, stat_line
from substrate.filesystem.risky import leaves_project, risky_reasons
from substrate.jsontext import dumps
from substrate.printable import quote
from tests.support.source import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from substrate.filesystem.entries import FsDiff


def status(size: int = 0, mode: int = 0o100644) -> os.stat_result:
    return os.stat_result((mode, 1, 1, 1, 0, 0, size, 0, 0, 0))


def entry(change: str, path: str, kind: str = "file", size: int = 0) -> Entry:
    return Entry(change, path, kind, status(size))


def example() -> FsDiff:
    renamed = entry("rename", "new name")
    renamed.origin = "old"
    risky = entry("mod", "run", size=2000)
    risky.size_before, risky.kind_before, risky.risky = 500, "file", ("setuid",)
    return make_diff(
        [
            risky,
            entry("write", "folder", "dir"),
            entry("write", "folder/a", size=10),
            entry("delete", "gone", size=7),
            entry("meta", "mode"),
            entry("touched", "same"),
            renamed,
        ]
    )


def test_each_change_is_one_line() -> None:
    assert list(change_lines(example())) == [
        "+ folder/",
        "+ folder/a",
        "- gone",
        "m mode",
        "> old -> new name",
        "~ run  ! setuid",
    ]
    assert ". same" in change_lines(example(), touched=True)


def test_colour_only_by_request() -> None:
    assert not any("\x1b" in line for line in change_lines(example()))
    assert "\x1b[31m- gone\x1b[0m" in change_lines(example(), colour=True)


def test_name_status_and_totals() -> None:
    assert list(name_status_lines(example())) == [
        "A\tfolder",
        "A\tfolder/a",
        "D\tgone",
        "T\tmode",
        "R\told\tnew name",
        "M\trun",
    ]
    assert (
        stat_line(example())
        == "2 new, 1 modified, 1 deleted, 1 renamed, 1 metadata, 1 risky (+1.5 kB, -7 B)"
    )
    assert stat_line(make_diff([entry("touched", "same")])) == "no changes"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("plain name", "plain name"),
        ("été", "été"),
        ("a\nb\tc\\d", "a\\nb\\tc\\\\d"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("\udcff\udc80", "\\xff\\x80"),
        ("\x85\u202eright", "\\u0085\\u202eright"),
        ("\U000e0001", "\\U000e0001"),
    ],
)
def test_names_cannot_move_the_terminal(name: str, shown: str) -> None:
    assert quote(name) == shown


@pytest.mark.parametrize(
    ("path", "kind", "mode", "target", "reasons"),
    [
        ("src/a.py", "file", 0o644, "", ()),
        (".git/hooks/pre-commit", "file", 0o755, "", ("git-hook",)),
        ("sub/.git/config", "file", 0o644, "", ("git-config",)),
        (".GIT/modules/x/config", "file", 0o644, "", ("git-config",)),
        (".git/objects/aa/bb", "file", 0o444, "", ()),
        ("sub/.git", "file", 0o644, "", ("git-config",)),
        (".gitmodules", "file", 0o644, "", ("git-config",)),
        (".github/workflows/ci.yml", "file", 0o644, "", ("ci-configuration",)),
        (".github/README.md", "file", 0o644, "", ()),
        (".gitlab-ci.yml", "file", 0o644, "", ("ci-configuration",)),
        ("home/.bashrc", "file", 0o644, "", ("shell-start-file",)),
        (".vscode/tasks.json", "file", 0o644, "", ("editor-or-tool-runs-it",)),
        (".envrc", "file", 0o644, "", ("editor-or-tool-runs-it",)),
        (".substrate/policy.yaml", "file", 0o644, "", ("policy",)),
        ("tool", "file", 0o4755, "", ("setuid",)),
        ("tool", "file", 0o2755, "", ("setgid",)),
        ("shared", "dir", 0o2755, "", ()),
        ("null", "chardev", 0o666, "", ("device-node",)),
        ("a/link", "symlink", 0o777, "../b", ()),
        ("a/link", "symlink", 0o777, "../../b", ("symlink-leaves-project",)),
        ("link", "symlink", 0o777, "/etc", ("symlink-leaves-project",)),
    ],
)
def test_risky_changes_say_why(
    path: str, kind: str, mode: int, target: str, reasons: tuple[str, ...]
) -> None:
    assert risky_reasons(path, kind, mode, target) == reasons


def test_dots_after_a_name_may_lead_anywhere() -> None:
    assert leaves_project("link", "folder/../x")
    assert not leaves_project("a/b/link", "./.././x")


def test_json_matches_its_schema_and_keeps_bytes(tmp_path: Path) -> None:
    upper, lower = tmp_path / "upper", tmp_path / "lower"
    upper.mkdir()
    lower.mkdir()
    (upper / "\udcff").touch()
    (upper / "link").symlink_to("/\udcfe")
    (lower / "a").write_text("1")
    (upper / "a").write_text("2")
    (upper / "run").touch(0o755)
    diff = diff_layer(str(upper), str(lower), "user.overlay.")
    text = dumps(diff.to_json(touched=True))
    found = json.loads(text)
    schema = json.loads((ROOT / "schemas" / "fs-diff.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(found, schema)
    assert found["writes"] == ["link", "run", "\udcff"]
    assert found["mods"] == ["a"]
    by_path = {item["path"]: item for item in found["entries"]}
    assert base64.b64decode(by_path["\udcff"]["path_base64"]) == b"\xff"
    assert base64.b64decode(by_path["link"]["target_base64"]) == b"/\xfe"
    assert by_path["link"]["risky"] == ["symlink-leaves-project"]
    assert "path_base64" not in by_path["a"]
