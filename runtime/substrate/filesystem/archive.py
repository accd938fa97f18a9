"""The layers whose changes are in the project now, put where the undo of that accept finds them.

    undo/NUMBER/layers/   those of spans, under the names they had
    undo/NUMBER/layer/    the world's own; where that stays mounted, what its root was

Over the project of before they show what they showed, so they come back below whatever the world
has made since, which was made over the same tree. Each function can be called again after it was
killed: every step is one rename, and what has gone is not looked for twice.
"""

from __future__ import annotations

import os

from substrate.errors import RefusedError
from substrate.filesystem.baseline import BASELINE_FILE, copy_baseline, write_baseline
from substrate.filesystem.journal import sync_directory
from substrate.filesystem.layers import copy_root, make_layer
from substrate.filesystem.removal import remove_layers

_LAYERS, _OWN = "layers", "layer"
_NEW, _EMPTIED = "layer.new", "emptied"


class Archive:
    """What one accept has put away, and where it came from.

    `place` is the directory of that accept; `layers` holds the directories of the layers of spans
    and `own` is that of the world's own. Nobody else changes any of them meanwhile.
    """

    def __init__(self, place: str, layers: str, own: str) -> None:
        self._away = os.path.join(place, _LAYERS)
        self._away_own = os.path.join(place, _OWN)
        self._place = place
        self._layers = layers
        self._own = own

    @property
    def holds_layers(self) -> bool:
        """Whether anything was put away and is still there."""
        return os.path.lexists(self._away) or os.path.lexists(self._away_own)

    def put_away(self, project: str, *, mounted: bool, userxattr: bool) -> None:
        """Leave the world an empty layer over `project`, which has all the changes by now.

        `mounted`: the world's own layer is in use, and empty.
        """
        if os.path.isdir(self._layers) and not os.path.lexists(self._away):
            os.rename(self._layers, self._away)
        if mounted:
            self._keep_root(userxattr=userxattr)
            write_baseline(self._own, project)
            copy_root(project, os.path.join(self._own, "upper"))
        else:
            self._replace_own(project, userxattr=userxattr)
        self._sync()

    def check_room(self, *, mounted: bool) -> None:
        """Raise `RefusedError` when what was put away cannot come back now."""
        upper = os.path.join(self._own, "upper")
        # Spans have layers above it, so nobody should have written there.
        if os.path.lexists(self._away_own) and not mounted and os.listdir(upper):
            message = f"bringing accepted changes back: {upper} has newer ones of no span"
            raise RefusedError(message, "accept these too, or discard them")

    def bring_back(self, *, mounted: bool) -> None:
        """Put everything where it was, below what the world has made since."""
        if not self.holds_layers:
            return
        if os.path.isdir(self._away):
            os.makedirs(self._layers, 0o700, exist_ok=True)
            for name in os.listdir(self._away):
                # The others are no layers: a spare one, for instance.
                if name[0].isdigit():
                    os.rename(os.path.join(self._away, name), os.path.join(self._layers, name))
        if os.path.lexists(self._away_own):
            emptied = os.path.join(self._place, _EMPTIED)
            if mounted:
                copy_root(os.path.join(self._away_own, "upper"), os.path.join(self._own, "upper"))
                copy_baseline(self._away_own, self._own)
                os.rename(self._away_own, emptied)
            else:
                if os.path.lexists(self._own):
                    os.rename(self._own, emptied)
                os.rename(self._away_own, self._own)
        self._sync()

    def _keep_root(self, *, userxattr: bool) -> None:
        """Keep what the root of a layer is that has nothing else in it."""
        if os.path.lexists(self._away_own):
            return
        new = os.path.join(self._place, _NEW)
        remove_layers(new)
        os.mkdir(new, 0o700)
        make_layer(new, os.path.join(self._own, "upper"), "", userxattr)
        copy_baseline(self._own, new)
        os.rename(new, self._away_own)

    def _replace_own(self, project: str, *, userxattr: bool) -> None:
        fresh = self._own + ".fresh"
        if not os.path.lexists(self._away_own):
            remove_layers(fresh)
            make_fresh(fresh, project, userxattr=userxattr)
            os.rename(self._own, self._away_own)
        if not os.path.lexists(self._own):
            os.rename(fresh, self._own)

    def _sync(self) -> None:
        sync_directory(self._place)
        sync_directory(os.path.dirname(self._own))
        if os.path.isdir(self._layers):
            sync_directory(self._layers)


def make_fresh(directory: str, project: str, *, userxattr: bool) -> None:
    """Make the directory of an empty layer over `project` as it is now, durably."""
    os.mkdir(directory, 0o700)
    write_baseline(directory, project)
    make_layer(directory, project, "", userxattr)
    fd = os.open(os.path.join(directory, BASELINE_FILE), os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
    sync_directory(directory)
