"""What a hostile payload leaves in its layers gets no further than the layers of a fork."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from tests.support import calls
from tests.support.attack import ATTACK
from tests.support.features import requires
from tests.support.spans import AT, Session

if TYPE_CHECKING:
    from tests.support.runtime import Runtime

pytestmark = requires(*ATTACK, "overlayfs.stacked")

FILES = {"a": "one\n", "d/b": "two\n"}


def test_links_of_a_layer_are_copied_and_never_followed(any_runtime: Runtime) -> None:
    session = Session(any_runtime, FILES)
    outside = calls.public_directory(any_runtime, "outside")
    (outside / "file").write_text("dear\n", "utf-8")
    os.chown(outside / "file", any_runtime.uid, any_runtime.gid)
    before = (outside / "file").stat()
    script = (
        f"ln -s {outside}/file f; ln -s {outside} dir; rm -r d; ln -s {outside} d; mkfifo p;"
        f" ln -s / root; ln -s ../../../../../../../.. up; ln f g; touch -h -d @1 f; echo x >new"
    )
    session.span("s1", script).ok()
    other = session.fork()
    assert (outside / "file").stat() == before
    assert sorted(os.listdir(outside)) == ["file"]
    upper = other.data / "layers/1.s1/upper"
    assert os.readlink(upper / "f") == f"{outside}/file"
    assert os.readlink(upper / "d") == str(outside)
    assert stat.S_ISFIFO((upper / "p").lstat().st_mode)
    # The positive control.
    assert (upper / "new").read_text("utf-8") == "x\n"
    assert other.diff() == session.diff()


def test_marks_that_a_payload_forges_mean_nothing_in_a_fork_either(any_runtime: Runtime) -> None:
    session = Session(any_runtime, FILES)
    forge = """
import os
for path in ("d", "a", "made"):
    if path == "made":
        os.mkdir(path)
    for space in ("trusted", "user"):
        for name, value in (
            ("opaque", b"y"), ("redirect", b"/../../etc"), ("metacopy", b""), ("origin", b"x"),
            ("substrate.was", b"/../../../etc"),
        ):
            try:
                os.setxattr(path, f"{space}.overlay.{name}", value)
            except OSError:
                pass
"""
    session.span("s1", f"python3 -c '{forge}'; mv d e").ok()
    other = session.fork()
    assert other.span("s2", "cat a e/b; ls; ls made").ok().stdout == "one\ntwo\na\ne\nmade\n"
    assert other.lines() == session.lines()


def test_fork_is_for_its_owner_alone_and_out_of_reach_of_the_first(any_runtime: Runtime) -> None:
    session = Session(any_runtime, FILES)
    session.span("s1", "echo secret >new").ok()
    other = session.fork()
    assert stat.S_IMODE(other.data.stat().st_mode) == 0o700
    home = session.runtime.home
    script = f"ls -d {other.data} {home} 2>&1; grep -c {home} /proc/self/mountinfo; kill -9 -1"
    told = session.runtime("exec", "--cwd", AT, "w", "sh", "-c", script).stdout
    assert "cannot access" in told
    assert calls.state(session.runtime, "f")["status"] == "running"
    assert other.span("s2", "cat new").ok().stdout == "secret\n"
