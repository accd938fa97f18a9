"""Attacks on an accept: whoever can write to the project, or to a layer, leads it nowhere else."""

from __future__ import annotations

import os
import struct
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from substrate.errors import ConflictError, RefusedError
from substrate.filesystem import accept
from substrate.filesystem.accept import Wish
from substrate.filesystem.plan_accept import plan_accept
from tests.support import calls
from tests.support.accepting import Stand
from tests.support.copies import CopyStand
from tests.support.desks import FILES, Desk
from tests.support.features import requires
from tests.support.mounts import tmpfs
from tests.support.overlay import ACTIONS, OverlayHost
from tests.support.spans import Session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.runtime import Runtime

pytestmark = requires("root", *calls.LAYERED)


@pytest.fixture(scope="module")
def host() -> Iterator[OverlayHost]:
    with OverlayHost(rootless=False) as started:
        yield started


def test_a_directory_exchanged_for_a_link_while_it_is_written_to_leads_nowhere(
    host: OverlayHost,
) -> None:
    outcomes = {"applied": 0, "refused": 0}
    for round_number in range(40):
        with Stand(host) as stand:
            outside = Path(stand.folder, "outside")
            outside.mkdir()
            host.act(stand.lower, [["mkdir", "d"], *[["write", f"d/f{n}", "x"] for n in range(20)]])
            stand.mount()
            stand.act([["write", f"d/f{n}", "new"] for n in range(20)])
            stand.act([["write", f"d/g{n}", "new"] for n in range(20)])
            stand.unmount()
            for number in range(20):
                (outside / f"f{number}").write_text("precious", "utf-8")
            attacker = Exchanger(Path(stand.lower, "d"), outside)
            # In every third round nobody attacks: then it must work.
            if round_number % 3:
                attacker.start()
            try:
                stand.accept()
                outcomes["applied"] += 1
            except ConflictError:
                outcomes["refused"] += 1
            finally:
                attacker.end()
            if not round_number % 3:
                assert Path(stand.lower, "d/g3").read_text("utf-8") == "new"
            stand.recover()
            assert sorted(path.name for path in outside.iterdir()) == sorted(
                f"f{number}" for number in range(20)
            )
            assert {path.read_text("utf-8") for path in outside.iterdir()} == {"precious"}
    assert outcomes["applied"] >= 14
    assert outcomes["refused"] > 0


class Exchanger(threading.Thread):
    """Makes a directory a link to another one, and back, as often as it can."""

    def __init__(self, path: Path, target: Path) -> None:
        super().__init__()
        self._path = path
        self._target = target
        self._ended = threading.Event()

    def run(self) -> None:
        aside = self._path.with_name("aside")
        while not self._ended.is_set():
            try:
                self._path.rename(aside)
                self._path.symlink_to(self._target)
                time.sleep(0.0005)
                self._path.unlink()
                aside.rename(self._path)
            except OSError:
                continue
            time.sleep(0.0005)

    def end(self) -> None:
        self._ended.set()
        if self.is_alive():
            self.join()


@pytest.mark.parametrize("kind", [Stand, CopyStand])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([["symlink", "s", "f"]], [["remove", "s"], ["symlink", "s", "/etc/passwd"]]),
        ([["symlink", "s", "f"]], [["remove", "s"], ["symlink", "s", "../../f"]]),
        ([["write", "f", "x"]], [["capable", "f"]]),
        ([["chmod", "f", 0o711]], [["capable", "f"]]),
    ],
)
def test_what_becomes_risky_while_it_is_accepted_is_not_accepted(
    host: OverlayHost, monkeypatch: pytest.MonkeyPatch, before: list[list[Any]],
    after: list[list[Any]], kind: type[Stand],
) -> None:  # fmt: skip
    with kind(host) as stand:
        host.act(stand.lower, [["write", "f", "plain"], ["chmod", "f", 0o755]])
        stand.mount()
        stand.act(before)

        def attacked(*arguments: Any) -> Any:
            # A process of the world that waited for the person's look at its changes.
            where = Path(stand.layer, "copy" if kind is CopyStand else "upper")
            for word, name, *rest in after:
                if word == "capable":
                    os.setxattr(where / name, "security.capability", _CAPABLE)
                else:
                    ACTIONS[word](str(where / name), *rest)
            return plan_accept(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(accept, "plan_accept", attacked)
            said = "in the world while it was being accepted"
            # Attributes of a layer that came after its walk are not even seen.
            unseen = kind is Stand and after[0][0] == "capable"
            with nullcontext() if unseen else pytest.raises(ConflictError, match=said):
                stand.accept(Wish(), lives=True)
        project = Path(stand.lower)
        assert not (project / "s").is_symlink()
        assert "security.capability" not in os.listxattr(project / "f")
        # The control: looked at again, it is told, and only accepted with a yes.
        with pytest.raises(RefusedError, match="can run code later"):
            stand.accept(Wish(), lives=True)
        assert stand.accept(Wish(allow_risky=True), lives=True)
        assert (project / "s").is_symlink() or "security.capability" in os.listxattr(project / "f")


# CAP_NET_RAW, permitted and effective.
_CAPABLE = struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0)


def test_a_link_in_the_place_of_a_file_is_replaced_and_not_followed(any_runtime: Runtime) -> None:
    desk = Desk(any_runtime, "echo more >>a; echo more >>d/b; chmod 600 d/b")
    outside = any_runtime.folder / "precious"
    outside.write_text("precious\n", "utf-8")
    outside.chmod(0o644)
    (desk.project / "a").unlink()
    (desk.project / "a").symlink_to(outside)
    (desk.project / "d/b").unlink()
    (desk.project / "d/b").symlink_to(outside)
    assert desk("accept").status == 6
    desk("accept", "--theirs").ok()
    assert outside.read_text("utf-8") == "precious\n"
    assert outside.stat().st_mode & 0o777 == 0o644
    assert (desk.project / "a").read_text("utf-8") == "one\nmore\n"
    desk("undo").ok()
    assert os.readlink(desk.project / "a") == str(outside)


def test_records_of_an_overlay_that_a_payload_forges_never_reach_the_project(
    any_runtime: Runtime,
) -> None:
    script = (
        'python3 -c "import os\n'
        "os.mkdir('new'); open('new/f', 'w').write('x')\n"
        "for p in ('new', 'new/f'):\n"
        "    os.setxattr(p, 'user.plain', b'1')\n"
        "    try: os.setxattr(p, 'user.overlay.opaque', b'y')\n"
        '    except OSError: pass\n"'
    )
    desk = Desk(any_runtime, script)
    desk("accept").ok()
    for name in ("new", "new/f"):
        found = os.listxattr(desk.project / name)
        assert "user.plain" in found
        assert not [key for key in found if ".overlay." in key]


def test_nobody_else_can_look_at_what_was_displaced(any_runtime: Runtime) -> None:
    desk = Desk(any_runtime, "echo more >>a; rm d/b")
    (desk.project / "d/b").chmod(0o600)
    assert desk("accept", "--theirs").status == 0
    store = desk.data / "accept"
    places = [store, *store.rglob("*")]
    assert any(path.name == "pieces" for path in places)
    for path in (desk.data, store):
        assert path.stat().st_mode & 0o077 == 0
    assert desk.files().keys() == FILES.keys() - {"d/b"}


def test_a_directory_with_our_name_beside_the_project_is_not_taken_for_ours(
    runtime: Runtime,
) -> None:
    with tmpfs("size=8m") as place:
        project = place / "project"
        project.mkdir()
        desk = Desk(runtime, "echo more >>a", project)
        trap = place / ".substrate-accept-w"
        trap.mkdir()
        (trap / "1").write_text("somebody's\n", "utf-8")
        refused = desk("accept")
        assert refused.status == 1
        assert "is in the way" in refused.stderr
        assert (trap / "1").read_text("utf-8") == "somebody's\n"
        assert desk.files() == FILES
        (trap / "1").unlink()
        trap.rmdir()
        desk("accept").ok()
        runtime("delete", "w").ok()


def test_what_was_put_away_of_layers_is_out_of_reach_of_what_runs_on(any_runtime: Runtime) -> None:
    session = Session(any_runtime, FILES)
    session.span("s1", "echo precious >kept; mv d e").ok()
    any_runtime("accept", "w").ok()
    away = session.data / "accept/undo/1/layers/1.s1/upper"
    # It is there, for the host.
    assert (away / "kept").read_text("utf-8") == "precious\n"
    script = (
        f"ls -d {away} {session.data} {away.parent.parent}/1.s1; "
        "find / -xdev -name 1.s1 2>/dev/null; "
        "for d in /proc/[0-9]*/root /proc/[0-9]*/cwd /proc/[0-9]*/fd/*; do "
        f"echo gone >$d{away}/kept; rm -rf $d/../1.s1 $d/accept; done; "
        "cat kept"
    )
    # What was accepted is its own to see and change, as every file of the project.
    assert session.span("s2", script).ok().stdout == "precious\n"
    assert (away / "kept").read_text("utf-8") == "precious\n"
    any_runtime("undo", "w").ok()
    assert session.span("s3", "cat kept; ls e").ok().stdout == "precious\nb\nc\n"


def test_roots_and_names_that_a_payload_chooses_keep_nothing_from_coming_back(
    any_runtime: Runtime,
) -> None:
    session = Session(any_runtime, FILES)
    script = "mkdir layers layer .new; echo x >layers/1.s1; ln -s /etc layer/upper; chmod 1711 ."
    session.span("s1", script).ok()
    lines = session.lines()
    any_runtime("accept", "--allow-risky", "w").ok()
    session.span("s2", "rm -rf layers layer; mkfifo layers; ln -s / layer; chmod 700 .").ok()
    any_runtime("undo", "w").ok()
    assert session.layers() == ["1.s1", "2.s2"]
    assert sorted(path.name for path in session.project.iterdir()) == ["a", "d", "src"]
    any_runtime("rollback", "w", "s1").ok()
    assert session.lines() == lines
