"""Seccomp profiles by name (`profiles/*.json`, shipped) or by the absolute path of a JSON file."""

from __future__ import annotations

import os
import stat

from substrate import jsontext
from substrate.errors import BundleError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_DIRECTORY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "profiles")
_SUFFIX = ".json"
_WHERE = "config.json: $.substrate.seccomp.profile"
# O_NONBLOCK: opening a fifo must not wait for a writer.
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MAX_SIZE = 1 << 20


def profile_names() -> tuple[str, ...]:
    """Return the names of the shipped profiles, sorted."""
    names = (name for name in os.listdir(_DIRECTORY) if name.endswith(_SUFFIX))
    return tuple(sorted(name.removesuffix(_SUFFIX) for name in names))


def load_profile(name: str) -> dict[str, Any]:
    """Return the OCI `linux.seccomp` object of a profile.

    A name with a slash is the absolute path of a file, which may not be a symbolic link. Raises
    BundleError.
    """
    if "/" in name:
        if not os.path.isabs(name):
            raise BundleError([f"{_WHERE}: {name}: not an absolute path"])
        return _parse(_read(name), name)
    if name not in profile_names():
        raise BundleError(
            [f"{_WHERE}: no profile is named {name!r}"],
            hint=f"use one of: {', '.join(profile_names())}, or the absolute path of a file",
        )
    return _parse(_read(os.path.join(_DIRECTORY, name + _SUFFIX)), name)


def _read(path: str) -> bytes:
    try:
        fd = os.open(path, _FLAGS)
    except OSError as error:
        raise BundleError([f"{_WHERE}: {path}: {error.strerror}"]) from error
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise BundleError([f"{_WHERE}: {path}: not a regular file"])
        if status.st_size > _MAX_SIZE:
            raise BundleError([f"{_WHERE}: {path}: larger than {_MAX_SIZE} bytes"])
        return os.read(fd, _MAX_SIZE)
    finally:
        os.close(fd)


def _parse(text: bytes, name: str) -> dict[str, Any]:
    try:
        profile = jsontext.loads(text)
    except ValueError as error:
        raise BundleError([f"{_WHERE}: {name}: {error}"]) from error
    if not isinstance(profile, dict):
        raise BundleError([f"{_WHERE}: {name}: expected an object"])
    return profile
