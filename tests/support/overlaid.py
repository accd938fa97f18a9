"""A runtime whose directories are on an overlay, as they are inside most containers."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.support.runtime import Runtime

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path


@contextmanager
def overlaid_home(runtime: Runtime) -> Generator[None]:
    """Have the runtime's home on an overlay, for the time of the `with` statement."""
    below = runtime.folder / "below"
    below.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", below], check=True)
    try:
        for name in ("lower", "upper", "work"):
            (below / name).mkdir()
        layers = f"lowerdir={below}/lower,upperdir={below}/upper,workdir={below}/work"
        subprocess.run(
            ["mount", "-t", "overlay", "-o", layers, "overlay", runtime.home], check=True
        )
        try:
            os.chown(runtime.home, runtime.uid, runtime.gid)
            runtime.home.chmod(0o700)
            yield
        finally:
            subprocess.run(["umount", runtime.home], check=True)
    finally:
        subprocess.run(["umount", below], check=True)


@contextmanager
def overlaid_runtime(rootfs: Path, *, as_user: bool = False) -> Generator[Runtime]:
    """A runtime with its home on an overlay; whatever is left there is an error."""
    runtime = Runtime(rootfs, as_user)
    try:
        with overlaid_home(runtime):
            yield runtime
            left = runtime.close()
            assert left == []
    finally:
        shutil.rmtree(runtime.folder, ignore_errors=True)
