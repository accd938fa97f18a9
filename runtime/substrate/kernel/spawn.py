"""Start the process that runs a plan, by either executor.

`native` (the default) starts world-init at once; `python` forks this process and interprets the
plan up to its hand-over. Both leave the calling process as it was. The plan's descriptors keep
their numbers; nothing else above 2 is kept except what the caller preserves.
"""

from __future__ import annotations

import fcntl
import os

from substrate.errors import (
    CannotExecuteError,
    CommandNotFoundError,
    DependencyError,
    UsageError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from substrate.kernel.plan import Plan

_NATIVE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "native")
# Ignored by Python itself, so inherited by everything it starts unless reset.
IGNORED_BY_PYTHON = (13, 25)  # SIGPIPE, SIGXFSZ

_MOST_DESCRIPTORS = 0x7FFF_FFFF
_LOWEST_KEPT = 40

EXECUTORS = ("native", "python")


def native_program(name: str) -> str:
    """Return the path of one of our C programs; raises `DependencyError` when it was not built."""
    path = os.path.join(_NATIVE, name)
    if not os.path.exists(path):
        message = f"{name} is not built: {path} does not exist"
        raise DependencyError(
            message, "run ci/setup, or reinstall the package with a C compiler present"
        )
    return path


def world_init_fd() -> int:
    """Return a descriptor of world-init in a sealed memfd: there is no file to overwrite.

    Raises `DependencyError` when it was not built.
    """
    with open(native_program("world-init"), "rb") as file:
        program = file.read()
    return sealed_memfd("world-init", program, executable=True)


# Descriptor, device and inode of the one that this process keeps.
_kept: list[tuple[int, int, int]] = []


def kept_world_init_fd() -> int:
    """Return a descriptor of world-init that this process keeps for all its worlds.

    Raises what `world_init_fd` raises.
    """
    if _kept:
        fd, *identity = _kept[0]
        # Whoever embeds us may close what it did not open, and the number come back as a file.
        if _identity(fd) == identity:
            return fd
        _kept.clear()
    made = world_init_fd()
    try:
        # Out of the way of the numbers that a program is given.
        fd = fcntl.fcntl(made, fcntl.F_DUPFD_CLOEXEC, _LOWEST_KEPT)
    finally:
        os.close(made)
    device, inode = _identity(fd)
    _kept.append((fd, device, inode))
    return fd


def _identity(fd: int) -> list[int]:
    try:
        status = os.fstat(fd)
    except OSError:
        return [-1, -1]
    return [status.st_dev, status.st_ino]


def sealed_memfd(name: str, content: bytes | bytearray, *, executable: bool = False) -> int:
    """Return a descriptor of anonymous memory with this content that nobody can change."""
    # MFD_EXEC and MFD_NOEXEC_SEAL are since 6.3; without them the sysctl vm.memfd_noexec decides.
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    kind = 0x10 if executable else 0x8
    try:
        fd = os.memfd_create(name, flags | kind)
    except OSError as error:
        if error.errno != 22:
            raise
        fd = os.memfd_create(name, flags)
    os.write(fd, content)
    seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


def spawn(
    plan: Plan, inputs: dict[str, int], executor: str = "native", keep: Iterable[int] = ()
) -> int:
    """Start `plan` in a new process and return its pid.

    `inputs` are the plan's descriptors by name; `keep` further ones to inherit. The caller owns
    and closes all of them.
    """
    fds = {fd for fd in inputs.values() if fd >= 0} | set(keep)
    if executor == "native":
        return _spawn_native(plan, inputs, fds)
    if executor == "python":
        return _spawn_python(plan, inputs, fds)
    message = f"there is no executor {executor!r}"
    raise UsageError(message, "use --executor native or --executor python")


def spawn_on_host(argv: tuple[str, ...], env: dict[str, str], descriptors: dict[int, int]) -> int:
    """Start a program of the host in this process's directory; return its pid, a child of ours.

    `descriptors` are ours by its numbers; standard streams not named are this process's own.
    Raises `CommandNotFoundError` and `CannotExecuteError`.
    """
    actions = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in descriptors.items()]
    try:
        return os.posix_spawnp(
            argv[0], argv, env, file_actions=actions, setsigmask=(), setsigdef=IGNORED_BY_PYTHON
        )
    except FileNotFoundError:
        message = f"cannot execute {argv[0]}: no such program"
        raise CommandNotFoundError(message) from None
    except OSError as error:
        message = f"cannot execute {argv[0]}: {error.strerror}"
        raise CannotExecuteError(message) from None


def _spawn_native(plan: Plan, inputs: dict[str, int], fds: set[int]) -> int:
    encoded = plan.encode(inputs)
    program = kept_world_init_fd()
    image = sealed_memfd("plan", encoded)
    try:
        return os.posix_spawn(
            f"/proc/self/fd/{program}",
            _arguments(image, fds),
            {},
            # dup2 onto itself clears close-on-exec in the child alone.
            file_actions=[(os.POSIX_SPAWN_DUP2, fd, fd) for fd in sorted(fds | {image})],
            setsigmask=(),
            setsigdef=IGNORED_BY_PYTHON,
        )
    finally:
        os.close(image)


def _spawn_python(plan: Plan, inputs: dict[str, int], fds: set[int]) -> int:
    # Loaded before the fork: the child makes no import, only system calls.
    import signal

    from substrate.kernel import credentials, interpret

    encoded = plan.encode(inputs)
    program = world_init_fd()
    try:
        pid = os.fork()
    except OSError:
        os.close(program)
        raise
    if pid:
        os.close(program)
        return pid
    try:
        for number in IGNORED_BY_PYTHON:
            signal.signal(number, signal.SIG_DFL)
        _close_others(fds | {program})
        image = interpret.Image(encoded)
        interpret.run(image, plan.handover)
        rest = sealed_memfd("plan", image.encoded_from(plan.handover))
        for fd in fds | {rest}:
            os.set_inheritable(fd, True)
        credentials.keep_capabilities_over_execve()
        os.execve(program, _arguments(rest, fds), {})
    finally:
        os._exit(127)


def _arguments(image: int, fds: set[int]) -> list[str]:
    """Return world-init's arguments: the plan's image, and every descriptor it may keep."""
    return ["world-init", str(image), *map(str, sorted(fds | {image}))]


def _close_others(fds: set[int]) -> None:
    last = 2
    for fd in sorted(fds):
        os.closerange(last + 1, fd)
        last = max(last, fd)
    os.closerange(last + 1, _MOST_DESCRIPTORS)
