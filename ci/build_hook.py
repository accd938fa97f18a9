"""Compile our programs while a wheel is built, and add them, the schemas and the bundles to it.

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
        """Build the programs; `version` is the kind of wheel, "standard" or "editable"."""
        root = Path(self.root)
        programs = _build_programs(root / NATIVE)
        build_data["pure_python"] = False
        # They use no libc and the package no Python ABI: only the machine matters.
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{platform}"
        if version == "editable":
            return
        for program in programs:
            build_data["force_include"][str(program)] = f"substrate/kernel/native/{program.name}"
        for folder in DATA:
            build_data["force_include"][str(root / folder)] = f"substrate/{folder}"


def _build_programs(directory: Path) -> list[Path]:
    specification = importlib.util.spec_from_file_location("native_build", directory / "build.py")
    if specification is None or specification.loader is None:
        message = f"cannot load {directory / 'build.py'}"
        raise ImportError(message)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return [Path(program) for program in module.build(str(directory))]
