"""Worlds resolved the same on every machine: a fixed host, fixed users, a fixed project.

Nothing is made, so none of it needs root. What `resolve` would look up is said here instead.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from substrate import resources
from substrate.bundle.model import Config, parse_config
from substrate.cgroups.hierarchy import Hierarchy
from substrate.isolation import identity as identities
from substrate.isolation import limiting
from substrate.isolation import resolve as resolving
from substrate.isolation.hostview import READ_ONLY
from substrate.isolation.resolve import Demand
from substrate.isolation.spec import Filter, ResolvedMount, WorldSpec
from tests.support.bundles import default_config, merged

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    import pytest

# One instruction: allow everything. Its size is part of the plan, not its content.
FILTER = Filter(b"\x06\x00\x00\x00\x00\x00\xff\x7f", 0)
USER, GROUP = 1000, 1000
_HOST = {"/usr": True, "/etc/passwd": False, "/etc/ssl": True}
# As long as what mkdtemp makes, because lengths decide where things lie in a plan's memory.
_PREFIX = "sw-"
_SHOWN = "/home/ada/p"


def fixed_host_view(
    expose: Iterable[str], hide: Iterable[str]
) -> tuple[list[tuple[str, str]], list[ResolvedMount]]:
    """Return what a small merged-/usr host would show."""
    paths = _HOST | dict.fromkeys(expose, True)
    mounts = [
        ResolvedMount("bind", "bind", path, path, READ_ONLY, is_directory)
        for path, is_directory in paths.items()
        if path not in set(hide)
    ]
    return [("/bin", "usr/bin"), ("/lib", "usr/lib")], mounts


class FixedHost:
    """Resolves configurations on the fixed host. `folder` is a real directory; see `shown`."""

    def __init__(self, patch: pytest.MonkeyPatch, folder: Path) -> None:
        self._patch = patch
        self.folder = folder
        patch.setattr(resolving, "host_view", fixed_host_view)
        # A host without cgroup v2.
        patch.setattr(limiting, "find_hierarchy", lambda: Hierarchy("", "/", "/"))
        patch.setattr(os, "geteuid", lambda: USER)
        patch.setattr(os, "getegid", lambda: GROUP)

    def shown(self, text: str) -> str:
        """Return a text with the folder under a name that is the same every time."""
        return text.replace(str(self.folder), _SHOWN)

    def spec(
        self,
        config: Config,
        *,
        privileged: bool = True,
        owner: tuple[int, int] = (0, 0),
        **demand: Any,
    ) -> WorldSpec:
        """Return the world of a configuration; `owner` is the project's."""
        self._patch.setattr(identities, "_owner", lambda _project: owner)
        wanted: dict[str, Any] = {
            "world_id": "golden",
            "bundle": str(self.folder),
            "layer": "/var/lib/substrate/golden/layer",
            "project": str(self.folder),
        }
        if config.substrate is None or config.substrate.project is None:
            del wanted["project"]
        asked = Demand(**wanted | demand)
        return resolving.resolve(config, config.process, asked, FILTER, privileged=privileged)


@contextmanager
def fixed_host(patch: pytest.MonkeyPatch) -> Generator[FixedHost]:
    """Have a fixed host, with an empty folder that is at once project, bundle and root."""
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir="/tmp"))
    try:
        yield FixedHost(patch, folder)
    finally:
        shutil.rmtree(folder)


def shipped(name: str, **changes: Any) -> Config:
    """Return the configuration of a shipped bundle, with top-level keys merged in.

    Its project, if it has one, is shown at a place of its own.
    """
    directory = resources.bundle_path(name)
    assert directory is not None, name
    data = json.loads(Path(directory, "config.json").read_text(encoding="utf-8"))
    if "project" in data["substrate"]:
        data["substrate"]["project"]["at"] = _SHOWN
    return parse_config(merged(data, changes))


def oci(rootfs: Path | str, **changes: Any) -> Config:
    """Return a plain OCI configuration with a user namespace, with top-level keys merged in."""
    data = default_config(Path(rootfs))
    # Not what the caller of the tests is, which is what these helpers take otherwise.
    for key in ("uidMappings", "gidMappings"):
        data["linux"][key] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    return parse_config(merged(data, changes))
