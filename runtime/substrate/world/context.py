"""Where a runtime keeps things: state, data, caches. Nothing is read from the current directory."""

from __future__ import annotations

import os

from substrate.errors import RefusedError, UsageError
from substrate.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


DEFAULT_ROOT = "/run/substrate"
_ROOT_HINT = "name a directory of your own with --root or SUBSTRATE_HOME, or call as its owner"


@record
class Context:
    """The directories of one runtime and what its caller allows.

    `root` holds one directory per world and is small and volatile; `data` holds layers; `cache`
    can be removed at any time. `no_cgroups`: the caller said that no cgroups are to be made;
    `by_systemd`: that systemd shall make them.
    """

    root: str
    data: str
    cache: str
    no_cgroups: bool = False
    by_systemd: bool = False
    allow_degraded: tuple[str, ...] = ()


def find_directories(root: str | None, environment: Mapping[str, str]) -> tuple[str, str, str]:
    """Return the state, data and cache directories.

    `root` is `--root`; its data lies beside it. Else `SUBSTRATE_HOME` puts all three under one
    directory; else root uses the system's directories and an ordinary user the XDG ones.
    """
    home = environment.get("SUBSTRATE_HOME")
    if root is not None:
        root = os.path.abspath(root)
        cache = os.path.join(home, "cache") if home else _default_directories(environment)[2]
        return root, root + "-data", os.path.abspath(cache)
    if home:
        home = os.path.abspath(home)
        return tuple(os.path.join(home, name) for name in ("state", "data", "cache"))  # type: ignore[return-value]
    return _default_directories(environment)


def prepare_directory(path: str) -> None:
    """Make a directory for us alone, and refuse one that somebody else could change.

    Raises `RefusedError`.
    """
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
    except PermissionError as error:
        raise foreign_root(path, error) from None
    except (FileExistsError, NotADirectoryError):
        message = f"{path} cannot be used for worlds: it is no directory, or lies in none"
        raise UsageError(message, _ROOT_HINT) from None
    status = os.stat(path, follow_symlinks=False)
    if status.st_uid != os.geteuid():
        message = f"{path} belongs to uid {status.st_uid}, not to uid {os.geteuid()}"
        raise RefusedError(message, _ROOT_HINT)
    if status.st_mode & 0o022:
        message = f"{path} can be changed by other users"
        raise RefusedError(message, f"chmod go-w {path}")
    _check_parents(path)


def foreign_root(path: str, error: OSError) -> RefusedError:
    """Return what is told of directories for worlds that are another user's."""
    message = f"cannot use {path} for worlds as uid {os.geteuid()}: {error.strerror}"
    return RefusedError(message, _ROOT_HINT)


def _check_parents(path: str) -> None:
    """Refuse a path on which somebody else could put a directory of theirs in place of ours."""
    while (path := os.path.dirname(path)) != "/":
        status = os.stat(path)
        # Our own group is, on most distributions, ours alone; a sticky directory lets nobody
        # rename what is not theirs.
        others = 0o002 if status.st_gid == os.getegid() else 0o022
        if status.st_mode & others and not status.st_mode & 0o1000:
            message = f"{path} can be changed by other users"
            raise RefusedError(message, f"chmod go-w {path}")


def _default_directories(environment: Mapping[str, str]) -> tuple[str, str, str]:
    if os.geteuid() == 0:
        return DEFAULT_ROOT, "/var/lib/substrate", "/var/cache/substrate"
    from substrate.kernel.accounts import home_of

    home = home_of(environment)
    runtime = environment.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
    state = os.path.join(runtime, "substrate")
    if not os.access(runtime, os.W_OK):
        # No session manager made one: kept apart by the owner check of `prepare_directory`.
        state = f"/tmp/substrate-{os.geteuid()}"  # noqa: S108 -- as XDG_RUNTIME_DIR's fallback
    data = environment.get("XDG_DATA_HOME") or os.path.join(home, ".local/share")
    cache = environment.get("XDG_CACHE_HOME") or os.path.join(home, ".cache")
    return state, os.path.join(data, "substrate"), os.path.join(cache, "substrate")
