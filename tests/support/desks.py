"""A project with a world over it whose command has ended, and the verbs a person has then."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from tests.support.attack import host_view_bundle
from tests.support.calls import public_directory

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.runtime import Result, Runtime

AT = "/work"
FILES = {"a": "one\n", "d/b": "two\n", "d/c": "three\n", "src/x.c": "x\n", "src/y.h": "y\n"}


class Desk:
    """World `w`, in which a script has changed the files of a project at `/work`."""

    def __init__(self, runtime: Runtime, script: str, project: Path | None = None) -> None:
        self.runtime = runtime
        self.project = public_directory(runtime, "project") if project is None else project
        self.project.mkdir(exist_ok=True)
        for name, text in FILES.items():
            path = self.project / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        for path in (self.project, *self.project.rglob("*")):
            os.chown(path, runtime.uid, runtime.gid, follow_symlinks=False)
        bundle = host_view_bundle(runtime, substrate={"project": {"at": AT}})
        words = ("--keep", "--bundle", bundle, "--project", self.project, "w")
        runtime("run", *words, "sh", "-c", f"cd {AT}; {script}").ok()

    def __call__(self, verb: str, *words: str) -> Result:
        """Call a verb on the world."""
        return self.runtime(verb, "w", *words)

    def json(self, verb: str, *words: str) -> dict[str, Any]:
        """Return what a verb says as JSON, whatever its status."""
        found: dict[str, Any] = json.loads(self.runtime(verb, "--json", "w", *words).stdout)
        return found

    def lines(self) -> list[str]:
        """Return the diff as it is shown to people."""
        return self("diff").ok().stdout.splitlines()

    def files(self) -> dict[str, str]:
        """Return the text of every file of the project by its name."""
        return {
            str(path.relative_to(self.project)): path.read_text("utf-8", "replace")
            for path in sorted(self.project.rglob("*"))
            if path.is_file() and not path.is_symlink()
        }

    @property
    def data(self) -> Path:
        """The world's data directory."""
        return self.runtime.home / "data" / "w"
