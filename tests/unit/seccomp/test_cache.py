from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from substrate.errors import BundleError
from substrate.seccomp import cache
from substrate.seccomp import compile as compiler
from substrate.seccomp.cache import cached_filter

if TYPE_CHECKING:
    from pathlib import Path

    from substrate.seccomp.compiled import CompiledFilter

PROFILE: dict[str, Any] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": []}
OTHER: dict[str, Any] = {"defaultAction": "SCMP_ACT_LOG", "syscalls": []}


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Return the profiles compiled so far, in order."""
    calls: list[dict[str, Any]] = []
    real = compiler.compile_filter

    def counting(seccomp: dict[str, Any], log_only: bool) -> CompiledFilter:
        calls.append(seccomp)
        return real(seccomp, log_only)

    monkeypatch.setattr(compiler, "compile_filter", counting)
    return calls


def entry(directory: Path) -> Path:
    (file,) = directory.iterdir()
    return file


def test_second_time_is_read_from_disk(tmp_path: Path, compiled: list[dict[str, Any]]) -> None:
    directory = tmp_path / "cache"
    first = cached_filter(PROFILE, False, str(directory))
    assert cached_filter(PROFILE, False, str(directory)) == first
    assert compiled == [PROFILE]
    assert directory.stat().st_mode & 0o777 == 0o700
    assert entry(directory).stat().st_mode & 0o777 == 0o600


def test_profile_mode_and_version_each_have_an_entry_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "cache"
    for seccomp, log_only in ((PROFILE, False), (PROFILE, True), (OTHER, False)):
        cached_filter(seccomp, log_only, str(directory))
    monkeypatch.setattr(cache, "__version__", "999")
    cached_filter(PROFILE, False, str(directory))
    assert len(list(directory.iterdir())) == 4


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "grow", "huge"])
def test_damaged_entry_is_compiled_again_and_replaced(
    tmp_path: Path, compiled: list[dict[str, Any]], damage: str
) -> None:
    directory = tmp_path / "cache"
    good = cached_filter(PROFILE, False, str(directory))
    file = entry(directory)
    content = file.read_bytes()
    file.write_bytes(
        {
            "flip": content[:-1] + bytes([content[-1] ^ 1]),
            "cut": content[:-8],
            "empty": b"",
            "grow": content + bytes(8),
            "huge": content + bytes(1 << 16),
        }[damage]
    )
    assert cached_filter(PROFILE, False, str(directory)) == good
    assert len(compiled) == 2
    assert file.read_bytes() == content


def test_entry_of_another_profile_is_not_taken_for_this_one(
    tmp_path: Path, compiled: list[dict[str, Any]]
) -> None:
    directory = tmp_path / "cache"
    strict = cached_filter(OTHER, False, str(directory))
    content = entry(directory).read_bytes()
    file = directory / cache.cache_key(PROFILE, log_only=False)
    file.write_bytes(content)
    file.chmod(0o600)
    assert cached_filter(PROFILE, False, str(directory)) != strict
    assert len(compiled) == 2


@pytest.mark.parametrize("trap", ["symlink", "readable by others", "directory", "fifo"])
def test_entry_others_may_have_made_is_not_believed(
    tmp_path: Path, compiled: list[dict[str, Any]], trap: str
) -> None:
    directory = tmp_path / "cache"
    good = cached_filter(PROFILE, False, str(directory))
    file = entry(directory)
    outside = tmp_path / "outside"
    if trap == "readable by others":
        file.chmod(0o644)
    else:
        file.rename(outside)
        if trap == "symlink":
            file.symlink_to(outside)
        elif trap == "directory":
            file.mkdir(mode=0o700)
        else:
            os.mkfifo(file, 0o600)
    assert cached_filter(PROFILE, False, str(directory)) == good
    assert len(compiled) == 2
    assert not file.is_symlink()
    # A directory cannot be replaced by a file; nothing half-written stays beside it.
    assert len(list(directory.iterdir())) == 1


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701])
def test_directory_open_to_others_is_not_used(
    tmp_path: Path, compiled: list[dict[str, Any]], mode: int
) -> None:
    directory = tmp_path / "cache"
    directory.mkdir()
    directory.chmod(mode)
    cached_filter(PROFILE, False, str(directory))
    assert list(directory.iterdir()) == []
    assert len(compiled) == 1


def test_directory_of_another_user_a_link_or_none_is_not_used(
    tmp_path: Path, compiled: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = tmp_path / "real"
    real.mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(real)
    cached_filter(PROFILE, False, str(tmp_path / "link"))
    cached_filter(PROFILE, False, str(tmp_path / "missing" / "below"))
    cached_filter(PROFILE, False, "/proc/nowhere")
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    cached_filter(PROFILE, False, str(real))
    assert len(compiled) == 4
    assert list(real.iterdir()) == []


def test_faulty_profile_is_an_error_and_leaves_no_entry(tmp_path: Path) -> None:
    directory = tmp_path / "cache"
    with pytest.raises(BundleError):
        cached_filter({"defaultAction": "?"}, False, str(directory))
    assert list(directory.iterdir()) == []


def test_hit_loads_neither_the_compiler_nor_anything_heavy(tmp_path: Path) -> None:
    directory = str(tmp_path / "cache")
    cached_filter(PROFILE, False, directory)
    program = (
        "import sys, os; before = set(sys.modules)\n"
        "from substrate.seccomp.cache import cached_filter\n"
        "from substrate.seccomp.profiles import load_profile\n"
        f"cached_filter({PROFILE!r}, False, {directory!r}); load_profile('default')\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    path = os.path.dirname(os.path.dirname(os.path.dirname(cache.__file__)))
    loaded = subprocess.run(
        [sys.executable, "-ISc", f"import sys; sys.path.insert(0, {path!r})\n{program}"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    foreign = [name for name in loaded if not name.startswith("substrate")]
    assert foreign == ["__future__", "_blake2", "_json"]
    assert "substrate.seccomp.compile" not in loaded
