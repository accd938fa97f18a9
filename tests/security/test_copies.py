"""Attacks on copies of projects: nothing outside is read, and nothing is hidden from the diff."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from substrate.errors import SubstrateError
from tests.security.test_accept import Exchanger
from tests.support import calls, features
from tests.support.copies import copy_of, diff_of
from tests.support.desks import FILES
from tests.support.overlaid import overlaid_runtime
from tests.support.spans import Session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.runtime import Runtime

pytestmark = features.requires("root", *calls.LAYERED)


@pytest.fixture
def runtime(rootfs: Path) -> Iterator[Runtime]:
    with overlaid_runtime(rootfs) as made:
        made.options = ("--allow-degraded", "overlay")
        yield made


def test_a_directory_exchanged_for_a_link_while_it_is_copied_brings_nothing_from_outside(
    tmp_path: Path,
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    for number in range(20):
        (outside / f"f{number}").write_text("precious", "utf-8")
    project = tmp_path / "project"
    (project / "d").mkdir(parents=True)
    for number in range(20):
        (project / f"d/f{number}").write_text("plain", "utf-8")
    copied = 0
    for attempt in range(40):
        attacker = Exchanger(project / "d", outside)
        # In every fourth round nobody attacks: then all of it must be there.
        if attempt % 4:
            attacker.start()
        copy = Path(tempfile.mkdtemp(dir=tmp_path), "layer")
        try:
            copy_of(str(project), str(copy))
        except SubstrateError:
            assert attempt % 4
        finally:
            attacker.end()
        texts = {
            path.read_text("utf-8")
            for path in copy.rglob("*") if path.is_file() and not path.is_symlink()
            and path.name.startswith("f")
        }  # fmt: skip
        assert "precious" not in texts
        copied += texts == {"plain"}
        if not attempt % 4:
            assert len(list((copy / "copy/d").iterdir())) == 20
    assert copied >= 10


def test_links_that_leave_the_project_are_copied_as_links(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("precious", "utf-8")
    project = tmp_path / "project"
    project.mkdir()
    (project / "out").symlink_to(tmp_path / "secret")
    (project / "folder").symlink_to(tmp_path)
    copy = Path(copy_of(str(project), str(tmp_path / "layer")))
    assert os.readlink(copy / "out") == str(tmp_path / "secret")
    assert os.readlink(copy / "folder") == str(tmp_path)
    assert diff_of(str(tmp_path / "layer"), str(project)).entries == ()


def test_a_fifo_in_a_project_stops_nobody_who_copies_it(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    os.mkfifo(project / "fifo")
    (project / "plain").write_text("x", "utf-8")
    copy = Path(copy_of(str(project), str(tmp_path / "layer")))
    assert (copy / "fifo").is_fifo()
    assert (copy / "plain").read_text("utf-8") == "x"


def test_a_mount_in_the_project_is_not_copied(tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "inner").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", project / "inner"], check=True)
    try:
        (project / "inner/there").write_text("of another file system", "utf-8")
        with pytest.raises(SubstrateError, match="another file system is mounted on inner"):
            copy_of(str(project), str(tmp_path / "layer"))
    finally:
        subprocess.run(["umount", project / "inner"], check=True)
    copy_of(str(project), str(tmp_path / "second"))


def test_set_id_files_and_devices_of_a_copy_have_no_power(runtime: Runtime) -> None:
    session = Session(runtime, FILES)
    os.mknod(session.project / "zero", 0o666 | 0o020000, os.makedev(1, 5))
    (session.project / "zero").chmod(0o666)
    read = session.span("s1", "head -c1 zero; ls -l zero; grep ' /work ' /proc/self/mountinfo")
    assert "Permission denied" in read.stderr
    assert "1,   5" in " ".join(read.stdout.split("\n")) or "1, 5" in read.stdout
    (line,) = [line for line in read.stdout.splitlines() if " /work " in line]
    assert {"nosuid", "nodev"} <= set(line.split()[5].split(","))


def test_nothing_of_the_layer_but_the_copy_can_be_named_from_inside(runtime: Runtime) -> None:
    session = Session(runtime, FILES)
    script = (
        "ls /work/.. ; ls -d /work/../table /work/../copy; cd -P /work/..; pwd;"
        " find / -name 'table' -o -name 'aside' 2>/dev/null | grep layer; cat /work/a"
    )
    seen = session.span("s1", script).ok().stdout.splitlines()
    assert "table" not in seen
    assert "copy" not in seen
    assert not any("layer" in line for line in seen)
    assert seen[-1] == "one"


def test_what_an_overlay_would_take_for_a_whiteout_is_a_file_of_the_worlds(
    runtime: Runtime,
) -> None:
    session = Session(runtime, FILES)
    session.span("s1", "mknod white c 0 0 || touch white; mknod src/x.c c 0 0 || rm src/x.c")
    whole = session.diff()
    changed = {*whole["writes"], *whole["mods"], *whole["deletes"]}
    assert changed == {"white", "src/x.c"}


def test_times_set_back_hide_no_change(runtime: Runtime) -> None:
    session = Session(runtime, FILES)
    script = "cp -p a /tmp/old; printf 'ONE\\n' >a; touch -r /tmp/old a; touch -r src/y.h src"
    session.span("s1", script).ok()
    assert session.diff()["mods"] == ["a"]


def test_what_is_written_through_a_mapping_after_an_accept_is_told(runtime: Runtime) -> None:
    session = Session(runtime, FILES | {"moved": "one\n"})
    copy = session.data / "layer/copy"
    words = ("exec", "--span", "s1", "w", "python3", "-u", "-c", _MAPPER)
    with calls.begin(runtime, *words, stdin=subprocess.PIPE) as mapper:
        assert mapper.stdin is not None
        assert mapper.stdout is not None
        try:
            assert mapper.stdout.readline() == b"1\n"
            runtime("accept", "w").ok()
            assert session.files()["a"] == "1ne\n"
            assert session.diff()["entries"] == []
            for step in (2, 3):
                stamps = [_stamps(copy / name) for name in ("a", "there")]
                mapper.stdin.write(b"go on\n")
                mapper.stdin.flush()
                assert mapper.stdout.readline() == b"%d\n" % step
                # Nothing but their content says that they have changed.
                assert stamps == [_stamps(copy / name) for name in ("a", "there")]
                assert session.diff()["mods"] == ["a", "there"]
                if step == 2:
                    runtime("accept", "w").ok()
                    assert session.files()["a"] == session.files()["there"] == "2ne\n"
                    assert session.diff()["entries"] == []
        finally:
            mapper.kill()
            runtime("exec", "w", "sh", "-c", "kill -9 -1")
    _until_at_rest(runtime)
    runtime("discard", "w").ok()
    assert session.span("s2", "cat a there").stdout == "2ne\n2ne\n"
    assert session.diff()["entries"] == []


def test_what_was_accepted_while_the_world_ran_follows_the_host_again(runtime: Runtime) -> None:
    session = Session(runtime, FILES)
    with calls.begin(runtime, "exec", "w", "sleep", "600") as sleeper:
        runtime("exec", "w", "sh", "-c", "cd /work; echo more >>a; echo x >new").ok()
        runtime("accept", "w").ok()
        sleeper.kill()
        runtime("exec", "w", "sh", "-c", "kill -9 -1")
    _until_at_rest(runtime)
    (session.project / "a").write_text("a person\n", "utf-8")
    assert session.lines() == []
    assert session.span("s1", "cat a new").ok().stdout == "a person\nx\n"
    assert session.lines() == []


# Has two files mapped, one of which is moved, and writes once more to both for each line it reads.
_MAPPER = """
import mmap, os, sys
maps = []
for name in ("a", "moved"):
    fd = os.open(f"/work/{name}", os.O_RDWR)
    maps.append(mmap.mmap(fd, 0))
os.rename("/work/moved", "/work/there")
for step in range(1, 4):
    for one in maps:
        one[0:1] = b"%d" % step
    print(step)
    sys.stdin.readline()
"""


def _stamps(path: Path) -> tuple[int, ...]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _until_at_rest(runtime: Runtime) -> None:
    """Wait until nothing but the world's first process is left."""
    deadline = time.monotonic() + 20
    while len(runtime("ps", "w").ok().stdout.splitlines()) > 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
