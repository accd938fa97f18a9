"""Sessions for tests: a project, a home for Substrate, a world in this process or by an agent."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from substrate.api.agent import Agent
from substrate.api.client import AgentWorld
from substrate.api.inprocess import InProcessWorld
from substrate.api.listening import listen
from substrate.api.records import WorldSpec
from substrate.api.sessions import complete
from substrate.world.context import Context
from tests.support.runtime import PYTHON, ROOT

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

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
