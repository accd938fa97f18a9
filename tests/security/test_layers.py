"""What a world writes, and what it tells about it: no way to the layers, no lie in the reports."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.attack import ATTACK, host_view_bundle
from tests.support.calls import bare, public_directory
from tests.support.features import requires

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.attack import Place
    from tests.support.runtime import Runtime

pytestmark = requires(*ATTACK)

ESCAPE = "\x1b[31m\x07\x9b2J\u202e"


@pytest.mark.parametrize("inside", ["home", "home/data", "home/state", "home/cache", ""])
def test_a_project_around_our_own_directories_is_refused(any_runtime: Runtime, inside: str) -> None:
    runtime = any_runtime
    other = public_directory(runtime, "other")
    allowed = ("run", "--bundle", "host-project", "--project", other, "w", "true")
    runtime(*allowed).ok()
    project = runtime.folder / inside
    (runtime.folder / "link").symlink_to(project)
    for name in (project, runtime.folder / "link", f"{runtime.folder}/link/.", f"{project}/."):
        refused = runtime("run", "--bundle", "host-project", "--project", name, "w", "true")
        assert refused.status == 5, refused
    runtime(*allowed).ok()


@requires("root")
def test_a_project_behind_a_bind_mount_is_refused_all_the_same(runtime: Runtime) -> None:
    # In a mount namespace of the test's own; the bind would hide that it is the same directory.
    elsewhere = runtime.folder / "elsewhere"
    elsewhere.mkdir()
    argv, environment = bare(runtime)
    call = [*argv, "run", "--bundle", "host-project", "--project", str(elsewhere), "w", "true"]
    for bound, status in ((runtime.folder, 5), (runtime.home, 5), ("/srv", 0)):
        script = f'mount --bind {bound} {elsewhere} && exec "$@"'
        done = subprocess.run(
            ["unshare", "--mount", "--propagation=private", "sh", "-c", script, "sh", *call],
            env=environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == status, (bound, done)


def test_layers_and_state_are_not_shown_with_the_host(any_runtime: Runtime) -> None:
    # SUBSTRATE_HOME lies below a path that the bundle exposes.
    runtime = any_runtime
    project = public_directory(runtime, "project")
    (runtime.folder / "neighbour").write_text("shown\n", encoding="utf-8")
    bundle = host_view_bundle(
        runtime,
        substrate={"rootfs": {"expose": [str(runtime.folder)]}},
        # Without the tmpfs on /tmp, which would cover it.
        mounts=[{"destination": "/proc", "type": "proc"}],
    )
    home = runtime.home
    script = (
        f"cat {runtime.folder}/neighbour; touch in-the-layer;"
        f"ls {home}/data/w {home}/data/w/layer/upper {home}/state/w; cat {home}/state/w/state.json;"
        f"echo x >{home}/data/w/layer/upper/written; true"
    )
    words = ("run", "--bundle", bundle, "--project", project, "w", "sh", "-c", script)
    result = runtime(*words)
    assert result.stdout == "shown\n", result


def test_denied_files_are_hidden_whatever_their_names(any_runtime: Runtime) -> None:
    runtime = any_runtime
    project = public_directory(runtime, "project")
    secrets = ("key.pem", ".key.pem", ".config/a/key.pem", "secrets/x", "secrets/.y")
    for name in (*secrets, "public.txt"):
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content of {name}\n", encoding="utf-8")
    # A search that followed these would take 2^40 steps, or walk over the host.
    for name, target in (("a", "."), ("b", "."), ("c", ".."), ("host", "/")):
        (project / name).symlink_to(target)
    for path in (project, *project.rglob("*")):
        os.chown(path, runtime.uid, runtime.gid, follow_symlinks=False)
    bundle = host_view_bundle(runtime, substrate={"project": {"deny": ["**/*.pem", "secrets/**"]}})
    attacks = (
        f"cat {' '.join(secrets)} public.txt; mv secrets moved; mv .config moved2; ln key.pem k;"
        "cat moved/x moved2/a/key.pem k; rm -f key.pem; cat key.pem; find . -name '*.pem' | wc -l"
    )
    words = ("run", "--bundle", bundle, "--project", project, "w", "sh", "-c", attacks)
    result = runtime(*words, timeout_s=20)
    assert result.stdout.count("content of") == 1, result
    assert "content of public.txt" in result.stdout


def test_overlay_records_that_a_payload_forges_do_not_confuse_the_diff(view: Place) -> None:
    script = """
import os, stat
def tried(action):
    try:
        action()
    except OSError:
        pass
os.mkdir("made")
open("made/file", "w").close()
for path in ("made", "made/file", "."):
    for space in ("trusted", "user"):
        for name, value in (
            ("opaque", b"y"), ("opaque", b"x"), ("whiteout", b"y"), ("metacopy", b""),
            ("redirect", b"/../../etc"), ("origin", b"x"), ("impure", b"y"), ("nlink", b"U+9"),
        ):
            tried(lambda: os.setxattr(path, f"{space}.overlay.{name}", value))
tried(lambda: os.mknod("lurker", 0o644 | stat.S_IFCHR, os.makedev(0, 0)))
tried(lambda: os.mknod("made/whiteout", 0o644 | stat.S_IFCHR, os.makedev(0, 0)))
"""
    runtime = view.runtime
    words = ("run", "--keep", *view.words(), "w", "python3", "-c", script)
    runtime(*words).ok()
    found = runtime("diff", "--json", "w").ok().json()
    names = {entry["path"] for entry in found["entries"]}
    assert {"made", "made/file"} <= names
    # Nothing was deleted, whatever the payload says.
    assert not found["deletes"], found["deletes"]
    assert not any(name in ("attempt", "lurker.c", "attempt.c") for name in names)


def test_hostile_names_cannot_drive_the_terminal(view: Place) -> None:
    script = (
        "import os, subprocess, sys, time\n"
        f"name = {ESCAPE!r}\n"
        "open(name, 'w').close(); os.mkdir(name + 'd')\n"
        "open(b'\\xff\\x1b]0;title\\x07', 'w').close()\n"
        "os.symlink('/bin/sleep', '/tmp/' + name)\n"
        "subprocess.Popen([name + ' 100', '100'], executable='/bin/sleep')\n"
        "print('ready', flush=True); time.sleep(100)"
    )
    runtime = view.runtime
    words = ("run", "--detach", *view.words(), "w", "python3", "-c", script)
    runtime(*words).ok()
    runtime("exec", "w", "sh", "-c", "while [ ! -e /tmp/* ]; do sleep 0.05; done").ok()
    for call in (("ps", "w"), ("list",), ("diff", "w"), ("diff", "--json", "w"), ("state", "w")):
        shown = runtime(*call).ok().stdout
        assert shown
        assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(shown), (call, shown)
    entries = runtime("diff", "--json", "w").ok().json()["entries"]
    # Positive control: the names are there, to be read by a program.
    assert any(entry["path"] == ESCAPE for entry in entries), json.dumps(entries)


@pytest.mark.parametrize("name", ["a:b", "a,upperdir=b", "a\\:b", "-o rw", "a\nb", "x:/etc"])
def test_a_project_s_name_is_a_name(any_runtime: Runtime, name: str) -> None:
    runtime = any_runtime
    project = public_directory(runtime, "outer") / name
    project.mkdir(parents=True)
    (project / "mine").write_text("m", encoding="utf-8")
    for path in (project, *project.parents):
        if runtime.folder in path.parents:
            os.chown(path, runtime.uid, runtime.gid)
    words = ("run", "--bundle", "host-project", "--project", project, "w")
    result = runtime(*words, "sh", "-c", "ls; touch new").ok()
    assert result.stdout == "mine\n"
    assert _names(project) == ["mine"]


def _names(path: Path) -> list[str]:
    return sorted(os.listdir(path))
