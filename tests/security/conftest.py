"""The attackers' programs, and the places they attack from."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import attack, attack_programs, features
from tests.support.attack import KINDS, ROOTLESS, Place
from tests.support.runtime import Runtime

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def programs() -> Iterator[Path]:
    """The folder of the compiled attack programs."""
    features.check(["gcc"])
    directory = Path(tempfile.mkdtemp(prefix="sw-attack-", dir="/tmp"))
    directory.chmod(0o755)
    yield attack_programs.compile_all(directory)
    shutil.rmtree(directory)


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, rootfs: Path, programs: Path) -> Iterator[Place]:
    """Every kind of world in turn."""
    yield from _opened(request.param, rootfs, programs)


@pytest.fixture(params=[kind for kind in KINDS if kind.startswith(attack.HOST_VIEW)])
def view(request: pytest.FixtureRequest, rootfs: Path, programs: Path) -> Iterator[Place]:
    """The worlds that show the host, as root and as an ordinary user."""
    yield from _opened(request.param, rootfs, programs)


def _opened(kind: str, rootfs: Path, programs: Path) -> Iterator[Place]:
    as_user = kind.endswith(ROOTLESS)
    if as_user:
        features.check(["rootless_user", "userns.unprivileged"])
    else:
        features.check(["root"])
    runtime = Runtime(rootfs, as_user)
    yield Place(runtime, kind, programs)
    left = runtime.close()
    if left:
        pytest.fail(f"left by the runtime: {left}", pytrace=False)
