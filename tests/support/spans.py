"""An idle world with a layered project, and commands run in it as spans."""

from __future__ import annotations

import json
import os
from copy import copy
from typing import TYPE_CHECKING, Any

from substrate.world.stack import LayerStack
from substrate.world.state import Layer
from tests.support import bundles, calls
from tests.support.attack import host_view_bundle
from tests.support.calls import public_directory

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.runtime import Result, Runtime

AT = "/work"


class Session:
    """World `w` of a project, or a fork of it, which spans see at `/work`."""

    def __init__(
        self,
        runtime: Runtime,
        files: dict[str, str],
        *,
        idle: bool = True,
        bundle: dict[str, Any] | None = None,
        path: Path | None = None,
        **project: Any,
    ) -> None:
        """Start it; `bundle` and `project` change the bundle and its project, `path` is where."""
        self.runtime = runtime
        self.world = "w"
        self.project: Path = public_directory(runtime, "project") if path is None else path
        for name, text in files.items():
            file = self.project / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        for file in (self.project, *self.project.rglob("*")):
            os.chown(file, runtime.uid, runtime.gid, follow_symlinks=False)
        shown = {"substrate": {"project": {"at": AT, **project}}}
        folder = host_view_bundle(runtime, **bundles.merged(bundle or {}, shown))
        first = ("w",) if idle else ("w", "sleep", "600")
        words = ("--detach", "--bundle", folder, "--project", self.project, *first)
        runtime("run", *(("--idle",) if idle else ()), *words).ok()

    def fork(self, world: str = "f", at: str | None = None) -> Session:
        """Fork the world, and return the new one with the same project."""
        words = () if at is None else ("--at", at)
        self.runtime("fork", *words, self.world, world).ok()
        return self.named(world)

    def named(self, world: str) -> Session:
        """Return another world of the same project."""
        found = copy(self)
        found.world = world
        return found

    def files(self) -> dict[str, str]:
        """Return the text of every file of the project by its name."""
        return {
            str(path.relative_to(self.project)): path.read_text("utf-8", "replace")
            for path in sorted(self.project.rglob("*"))
            if path.is_file() and not path.is_symlink()
        }

    def span(self, span_id: str, script: str, **options: Any) -> Result:
        """Run a shell script in the project as a span."""
        words = ("exec", "--span", span_id, "--cwd", AT, self.world, "sh", "-c", script)
        return self.runtime(*words, **options)

    def diff(self, span_id: str | None = None) -> dict[str, Any]:
        """Return the JSON of a span's diff, or of the world's."""
        words = () if span_id is None else ("--span", span_id)
        found: dict[str, Any] = self.runtime("diff", "--json", *words, self.world).ok().json()
        return found

    def lines(self, span_id: str | None = None) -> list[str]:
        """Return the diff as it is shown to people."""
        words = () if span_id is None else ("--span", span_id)
        return self.runtime("diff", *words, self.world).ok().stdout.splitlines()

    @property
    def data(self) -> Path:
        """The world's data directory."""
        return self.runtime.home / "data" / self.world

    def layers(self) -> list[str]:
        """Return the names of the layers of spans, the lowest first."""
        names = [path.name for path in (self.data / "layers").glob("[0-9]*")]
        return sorted(names, key=lambda name: int(name.partition(".")[0]))

    def stack(self) -> LayerStack:
        """Return the stack of the world as the library has it."""
        userxattr = calls.state(self.runtime, self.world)["substrate"]["project"]["userxattr"]
        layer = Layer(str(self.project), AT, f"{self.data}/layer", userxattr)
        return LayerStack(layer, str(self.data))

    def record(self, span_id: str) -> dict[str, Any]:
        """Return what is stored of a span."""
        text = (self.data / "spans" / f"{span_id}.json").read_text("utf-8")
        found: dict[str, Any] = json.loads(text)
        return found
