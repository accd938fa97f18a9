"""A real systemd as tests ask it: about units, and through a wire that can be cut."""

from __future__ import annotations

import os
import pwd
import socket
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support import calls
from tests.support.features import TEST_USER

if TYPE_CHECKING:
    from collections.abc import Iterator

PRIVATE = "/run/systemd/private"
BUS = "/run/dbus/system_bus_socket"


def systemctl(*words: str) -> str:
    """Return what systemctl prints; fail when it does."""
    done = subprocess.run(["systemctl", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def show(unit: str, *names: str) -> dict[str, str]:
    """Return properties of a unit."""
    lines = systemctl("show", unit, f"--property={','.join(names)}").splitlines()
    return {key: value for key, _, value in (line.partition("=") for line in lines)}


def is_loaded(unit: str) -> bool:
    """Return whether systemd knows a unit."""
    return show(unit, "LoadState")["LoadState"] != "not-found"


def until_forgotten(unit: str) -> None:
    """Wait until systemd does not know a unit any more."""
    calls.until(lambda: not is_loaded(unit), f"{unit} forgotten")


def scopes() -> set[str]:
    """Return the names of all scopes."""
    lines = systemctl("list-units", "--all", "--plain", "--no-legend", "--type=scope")
    return {line.split()[0] for line in lines.splitlines() if line}


def user_manager() -> Iterator[Path]:
    """Run a service manager of the test's ordinary user; yield its XDG_RUNTIME_DIR.

    As user@.service does, without logind, which would have to be started too.
    """
    user = pwd.getpwnam(TEST_USER)
    directory = Path(f"/run/user/{user.pw_uid}")
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.chown(directory, user.pw_uid, user.pw_gid)
    unit = "substrate-test-manager.service"
    subprocess.run(
        [
            "systemd-run", f"--unit={unit}", "--collect", "--quiet", f"--uid={TEST_USER}",
            "--property=Delegate=yes", "--property=Type=notify", "--property=KillMode=mixed",
            "--property=KillSignal=SIGKILL", f"--setenv=XDG_RUNTIME_DIR={directory}",
            f"--setenv=HOME={user.pw_dir}", "--property=DefaultDependencies=no",
            "/lib/systemd/systemd", "--user", "--unit=basic.target",
        ],
        check=True,
    )  # fmt: skip
    yield directory
    systemctl("stop", unit)
    until_forgotten(unit)
    subprocess.run(["rm", "-rf", str(directory)], check=True)


def make_user_slice(directory: Path) -> None:
    """Have the user's manager make user.slice, which it keeps."""
    words = ["systemd-run", "--user", "--scope", "--quiet", "--slice=user.slice", "true"]
    step_down = ["setpriv", f"--reuid={TEST_USER}", f"--regid={TEST_USER}", "--init-groups"]
    environment = os.environ | {"XDG_RUNTIME_DIR": str(directory)}
    subprocess.run([*step_down, *words], env=environment, check=True)


class CutWire:
    """A door to the real systemd that closes when the word `cut_at` goes through to it.

    With `answered`, only when its answer comes back.
    """

    def __init__(self, folder: Path, cut_at: bytes, *, answered: bool) -> None:
        self.address = str(folder / "wire")
        self._cut_at = cut_at
        self._answered = answered
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.address)
        self._listener.listen(8)
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> CutWire:
        self._thread.start()
        return self

    def __exit__(self, *_details: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            with near, socket.socket(socket.AF_UNIX) as far:
                far.connect(PRIVATE)
                self._pass_on(near, far)

    def _pass_on(self, near: socket.socket, far: socket.socket) -> None:
        cut = False

        def back() -> None:
            while data := far.recv(1 << 16):
                if cut:
                    break
                near.sendall(data)
            near.shutdown(socket.SHUT_RDWR)

        answers = threading.Thread(target=back)
        answers.start()
        while data := near.recv(1 << 16):
            cut = cut or self._cut_at in data
            if not cut or self._answered:
                far.sendall(data)
            if cut and not self._answered:
                break
        far.shutdown(socket.SHUT_RDWR)
        answers.join()
