from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from substrate.errors import PolicyError, RefusedError
from substrate.policy.effective import load_policy
from substrate.policy.files import own_places, project_file, read_policy_files

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home/config").mkdir(parents=True)
    return tmp_path / "home"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "project/.substrate").mkdir(parents=True)
    return tmp_path / "project"


def write(path: Path, text: str = "cmd_denied: [a]\n") -> Path:
    path.write_text(text)
    path.chmod(0o644)
    return path


def read(home: Path, project: Path | None = None, given: Path | None = None) -> list[str]:
    found = read_policy_files(
        None if project is None else os.fspath(project),
        {"SUBSTRATE_HOME": os.fspath(home)},
        None if given is None else os.fspath(given),
    )
    return [file.layer for file in found]


def test_files_are_read_weakest_first(home: Path, project: Path) -> None:
    assert read(home, project) == []
    write(home / "config/policy.yaml")
    write(project / ".substrate/policy.yaml")
    given = write(home / "other.yaml")
    assert read(home, project, given) == ["user", "given", "project"]
    assert read(home) == ["user"]


def test_places_follow_the_users_directories(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    own = ("user", "/c/substrate/policy.yaml")
    assert own_places({"XDG_CONFIG_HOME": "/c", "HOME": "/h"})[1] == own
    assert own_places({"HOME": "/h"})[1] == ("user", "/h/.config/substrate/policy.yaml")
    relative = own_places({"XDG_CONFIG_HOME": "c", "HOME": "/h"})
    assert relative[1] == ("user", "/h/.config/substrate/policy.yaml")
    assert relative[0] == ("system", "/etc/substrate/policy.yaml")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert own_places({"HOME": "/root"}) == (("system", "/etc/substrate/policy.yaml"),)


def test_a_given_file_must_be_there(home: Path) -> None:
    with pytest.raises(PolicyError, match="no such file"):
        read(home, None, home / "missing")


def test_a_changed_file_reaches_the_next_policy(home: Path) -> None:
    environment = {"SUBSTRATE_HOME": os.fspath(home)}
    file = write(home / "config/policy.yaml")
    first = load_policy(None, environment)
    # The same size and time: only the content tells them apart.
    status = file.stat()
    write(file, "cmd_denied: [b]\n")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    second = load_policy(None, environment)
    assert [entry.value for entry in second.list("cmd_denied")] == ["b"]
    assert first.policy_id != second.policy_id
    assert second.files[0].digest != first.files[0].digest
    file.unlink()
    assert load_policy(None, environment).list("cmd_denied") == ()


def test_an_own_file_that_others_can_write_is_refused(home: Path) -> None:
    file = write(home / "config/policy.yaml")
    file.chmod(0o666)
    with pytest.raises(RefusedError, match="can be changed by other users") as caught:
        read(home)
    assert caught.value.hint == f"chmod go-w {file}"


def test_a_projects_broken_file_stops_the_run(home: Path, project: Path) -> None:
    write(project / ".substrate/policy.yaml", "cmd_denied: [\n")
    with pytest.raises(PolicyError, match=r"policy\.yaml:"):
        load_policy(os.fspath(project), {"SUBSTRATE_HOME": os.fspath(home)})


def test_a_file_where_the_folder_should_be_is_no_policy_and_says_so(
    home: Path, tmp_path: Path
) -> None:
    (tmp_path / ".substrate").touch()
    with pytest.raises(PolicyError, match="not a directory"):
        read(home, tmp_path)
    assert project_file("/p") == "/p/.substrate/policy.yaml"
