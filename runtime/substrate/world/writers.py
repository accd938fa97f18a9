"""Who may still write to a world's layers: who is in the world, and who has a layer mounted."""

from __future__ import annotations

import os

from substrate.kernel import procfs
from substrate.world.kill import world_processes
from substrate.world.stack import BASE_LAYER, ahead_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.world.stack import SpanLayer
    from substrate.world.state import State


def is_at_rest(state: State, owner: str) -> bool:
    """Whether a world's own layer can be put below others: nobody is there who writes to it.

    Our own init does not. A layer with an index cannot: in it, names of one file changed
    together, and the layers above know nothing of that.
    """
    try:
        if os.listdir(f"{state.data}/{BASE_LAYER.name}/work/index"):
            return False
    except FileNotFoundError:
        pass
    return nobody_writes(state, owner)


def nobody_writes(state: State, owner: str) -> bool:
    """Whether nobody is in a world but our own init."""
    if not state.idle or procfs.has_children(state.pid):
        return False
    return world_processes(state, owner) == [state.pid]


def mount_namespace(state: State, owner: str, layer: SpanLayer) -> int:
    """Return a descriptor of the mount namespace in which a layer is mounted, -1 for none."""
    for pid in world_processes(state, owner):
        try:
            if not _mounts_layer(pid, layer):
                continue
            return os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            # It has ended meanwhile.
            continue
    return -1


def _mounts_layer(pid: int, layer: SpanLayer) -> bool:
    ending, former = f"/{layer.name}/upper".encode(), f"/{ahead_names(layer)}".encode()
    with open(f"/proc/{pid}/mountinfo", "rb") as file:
        for line in file:
            _, _, rest = line.partition(b" - overlay ")
            for option in rest.rstrip(b"\n").split(b","):
                if not option.startswith(b"upperdir="):
                    continue
                # It may have been mounted before its span had a name.
                if option.endswith(ending) or former in option:
                    return True
    return False
