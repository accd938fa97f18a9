"""A session's layers outlive a restart of the machine, and so does what it takes to find them.

The state of worlds is volatile, as an OCI runtime's is. Beside its layers a session keeps a copy:
with that its changes can be looked at, accepted and discarded although its world is gone.
"""

from __future__ import annotations

import os

from substrate.errors import WorldExistsError
from substrate.world.store import CONFIG_FILE, STATE_FILE, World

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.world.context import Context

FOLDER = "session"
SESSION_FILE = "session"
# What the policy said of worlds when this one was made.
POLICY_FILE = "policy.json"
# The state last: it is what says that the others are there.
_FILES = (CONFIG_FILE, SESSION_FILE, POLICY_FILE, STATE_FILE)


def keep(context: Context, world_id: str) -> None:
    """Copy what finds a session's layers to them; nothing for a world that has none."""
    with World.open(context, world_id) as world:
        if not os.path.isdir(world.data):
            return
        folder = os.path.join(world.data, FOLDER)
        os.makedirs(folder, mode=0o700, exist_ok=True)
        for name in _FILES:
            content = world.read_file(name)
            if content is not None:
                _write(os.path.join(folder, name), content)


def restore(context: Context, world_id: str) -> bool:
    """Make the state of a session from its copy; False when there is none."""
    folder = os.path.join(context.data, world_id, FOLDER)
    try:
        found = {name: _read(os.path.join(folder, name)) for name in _FILES if name != POLICY_FILE}
    except FileNotFoundError:
        return False
    policy = os.path.join(folder, POLICY_FILE)
    if os.path.lexists(policy):
        found = {POLICY_FILE: _read(policy)} | found
    try:
        with World.claim(context, world_id) as world:
            for name, content in found.items():
                world.write_file(name, content)
    except WorldExistsError:
        return True  # by another call
    return True


def keep_changes(context: Context, world_id: str) -> None:
    """Give the trace what each span of a world has changed, before its layers go.

    Raises `SubstrateError`.
    """
    from substrate.trace.changes import keep_changes as keep_in_trace
    from substrate.trace.directory import trace_directory
    from substrate.world.diff import diff
    from substrate.world.spans import recorded_spans

    for span_id in recorded_spans(os.path.join(context.data, world_id)):
        found = diff(context, world_id, (), span_id)
        if not found.empty or found.touched:
            told = found.to_json(touched=True)
            keep_in_trace(trace_directory(context.data), span_id, told)


def _write(path: str, content: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    with open(os.open(f"{path}.new", flags, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.rename(f"{path}.new", path)


def _read(path: str) -> str:
    with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW), "rb") as file:
        return file.read().decode("utf-8", "surrogateescape")
