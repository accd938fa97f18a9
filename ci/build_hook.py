"""Compile world-init while a wheel is built, and add it, the schemas and the bundles to it.

Hatchling loads this file by its path; Substrate itself is not importable yet.
"""

from __future__ import annotations

import importlib.util
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

if TYPE_CHECKING:
    from hatchling.builders.config import BuilderConfig

    Hook = BuildHookInterface[BuilderConfig]
else:
    Hook = BuildHookInterface

NATIVE = Path("runtime/substrate/kernel/native")
DATA = ("schemas", "bundles")


class WorldsBuildHook(Hook):
    """Makes the wheel a platform wheel with everything it needs at run time."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build world-init; `version` is the kind of wheel, "standard" or "editable"."""
        root = Path(self.root)
        binary = _build_world_init(root / NATIVE)
        build_data["pure_python"] = False
        # The binary uses no libc and the package no Python ABI: only the machine matters.
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{platform}"
        if version == "editable":
            return
        build_data["force_include"][str(binary)] = f"substrate/kernel/native/{binary.name}"
        for folder in DATA:
            build_data["force_include"][str(root / folder)] = f"substrate/{folder}"


def _build_world_init(directory: Path) -> Path:
    specification = importlib.util.spec_from_file_location("native_build", directory / "build.py")
    if specification is None or specification.loader is None:
        message = f"cannot load {directory / 'build.py'}"
        raise ImportError(message)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return Path(module.build(str(directory)))
