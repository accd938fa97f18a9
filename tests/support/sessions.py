"""Sessions for tests: a project, a home for Substrate, a world in this process or by an agent."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from substrate.api.agent import Agent
from substrate.api.client import AgentWorld
from substrate.api.inprocess import InProcessWorld
from substrate.api.listening import listen
from substrate.api.records import WorldSpec
from substrate.api.sessions import complete
from substrate.world.context import Context
from tests.support import rootless
from tests.support.features import TEST_USER
from tests.support.runtime import PYTHON, ROOT
from tests.support.tmux import Pane

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from substrate.api.protocol import World

NEEDED = ("root", "userns", "overlayfs", "overlayfs.idmapped", "mount_setattr")


PROGRAM = ROOT / ".venv/bin/substrate"
_START = "import sys; from substrate.cli.shell import entry; sys.exit(entry())"


class Place:
    """A project and a home below a folder of the test's own, which must have a short path."""

    def __init__(self, folder: Path) -> None:
        self.project = folder / "project"
        self.project.mkdir()
        self.home = folder / "home"
        self.home.mkdir(mode=0o700)
        self.warnings: list[str] = []

    @property
    def context(self) -> Context:
        """Where things are kept."""
        state, data, cache = (str(self.home / name) for name in ("state", "data", "cache"))
        return Context(state, data, cache)

    @property
    def environment(self) -> dict[str, str]:
        """What a caller has."""
        return {"SUBSTRATE_HOME": str(self.home), "HOME": "/root", "PATH": "/usr/bin:/bin"}

    def write_policy(self, text: str) -> None:
        """Write the person's policy."""
        folder = self.home / "config"
        folder.mkdir(mode=0o700, exist_ok=True)
        (folder / "policy.yaml").write_text(text, encoding="utf-8")
        (folder / "policy.yaml").chmod(0o600)

    def world(self) -> InProcessWorld:
        """Return a world in this process; nothing is made yet."""
        return InProcessWorld(
            self.context, str(self.project), self.environment, self.warnings.append
        )

    @property
    def argv(self) -> list[str]:
        """The words that start `substrate`."""
        if "COVERAGE_PROCESS_CONFIG" in os.environ:
            # The launcher skips `site`, and with it the hook that starts coverage.
            return [str(PYTHON), "-P", "-c", _START]
        return [str(PROGRAM)]

    @property
    def whole_environment(self) -> dict[str, str]:
        """What `substrate` is started with: the caller's, and how coverage is measured."""
        names = ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG")
        measured = {name: os.environ[name] for name in names if name in os.environ}
        return measured | {"LANG": "C.UTF-8", "TERM": "dumb"} | self.environment

    @property
    def screen_environment(self) -> dict[str, str]:
        """What `substrate` is started with in a terminal."""
        return self.whole_environment | {"TERM": "screen"}

    def call(
        self,
        *words: str,
        stdin: str = "",
        cwd: Path | None = None,
        env: dict[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Call `substrate` in the project and wait."""
        return subprocess.run(
            [*self.argv, *words], input=stdin, capture_output=True, text=True, timeout=60,
            cwd=cwd or self.project, env=self.whole_environment | (env or {}), check=False,
            errors="surrogateescape",
        )  # fmt: skip

    def pane(self, name: str = "a", argv: Sequence[str] | None = None) -> Pane:
        """Start the interactive shell, or a program, in a terminal that has a name of its own."""
        return Pane(self.home / name, argv or self.argv, self.project, self.screen_environment)

    def give_away(self) -> None:
        """Give everything to the ordinary user of the rootless tests."""
        folder = self.project.parent
        folder.chmod(0o755)
        subprocess.run(["chown", "-R", f"{TEST_USER}:{TEST_USER}", str(folder)], check=True)

    def call_as_user(self, *words: str) -> str:
        """Call `substrate` as that user, and return what it says."""
        done = subprocess.run(
            [*rootless.prefix(ROOT), str(PROGRAM), *words], capture_output=True, text=True,
            cwd=self.project, env=self.environment | {"HOME": f"/var/lib/{TEST_USER}"},
            timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done
        return done.stdout

    def end(self) -> None:
        """End whatever session there is."""
        self.call("end", "--force")

    @contextmanager
    def session(self) -> Generator[InProcessWorld, None, None]:
        """Give a session, ended afterwards."""
        world = self.world()
        world.ensure_session(WorldSpec())
        try:
            yield world
        finally:
            world.destroy()

    @contextmanager
    def agent(self) -> Generator[str, None, None]:
        """Serve a world and give the socket's path."""
        path = str(self.home / "agent.sock")
        spec = complete(WorldSpec(), str(self.project))
        listening = listen(path)
        served = Agent(self.world(), spec, [{"name": "probe", "ok": True}])
        thread = threading.Thread(target=served.serve, args=(listening,))
        thread.start()
        try:
            yield path
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            listening.close()
            thread.join()

    @contextmanager
    def by(self, kind: str) -> Generator[World, None, None]:
        """Give a session's world of this kind: `inprocess` or `agent`."""
        if kind == "inprocess":
            with self.session() as world:
                yield world
            return
        with self.agent() as path:
            client = AgentWorld(path)
            client.ensure_session(WorldSpec())
            try:
                yield client
            finally:
                client.destroy()


@contextmanager
def new_place(files: Mapping[str, str] | None = None) -> Generator[Place]:
    """Give a place with these files in its project; in the end its session is ended."""
    # Below it are sockets, whose paths are short.
    folder = Path(tempfile.mkdtemp(prefix="sw-", dir="/tmp"))
    try:
        made = Place(folder)
        for name, text in (files or {}).items():
            path = made.project / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        yield made
        made.end()
    finally:
        shutil.rmtree(folder)
