"""The agent's socket: for one user, for processes outside every world, and nowhere else.

A path in a directory of the user's own, mode 0600. Whoever connects must have the same uid (the
kernel says so, not the caller) and be in the same pid and user namespaces: the payload of a
rootless world has the caller's uid, and would otherwise pass if the socket ever came into its
view.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct

from substrate.errors import RefusedError, SubstrateError, UsageError
from substrate.world.context import prepare_directory

_CREDENTIALS = struct.Struct("=iII")
_LONGEST_ADDRESS = 107
_NAMESPACES = ("pid", "user")


def listen(path: str) -> socket.socket:
    """Return a listening socket at a path. Raises `RefusedError` unless only we can reach it."""
    if len(os.fsencode(path)) > _LONGEST_ADDRESS:
        message = f"the socket's path is longer than {_LONGEST_ADDRESS} bytes: {path}"
        raise UsageError(message, "use --socket PATH with a shorter one")
    prepare_directory(os.path.dirname(path))
    _remove_stale(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    former = os.umask(0o177)
    try:
        listening.bind(path)
    except OSError as error:
        listening.close()
        message = f"cannot listen at {path}: {error.strerror}"
        raise SubstrateError(message) from None
    finally:
        os.umask(former)
    listening.listen(16)
    return listening


def refusal(connected: socket.socket) -> str:
    """Return why a peer is not served, "" when it is."""
    raw = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(raw)
    if uid != os.geteuid():
        return f"uid {uid} is not served, only uid {os.geteuid()}"
    for name in _NAMESPACES:
        try:
            theirs = os.stat(f"/proc/{pid}/ns/{name}").st_ino
        except OSError:
            return "it cannot be seen who asks"
        if theirs != os.stat(f"/proc/self/ns/{name}").st_ino:
            return f"a process of another {name} namespace is not served"
    return ""


def _remove_stale(path: str) -> None:
    try:
        kind = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        message = f"{path} is there and is no socket"
        raise RefusedError(message, "use --socket PATH")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except OSError as error:
            if error.errno != errno.ECONNREFUSED:
                raise
            os.unlink(path)
            return
    message = f"an agent is already listening at {path}"
    raise SubstrateError(message, "end it, or use --socket PATH")
