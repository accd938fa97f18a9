"""One run of ci/vm: start the machine, pass on what the command writes, bring back its status."""

from __future__ import annotations

import os
import select
import shutil
import signal
import stat
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import vm_packages
import vm_words
from vm_errors import BROKEN, UNSUPPORTED, VmError
from vm_isolation import Place, make_place

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from vm_words import Guest, Kernel, Request

_TIMED_OUT = 124
_PAUSE_S = 0.02
_PROGRESS_AFTER_S = 1.0


class _Signalled(Exception):  # noqa: N818 -- not an error, and not one of ours
    """Somebody wants ci/vm to end."""


def main() -> int:
    """Run the command line; return the exit status."""
    request = vm_words.parse(sys.argv[1:], str(Path.cwd()), os.environ)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _raise_signalled)
    try:
        return _run(request)
    except _Signalled as signalled:
        return 128 + int(signalled.args[0])
    except BrokenPipeError:
        return 128 + signal.SIGPIPE
    except VmError as error:
        print(f"ci/vm: {error}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        return error.status


def _raise_signalled(number: int, _frame: FrameType | None) -> NoReturn:
    raise _Signalled(number)


def _run(request: Request) -> int:
    _check_machine(request)
    say = _silent if request.quiet else _say
    kernel = vm_packages.full_kernel(say) if request.full else vm_packages.small_kernel(say)
    if request.systemd:
        vm_packages.install_systemd(say)
    guest = _guest(request, kernel)
    place = make_place(guest)
    try:
        _lay_out(place.bench, request, kernel)
        place.start()
        return _Session(request, guest, place, say).follow()
    finally:
        # No second signal may come between a first one and the end of the machine.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
        place.end()
        _bring_back(place.bench / "shared/out", Path(request.out))


def _check_machine(request: Request) -> None:
    if os.geteuid() != 0:
        raise VmError("only root can make the namespaces", UNSUPPORTED, "sudo ci/vm …")
    if os.uname().machine != "x86_64":
        raise VmError(f"no kernels for {os.uname().machine}", UNSUPPORTED, "use an x86-64 machine")
    if request.directory.startswith(("/dev/", "/proc/", "/sys/")):
        raise VmError(f"the machine has its own {request.directory}", UNSUPPORTED, "cd /")


def _guest(request: Request, kernel: Kernel) -> Guest:
    if request.full:
        return vm_words.full_guest(request, kernel, vm_packages.file_server())
    return vm_words.small_guest(request, kernel)


def _lay_out(bench: Path, request: Request, kernel: Kernel) -> None:
    """Write what the machine reads, and make the files that it writes."""
    shared = bench / "shared"
    (shared / "out").mkdir(parents=True)
    (shared / "out").chmod(0o1777)
    shutil.copy(Path(__file__).with_name("init"), shared / "init")
    (shared / "settings").write_text(vm_words.settings(request, kernel))
    (shared / "command").write_text(vm_words.command_script(request))
    for path in (bench / "console", shared / "stdout", shared / "stderr", shared / "status"):
        path.touch()


class _Session:
    """A machine that runs."""

    def __init__(
        self, request: Request, guest: Guest, place: Place, say: Callable[[str], None]
    ) -> None:
        self._request = request
        self._guest = guest
        self._place = place
        self._say = say
        self._shared = place.bench / "shared"
        self._started = time.monotonic()
        self._announced = False
        self._release = ""
        self._streams = [
            (os.open(self._shared / "stdout", os.O_RDONLY), 1),
            (os.open(self._shared / "stderr", os.O_RDONLY), 2),
        ]
        if request.console:
            self._streams.append((os.open(place.bench / "console", os.O_RDONLY), 2))

    def follow(self) -> int:
        """Pass on the output until the command ends; return its exit status."""
        while True:
            ended = bool(select.select([self._place.pid_fd], [], [], _PAUSE_S)[0])
            # Read before the output: what was written before the status is passed on.
            status = (self._shared / "status").read_text()
            self._pass_on()
            if status.endswith("\n"):
                return int(status)
            if ended:
                raise self._breakdown(f"{self._guest.name} ended before the command did")
            self._watch_time()
            if time.monotonic() - self._started > self._request.timeout_s:
                # Not an error of ours: the words of timeout(1), which has the same status.
                self._say(f"ended the command after {self._request.timeout_s:g} s")
                return _TIMED_OUT

    def _pass_on(self) -> None:
        for source, target in self._streams:
            while chunk := os.read(source, 1 << 20):
                _write_all(target, chunk)

    def _watch_time(self) -> None:
        spent = time.monotonic() - self._started
        if not self._release and (self._shared / "booted").exists():
            self._release = (self._shared / "booted").read_text().strip()
            if self._release and self._announced:
                self._say(f"Linux {self._release} is up after {spent:.1f} s")
        if self._release:
            return
        if not self._announced and spent > _PROGRESS_AFTER_S:
            self._announced = True
            self._say(f"booting {self._guest.name}")
        limit_s = self._request.boot_timeout_s
        if spent > limit_s:
            raise self._breakdown(f"{self._guest.name} did not boot within {limit_s:g} s")

    def _breakdown(self, message: str) -> VmError:
        words = self._place.failure()
        console = vm_words.last_lines((self._place.bench / "console").read_bytes())
        parts = [message, *([words] if words else []), console or "  (nothing on its console)"]
        return VmError("\n".join(parts), BROKEN, "ci/vm --console … shows all of the console")


def _write_all(target: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(target, view) :]
        except BlockingIOError:
            select.select([], [target], [])


def _bring_back(source: Path, target: Path) -> None:
    """Move files, folders and links into the target; what else there may be has no use here."""
    for entry in source.iterdir():
        target.mkdir(parents=True, exist_ok=True)
        mode = entry.lstat().st_mode
        if stat.S_ISDIR(mode):
            (target / entry.name).mkdir(exist_ok=True)
            _bring_back(entry, target / entry.name)
        elif stat.S_ISREG(mode) or stat.S_ISLNK(mode):
            (target / entry.name).unlink(missing_ok=True)
            shutil.copy2(entry, target / entry.name, follow_symlinks=False)


def _say(message: str) -> None:
    print(f"ci/vm: {message}", file=sys.stderr, flush=True)


def _silent(_message: str) -> None:
    """Say nothing."""
