"""What a command line says about the process, over what the bundle says."""

from __future__ import annotations

from substrate.bundle.model import Capabilities, Process, User
from substrate.errors import UsageError
from substrate.kernel.capabilities import CAPABILITIES
from substrate.record import record, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


@record
class Overrides:
    """Options of `run` and `exec`; None and empty mean: as the bundle has it."""

    args: tuple[str, ...] = ()
    cwd: str | None = None
    env: tuple[str, ...] = ()
    user: tuple[int, int | None] | None = None
    groups: tuple[int, ...] = ()
    capabilities: tuple[str, ...] = ()
    terminal: bool | None = None
    no_new_privileges: bool = False


NO_OVERRIDES = Overrides()


def override(process: Process | None, asked: Overrides) -> Process | None:
    """Return the process with the caller's wishes applied.

    A bundle without a process gets one when there is a command. Raises `UsageError`.
    """
    if process is None:
        if not asked.args:
            return None
        process = Process(args=asked.args, cwd="/", no_new_privileges=True)
    changes: dict[str, object] = {}
    if asked.args:
        changes["args"] = asked.args
    if asked.cwd is not None:
        if not asked.cwd.startswith("/"):
            message = f"the working directory {asked.cwd!r} is not absolute"
            raise UsageError(message, "use --cwd /DIR")
        changes["cwd"] = asked.cwd
    if asked.terminal is not None:
        changes["terminal"] = asked.terminal
    if asked.no_new_privileges:
        changes["no_new_privileges"] = True
    changes["env"] = _environment(process.env, asked.env)
    changes["user"] = _user(process.user, asked)
    if asked.capabilities:
        changes["capabilities"] = _with_capabilities(process.capabilities, asked.capabilities)
    return replace(process, **changes)


def _environment(env: tuple[str, ...], asked: tuple[str, ...]) -> tuple[str, ...]:
    for entry in asked:
        if "=" not in entry or entry.startswith("="):
            message = f"{entry!r} is not NAME=VALUE"
            raise UsageError(message, "use --env NAME=VALUE")
    values = environment_values(env) | environment_values(asked)
    return tuple(f"{name}={value}" for name, value in values.items())


def environment_values(env: Iterable[str]) -> dict[str, str]:
    """Return the values of `NAME=VALUE` entries by name; the last of a name counts."""
    values: dict[str, str] = {}
    for entry in env:
        name, _, value = entry.partition("=")
        values[name] = value
    return values


def _user(user: User, asked: Overrides) -> User:
    if asked.user is not None:
        uid, gid = asked.user
        # Another user's supplementary groups are not this one's.
        user = User(uid, uid if gid is None else gid, (), user.umask)
    if asked.groups:
        user = replace(user, additional_gids=user.additional_gids + asked.groups)
    return user


def _with_capabilities(has: Capabilities | None, asked: tuple[str, ...]) -> Capabilities:
    names = tuple(name.upper() for name in asked)
    names = tuple(name if name.startswith("CAP_") else f"CAP_{name}" for name in names)
    for name in names:
        if name not in CAPABILITIES:
            message = f"there is no capability {name}"
            raise UsageError(message, "see capabilities(7)")
    has = has or Capabilities()
    # Inheritable stays empty: it would give programs of the world rights of their own
    # (CVE-2022-29162).
    return replace(
        has,
        bounding=_union(has.bounding, names),
        permitted=_union(has.permitted, names),
        effective=_union(has.effective, names),
    )


def _union(has: tuple[str, ...], more: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*has, *more)))
