"""`requires("userns", "overlayfs", …)`: what a test needs from the machine, by probe.

The names are those of substrate/host/probes.py and of the few below that only tests need. With
SUBSTRATE_TESTS_MUST_RUN=1 a missing feature fails the test; SUBSTRATE_TESTS_MAY_SKIP lists the
features (separated by spaces) that may be missing all the same.
"""

from __future__ import annotations

import functools
import os
import pwd
import shutil
import subprocess
import tempfile
from typing import TYPE_CHECKING

import pytest

from substrate.host.probes import PROBES
from substrate.host.probes import missing as missing_on_host
from tests.support import images

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

TEST_USER = "substrate-test"


def requires(*names: str) -> pytest.MarkDecorator:
    """Mark a test, a class or (as `pytestmark`) a module with the features it needs."""
    return pytest.mark.requires(*names)


def _program(name: str) -> str:
    return "" if shutil.which(name) else f"there is no program {name}"


def _rootless_user() -> str:
    if os.geteuid() != 0:
        return "only root can start the runtime as another user"
    try:
        pwd.getpwnam(TEST_USER)
    except KeyError:
        return f"there is no user {TEST_USER}; ci/setup makes it"
    return ""


def _project_quotas() -> str:
    """Try a file system of our own that keeps project quotas."""
    return _file_system("ext4", ("-O", "project,quota"), "prjquota")


def _user_quotas() -> str:
    return _file_system("ext4", ("-O", "quota"), "usrquota")


def _file_system(kind: str, options: tuple[str, ...] = (), how: str = "rw") -> str:
    """Try a file system of our own in a file."""
    if _in_machine():
        # Nobody else's kernel.
        subprocess.run(["modprobe", "-qa", "loop", "quota_v2", kind], check=False)
    with tempfile.TemporaryDirectory(prefix="sw-") as folder:
        point = f"{folder}/point"
        os.mkdir(point)
        try:
            images.make(f"{folder}/image", kind, *options)
        except (OSError, subprocess.CalledProcessError) as error:
            return f"no {kind} can be made: {error}"
        mount = f"mount -o loop,{how} {folder}/image {point} && umount {point}"
        words = ["unshare", "--mount", "--propagation=private", "sh", "-c", mount]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else f"no {kind} with {how}: {done.stderr.strip()}"


def _no_controllers() -> str:
    """Where limits cannot be had: what is told of it, and what is done."""
    return "" if missing_on_host("cgroup2.memory") else "limits can be had here"


def _machines() -> str:
    # ci/vm installs what it needs; a machine within a machine it cannot start.
    return "this is a virtual machine of ci/vm" if _in_machine() else ""


def _in_machine() -> bool:
    return "SUBSTRATE_VM" in os.environ


_TEST_FEATURES: dict[str, Callable[[], str]] = {
    "rootless_user": _rootless_user,
    "no_cgroup2_controllers": _no_controllers,
    "project_quotas": _project_quotas,
    "user_quotas": _user_quotas,
    **{f"file_system.{kind}": functools.partial(_file_system, kind) for kind in images.KINDS},
    "machines": _machines,
    "gcc": lambda: _program("gcc"),
    "tmux": lambda: _program("tmux") or _program("less"),
    "git": lambda: _program("git"),
    "vi": lambda: _program("vi"),
    "strace": lambda: _program("strace"),
    "busybox": lambda: _program("busybox"),
}


@functools.cache
def missing(name: str) -> str:
    """Return why a feature is missing, or ""; raises `KeyError` for an unknown name."""
    if name in _TEST_FEATURES:
        return _TEST_FEATURES[name]()
    return missing_on_host(name)


def unknown(names: Iterable[str]) -> list[str]:
    """Return the names that nothing probes."""
    return [name for name in names if name not in PROBES and name not in _TEST_FEATURES]


def check(names: Iterable[str]) -> None:
    """Skip or fail the running test when one of the features is missing."""
    named = tuple(names)
    strangers = unknown(named)
    if strangers:
        pytest.fail(f"requires() names features nothing probes: {strangers}", pytrace=False)
    may_skip = os.environ.get("SUBSTRATE_TESTS_MAY_SKIP", "").split()
    must_run = os.environ.get("SUBSTRATE_TESTS_MUST_RUN") == "1"
    for name in named:
        reason = missing(name)
        if not reason:
            continue
        if must_run and name not in may_skip:
            pytest.fail(f"{name} is missing and must be there: {reason}", pytrace=False)
        pytest.skip(f"{name}: {reason}")
