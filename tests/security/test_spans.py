"""Spans of a hostile payload: no layer within reach, no write into one that is sealed, no lie."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.attack import ATTACK, UNCONFINED, with_capabilities
from tests.support.features import requires
from tests.support.spans import AT, Session

if TYPE_CHECKING:
    from tests.support.runtime import Runtime

pytestmark = requires(*ATTACK)

FILES = {"a": "one\n", "d/b": "two\n"}
ADMIN: dict[str, Any] = UNCONFINED | {"process": with_capabilities("CAP_SYS_ADMIN")}


def test_no_layer_can_be_named_from_inside_a_span(any_runtime: Runtime) -> None:
    session = Session(any_runtime, FILES)
    session.span("s1", "echo secret >mine").ok()
    home = session.runtime.home
    script = f"""
grep -c {home} /proc/self/mountinfo /proc/self/mounts /proc/1/mountinfo
ls -d {home} {session.data} {session.data}/layers/1.s1/upper 2>&1 | grep -v 'cannot'
ls -d /proc/1/root/{home} 2>&1 | grep -v 'cannot'
ls -l /proc/self/fd /proc/1/fd 2>/dev/null | grep -e layers -e {home} -e upper
find / -xdev -name upper -not -path '/usr/*' -not -path '/proc/*' 2>/dev/null
cat mine
"""
    told = session.span("s2", script).ok().stdout.splitlines()
    counts = [line.rpartition(":")[2] for line in told if ":" in line]
    # Nothing but the counts, and the positive control.
    assert set(counts) == {"0"}
    assert [line for line in told if ":" not in line] == ["secret"]


@requires("root")
def test_below_the_layer_of_a_span_there_is_no_other_to_be_uncovered(runtime: Runtime) -> None:
    session = Session(runtime, FILES, bundle=ADMIN)
    script = f"cd /; umount -l {AT} && ls -A {AT}; touch {AT}/x; umount {AT}; ls -A {AT}"
    session.span("s1", f"cd {AT}; touch mine; {script}")
    assert session.lines("s1") == ["+ mine"]
    assert session.lines() == ["+ mine"]
    assert os.listdir(session.data / "layer/upper") == []


@requires("root")
@pytest.mark.parametrize("wrap", ["unshare -m", "unshare -Um", "setsid", "unshare -mp --fork"])
def test_process_left_behind_in_whatever_namespaces_writes_into_no_sealed_layer(
    runtime: Runtime, wrap: str
) -> None:
    session = Session(runtime, FILES, bundle=ADMIN)
    lurker = "while :; do echo x >>written; sleep 0.02; done"
    # It tells when it is there: a layer without anybody in it may be sealed.
    begun = f"{wrap} sh -c 'touch there; {lurker}' >/dev/null 2>&1 &"
    wait = "for i in $(seq 200); do [ -e there ] && exit; sleep 0.05; done; exit 1"
    session.span("s1", f"chmod 777 .; {begun} {wait}").ok()
    session.span("s2", "echo y >other").ok()
    assert session.record("s2")["attribution"] == "shared"
    assert len(session.layers()) == 1


def test_open_file_of_an_ended_span_keeps_its_layer_from_being_sealed(
    any_runtime: Runtime,
) -> None:
    session = Session(any_runtime, FILES)
    # No process has the layer as its project any more, but one has a file of it open.
    script = "exec 5>>held; cd /; (sleep 3; echo late >&5) >/dev/null 2>&1 &"
    session.span("s1", script).ok()
    session.span("s2", "true").ok()
    assert session.record("s2")["attribution"] == "shared"


def test_whiteouts_and_marks_that_a_payload_makes_are_its_own_files(any_runtime: Runtime) -> None:
    session = Session(any_runtime, FILES)
    forge = """
import os, stat
def tried(action, *arguments):
    try:
        action(*arguments)
    except OSError:
        pass
os.mkdir("made")
for path in ("d", "made", "a", "."):
    for space in ("trusted", "user"):
        for name, value in (
            ("opaque", b"y"), ("opaque", b"x"), ("whiteout", b"y"), ("metacopy", b""),
            ("redirect", b"/../../etc"), ("redirect", b"/a"), ("origin", b"x"), ("nlink", b"U+9"),
        ):
            tried(os.setxattr, path, f"{space}.overlay.{name}", value)
tried(os.mknod, "d/c", 0o644 | stat.S_IFCHR, os.makedev(0, 0))
tried(os.mknod, "lurker", 0o644 | stat.S_IFCHR, os.makedev(0, 0))
open("made/b", "w").close()
"""
    session.span("s1", f"python3 -c '{forge}'").ok()
    seen = session.span("s2", "cat a d/b; ls d made; touch after").ok().stdout
    assert seen == "one\ntwo\nd:\nb\n\nmade:\nb\n"
    told = session.diff("s1")
    assert {"made", "made/b"} <= set(told["writes"])
    assert not told["deletes"]
    assert session.diff("s2")["writes"] == ["after"]
    assert not session.diff()["deletes"]


def test_place_of_the_project_cannot_be_taken_by_another_directory(any_runtime: Runtime) -> None:
    at = "/outer/inner/work"
    session = Session(any_runtime, FILES, at=at)
    session.runtime("exec", "--cwd", "/", "w", "sh", "-c", "true").ok()
    moves = (
        "mv /outer/inner /outer/x; mkdir -p /outer/inner/work;"
        "mv /outer /moved; ln -s /etc /outer; mv /outer/inner/work /w; true"
    )
    session.runtime("exec", "--span", "s1", "--cwd", "/", "w", "sh", "-c", moves).ok()
    result = session.runtime("exec", "--span", "s2", "--cwd", "/", "w", "sh", "-c", f"touch {at}/x")
    # Either the place is as it was, or nobody is let in.
    if result.status == 0:
        assert session.lines("s2") == ["+ x"]
    else:
        assert "show the span's layer" in result.stderr
    assert os.listdir(session.data / "layer/upper") == []


def test_replacing_everything_in_the_root_of_the_project_is_told_exactly(
    any_runtime: Runtime,
) -> None:
    session = Session(any_runtime, FILES)
    session.span("s1", "rm -rf a d; mkdir a; echo x >a/b; ln -s /etc d; echo y >.hidden").ok()
    session.span("s2", "rm -rf a d .hidden; echo one >a").ok()
    assert session.diff("s1")["mods"] == ["a", "d"]
    assert session.diff("s1")["deletes"] == ["d/b"]
    assert session.diff("s2")["deletes"] == [".hidden", "a/b", "d"]
    assert session.diff("s2")["mods"] == ["a"]
    whole = session.diff()
    assert (whole["writes"], whole["mods"], whole["deletes"]) == ([], [], ["d", "d/b"])


@pytest.mark.parametrize("name", ["new\\nline", "\\033[31m", "-rf", ".wh.a", "a:b,c=d"])
def test_hostile_names_reach_the_diff_of_a_span_unchanged(any_runtime: Runtime, name: str) -> None:
    session = Session(any_runtime, FILES)
    session.span("s1", f"touch -- \"$(printf -- '{name}')\"").ok()
    session.span("s2", f"rm -- \"$(printf -- '{name}')\"").ok()
    plain = name.replace("\\n", "\n").replace("\\033", "\x1b")
    assert session.diff("s1")["writes"] == [plain]
    assert session.diff("s2")["deletes"] == [plain]
    assert not {"\x1b"} & set("".join(session.lines("s1")))
