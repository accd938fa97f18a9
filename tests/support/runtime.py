"""The runtime as tests call it: as a program, with its state in a folder of the test's own."""

from __future__ import annotations

import itertools
import json
import os
import pwd
import shutil
import subprocess
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support import bundles, rootless
from tests.support.features import TEST_USER

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / ".venv/bin/substrate-runtime"
PYTHON = ROOT / ".venv/bin/python"
_START = "import sys; from substrate.cli.runtime import entry; sys.exit(entry())"


@dataclass(frozen=True)
class Result:
    """How a call of the runtime ended."""

    args: tuple[str, ...]
    status: int
    stdout: str
    stderr: str
    stdout_path: Path = Path("/dev/null")

    def stdout_later(self) -> str:
        """Return what standard output has received by now; a world may outlive the call."""
        return self.stdout_path.read_text("utf-8", "replace")

    def ok(self) -> Result:
        """Return self; fail with everything known when the status is not 0."""
        assert self.status == 0, f"status {self.status}\n{self}"
        return self

    def json(self) -> Any:
        """Return standard output as the JSON document it is."""
        return json.loads(self.stdout)

    def __str__(self) -> str:
        return f"$ {' '.join(self.args)}\n{self.stdout}\n[stderr]\n{self.stderr}"


class Runtime:
    """Calls `substrate-runtime`, as ourselves or as the ordinary user of the rootless tests.

    `folder` is short (socket names and overlay options are bounded), readable by that user, and
    goes away with everything in it in `close()`.
    """

    def __init__(self, rootfs: Path, as_user: bool = False) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="sw-", dir="/tmp"))
        self.folder.chmod(0o755)
        self.home = self.folder / "home"
        self.home.mkdir(mode=0o700)
        self.rootfs = rootfs
        self.uid, self.gid = os.geteuid(), os.getegid()
        self._prefix: list[str] = []
        # Words before the verb of every call.
        self.options: tuple[str, ...] = ()
        if as_user:
            user = pwd.getpwnam(TEST_USER)
            self.uid, self.gid = user.pw_uid, user.pw_gid
            self._prefix = rootless.prefix(ROOT)
            os.chown(self.folder, self.uid, self.gid)
            os.chown(self.home, self.uid, self.gid)
        self._bundles = itertools.count(1)
        self._calls = itertools.count(1)

    @property
    def is_rootless(self) -> bool:
        """Whether the runtime runs without root's power."""
        return self.uid != 0

    @property
    def environment(self) -> dict[str, str]:
        """The whole environment of a call."""
        names = ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG")
        # Coverage data of the ordinary user could not be written where ours lies.
        wanted = () if self.is_rootless else names
        measured = {name: os.environ[name] for name in wanted if name in os.environ}
        return measured | {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            "TERM": "dumb",
            "SUBSTRATE_HOME": str(self.home),
        }

    @property
    def argv(self) -> list[str]:
        """The words that start the runtime, before its verb."""
        if "COVERAGE_PROCESS_CONFIG" in os.environ and not self.is_rootless:
            # The launcher skips `site`, and with it the hook that starts coverage.
            return [*self._prefix, str(PYTHON), "-c", _START, *self.options]
        return [*self._prefix, str(PROGRAM), *self.options]

    def start_with(self, *words: str) -> None:
        """Start the runtime through another program from now on, as the same user."""
        self._prefix += words

    def __call__(
        self,
        *words: str | Path,
        stdin: str | bytes = b"",
        timeout_s: float = 60,
        cwd: str | Path | None = None,
        env: dict[str, str] | None = None,
    ) -> Result:
        """Call the runtime and wait; `env` is added to the environment of the call."""
        # Files, not pipes: a created world keeps its standard streams, and a reader of a pipe
        # would wait for the world instead of the call.
        number = next(self._calls)
        paths = [self.folder / f"call{number}.{name}" for name in ("in", "out", "err")]
        paths[0].write_bytes(stdin.encode() if isinstance(stdin, str) else stdin)
        with ExitStack() as opened:
            given = opened.enter_context(paths[0].open("rb"))
            out, err = (opened.enter_context(path.open("wb")) for path in paths[1:])
            done = subprocess.run(
                [*self.argv, *map(str, words)],
                stdin=given,
                stdout=out,
                stderr=err,
                timeout=timeout_s,
                cwd=cwd or self.folder,
                env=self.environment | (env or {}),
                check=False,
            )
        out_text, err_text = (path.read_text("utf-8", "replace") for path in paths[1:])
        return Result(tuple(map(str, words)), done.returncode, out_text, err_text, paths[1])

    def bundle(self, *args: str, **overrides: Any) -> Path:
        """Write a bundle that runs `args` and return its directory.

        Keyword arguments are top-level keys of config.json, merged into the default: objects
        merge, None removes, anything else replaces.
        """
        mapped = (self.uid, self.gid) if self.is_rootless else (None, None)
        config = bundles.default_config(self.rootfs, *mapped)
        if args:
            config["process"]["args"] = list(args)
        directory = self.folder / f"bundle{next(self._bundles)}"
        return bundles.write_bundle(directory, bundles.merged(config, overrides))

    def worlds(self) -> list[str]:
        """Return the ids of the worlds that exist."""
        return self("list", "--quiet").ok().stdout.split()

    def close(self) -> list[str]:
        """Delete every world and the folder; return what a deleted world left behind."""
        for world in self("list", "--quiet").stdout.split():
            self("delete", "--force", world)
        left = [
            str(path.relative_to(self.home))
            for kept in ("state", "data")
            for path in sorted((self.home / kept).rglob("*"))
        ]
        shutil.rmtree(self.folder, ignore_errors=True)
        return left
