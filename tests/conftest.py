"""Fixtures and rules of the whole test-suite."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from substrate.kernel import spawn
from tests.support import bundles, features, leaks
from tests.support.examples import examples
from tests.support.golden import Golden
from tests.support.runtime import Runtime

if TYPE_CHECKING:
    from collections.abc import Iterator

# Tests in these folders may leave nothing behind on the machine.
_LEAK_CHECKED = {"privileged", "security"}

# A deadline would judge how busy the machine is. Where a run decides about a merge, the same
# examples are tried every time; elsewhere new ones.
settings.register_profile("searching", deadline=None, max_examples=examples(100))
settings.register_profile("deciding", settings.get_profile("searching"), derandomize=True)
_DECIDING = os.environ.get("SUBSTRATE_TESTS_MUST_RUN") == "1"
settings.load_profile("deciding" if _DECIDING else "searching")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="write tests/golden/ from what comes out now"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if os.environ.get("SUBSTRATE_TESTS_NIGHTLY") == "1":
        return
    left_out = [item for item in items if item.get_closest_marker("nightly")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_runtest_setup(item: pytest.Item) -> None:
    names = [name for mark in item.iter_markers("requires") for name in mark.args]
    features.check(names)


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """Compare a text with tests/golden/NAME: `golden(name, text)`."""
    return Golden(bool(request.config.getoption("--update-golden")))


@pytest.fixture(scope="session")
def rootfs() -> Iterator[Path]:
    """A busybox root file system, read by every test and changed by none."""
    directory = Path(tempfile.mkdtemp(prefix="sw-rootfs-", dir="/tmp"))
    yield bundles.make_rootfs(directory)
    shutil.rmtree(directory)


@pytest.fixture
def runtime(rootfs: Path) -> Iterator[Runtime]:
    """The runtime, called as the user who runs the tests."""
    yield from _closing(Runtime(rootfs))


@pytest.fixture
def rootless_runtime(rootfs: Path) -> Iterator[Runtime]:
    """The runtime, called as an ordinary user."""
    features.check(["rootless_user", "userns.unprivileged"])
    yield from _closing(Runtime(rootfs, as_user=True))


@pytest.fixture(params=["as_caller", "rootless"])
def any_runtime(request: pytest.FixtureRequest, rootfs: Path) -> Iterator[Runtime]:
    """The runtime as the caller and, in a second run of the test, as an ordinary user."""
    as_user = request.param == "rootless"
    if as_user:
        features.check(["rootless_user", "userns.unprivileged"])
    yield from _closing(Runtime(rootfs, as_user))


@pytest.fixture(autouse=True)
def _no_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    if not _LEAK_CHECKED & set(Path(request.node.path).parts):
        yield
        return
    # First made, last ended: whatever other fixtures clean up is gone by then.
    request.getfixturevalue("rootfs")
    # What a process keeps once it has started a world is no leak.
    spawn.kept_world_init_fd()
    before = leaks.take_census()
    yield
    leaked = leaks.new_since(before)
    if leaked:
        listed = "\n".join(f"  {kind}: {found}" for kind, found in leaked.items())
        pytest.fail(f"left behind on the machine:\n{listed}", pytrace=False)


def _closing(runtime: Runtime) -> Iterator[Runtime]:
    yield runtime
    left = runtime.close()
    if left:
        listed = "\n".join(left)
        pytest.fail(f"left under the runtime's state or data directory:\n{listed}", pytrace=False)
