"""The layers of a world on disk, one directory each, and the lock of whoever changes the stack.

Below the world's data directory: `layer`, which the world's own mount writes to, and
`layers/NUMBER.SPAN`, a span's, each with `upper` and `work`. The names are all there is to know: a
layer appears and goes by one rename, so an interruption leaves either stack and never a torn one.
"""

from __future__ import annotations

import errno
import fcntl
import os

from substrate.errors import SubstrateError, UsageError, WorldNotFoundError, WorldStateError
from substrate.filesystem.layers import OVERLAY_PREFIXES, Stacked, begin_now, copy_root
from substrate.record import record
from substrate.world.accepted import check_complete, highest_accepted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from substrate.world.state import Layer

LAYERS = "layers"
# There where the kernel takes the layers below another in one mount option only.
ONE_OPTION_FILE = "one-option"
BASE = "layer"
# What covers the paths that a project denies (`filesystem/cover.py`).
COVER = "cover"
LOCK_TIMEOUT_S = 30.0
_NEW, _SPARE, _DROPPED = ".new", ".spare", ".dropped-"
_AHEAD = ".ahead-"
# Of a layer; the last is for the overlay by which `CheckAtRest` asks, without root.
_PARTS = ("upper", "work", "rest")
SQUASHED = "squash-"
_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
_LONGEST = 64


def check_span_id(span_id: str) -> None:
    """Raise `UsageError` unless it can name a span: letters, digits, `_` and `-`, at most 64."""
    known = _CHARACTERS.issuperset(span_id) and not span_id.startswith(SQUASHED)
    if not span_id or len(span_id) > _LONGEST or not known:
        message = f"invalid span id {span_id!r}"
        raise UsageError(message, "letters, digits, _ and - are allowed, at most 64 of them")


@record
class SpanLayer:
    """One layer of the stack: that of a span, or number 0, the world's own."""

    number: int
    span_id: str

    @property
    def first(self) -> int:
        """The lowest number it stands for: its own, unless it was made of several."""
        if self.span_id.startswith(SQUASHED):
            return int(self.span_id.removeprefix(SQUASHED))
        return self.number

    @property
    def name(self) -> str:
        """Its directory, relative to the world's data."""
        return f"{LAYERS}/{self.number}.{self.span_id}" if self.number else BASE


BASE_LAYER = SpanLayer(0, "")


class LayerStack:
    """The stack of one world; within `with` it is locked, and nobody else changes it.

    `shared`: for whoever only must not see it change. `unfinished`: for whoever completes what
    has been left half done; everybody else is refused then, with `WorldStateError`.
    """

    def __init__(
        self, layer: Layer, data: str, *, shared: bool = False, unfinished: bool = False
    ) -> None:
        self.layer = layer
        self.data = data
        self._may_be_unfinished = unfinished
        self._operation = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        self._fd = -1

    def __enter__(self) -> LayerStack:
        try:
            self._fd = os.open(self.data, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise self._gone() from None
        try:
            self._lock()
            here = os.stat(self.data, follow_symlinks=False)
            ours = os.fstat(self._fd)
            if not self._may_be_unfinished:
                check_complete(self.data)
        except FileNotFoundError:
            self.__exit__()
            raise self._gone() from None
        except BaseException:
            self.__exit__()
            raise
        if (here.st_dev, here.st_ino) != (ours.st_dev, ours.st_ino):
            self.__exit__()
            raise self._gone()
        return self

    def __exit__(self, *_details: object) -> None:
        os.close(self._fd)

    def layers(self) -> list[SpanLayer]:
        """Return the layers of spans from the lowest to the topmost."""
        found = _all_layers(self.data)
        counting = _counting(found)
        if len(counting) < len(found) and self._operation == fcntl.LOCK_EX:
            for layer in found:
                if layer not in counting:
                    self.drop(layer)
        return counting

    def path(self, layer: SpanLayer) -> str:
        """Return the directory of a layer."""
        return f"{self.data}/{layer.name}"

    def push(self, span_id: str, layers: list[SpanLayer]) -> SpanLayer:
        """Make an empty layer on top of these, which are all there are.

        Raises `SubstrateError` when there is no space for it.
        """
        try:
            return self._push(span_id, layers)
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
                raise
            message = f"making a layer in {self.data}: {(error.strerror or '').lower()}"
            hint = "make room, or drop layers: substrate-runtime rollback ID SPAN"
            raise SubstrateError(message, hint) from error

    def _push(self, span_id: str, layers: list[SpanLayer]) -> SpanLayer:
        layer = self._next(span_id, layers)
        os.rename(self._make(layers), self.path(layer))
        return layer

    def _make(self, layers: list[SpanLayer]) -> str:
        """Make the directories of the layer after these; return where they are, to be renamed."""
        folder = f"{self.data}/{LAYERS}"
        new = f"{folder}/{_NEW}"
        source = f"{self.path(layers[-1] if layers else BASE_LAYER)}/upper"
        if self._reuse(new):
            begin_now(new)
        else:
            try:
                os.mkdir(folder, 0o700)
            except FileExistsError:
                # A call that was killed may have left one.
                remove(new)
            self._make_parts(new)
        copy_root(source, f"{new}/upper")
        return new

    def make_ahead(self, layers: list[SpanLayer]) -> tuple[str, int]:
        """Make the directories of the layer that may come after these, outside the stack yet.

        Returns their place relative to the world's data, and a descriptor of it. Until that is
        closed nobody else makes any: `BlockingIOError`.
        """
        for name in os.listdir(f"{self.data}/{LAYERS}"):
            if name.startswith(_AHEAD):
                os.close(_claimed(f"{self.data}/{LAYERS}/{name}"))
                remove(f"{self.data}/{LAYERS}/{name}")  # its maker was killed
        # Never the name of another one: a process that its maker has left may still look for that.
        place = f"{ahead_names(self._next('', layers))}{os.urandom(8).hex()}"
        new = self._make(layers)
        begin_now(new)
        os.rename(new, f"{self.data}/{place}")
        return place, _claimed(f"{self.data}/{place}")

    def adopt(self, place: str, span_id: str, layers: list[SpanLayer]) -> SpanLayer | None:
        """Take what was made ahead of these layers into the stack; None if it is not there."""
        layer = self._next(span_id, layers)
        try:
            begin_now(f"{self.data}/{place}")
            os.rename(f"{self.data}/{place}", self.path(layer))
        except FileNotFoundError:
            return None
        return layer

    def forget_ahead(self, place: str) -> None:
        """Remove what was made ahead and is not wanted, nor mounted any more."""
        remove(f"{self.data}/{place}")

    def _next(self, span_id: str, layers: list[SpanLayer]) -> SpanLayer:
        number = layers[-1].number if layers else highest_accepted(self.data)
        return SpanLayer(number + 1, span_id)

    def receive(self, layer: SpanLayer, fill: Callable[[str], None]) -> None:
        """Take in a layer that `fill` makes in a directory with empty parts."""
        folder = f"{self.data}/{LAYERS}"
        os.makedirs(folder, 0o700, exist_ok=True)
        self._make_parts(f"{folder}/{_NEW}")
        fill(f"{folder}/{_NEW}")
        os.rename(f"{folder}/{_NEW}", self.path(layer))

    def _make_parts(self, directory: str) -> None:
        os.mkdir(directory, 0o700)
        for name in _PARTS if self.layer.userxattr else _PARTS[:-1]:
            os.mkdir(f"{directory}/{name}", 0o700)

    def _reuse(self, new: str) -> bool:
        """Take what a span that changed nothing has left, which is cheaper than making it anew."""
        try:
            os.rename(f"{self.data}/{LAYERS}/{_SPARE}", new)
        except OSError as error:
            if error.errno not in {errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST}:
                raise
            return False
        # A volatile overlay leaves a mark there, by which the kernel refuses to mount it again.
        try:
            for name in ("/incompat/volatile/dirty", "/incompat/volatile", "/incompat", ""):
                path = f"{new}/work/work{name}"
                os.unlink(path) if name.endswith("dirty") else os.rmdir(path)
        except OSError:
            remove(f"{new}/work/work")
        return True

    def spare(self, layer: SpanLayer) -> None:
        """Take an empty layer out of the stack and keep its directories for the next one."""
        try:
            os.rename(self.path(layer), f"{self.data}/{LAYERS}/{_SPARE}")
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise
            self.drop(layer)

    def squash(self, layers: list[SpanLayer]) -> None:
        """Make several layers into one that shows the same; nobody may be using them.

        They are the lowest ones, the lowest first. Raises `SubstrateError`.
        """
        from substrate.filesystem.since import write_since
        from substrate.filesystem.squash import squash

        new = f"{self.data}/{LAYERS}/{_NEW}"
        remove(new)
        self._make_parts(new)
        uppers = [f"{self.path(layer)}/upper" for layer in reversed(layers)]
        lowers = [f"{self.path(BASE_LAYER)}/upper", *cover_of(self.data), self.layer.project]
        write_since(new, squash(uppers, lowers, self.layer.xattr_prefix, f"{new}/upper"))
        whole = SpanLayer(layers[-1].number, f"{SQUASHED}{layers[0].first}")
        # From here on the new one counts, and those it is made of do not: see read_layers.
        os.rename(new, self.path(whole))
        for layer in layers:
            self.drop(layer)

    def drop(self, layer: SpanLayer) -> None:
        """Take a layer out of the stack and remove it."""
        aside = f"{self.data}/{LAYERS}/{_DROPPED}{layer.number}"
        remove(aside)
        try:
            os.rename(self.path(layer), aside)
        except FileNotFoundError:
            return
        remove(aside)

    def is_empty(self, layer: SpanLayer, below: SpanLayer | None) -> bool:
        """Whether nothing was changed in a layer, so that the stack is the same without it.

        `below` is the layer under it, None for the project.
        """
        upper = f"{self.path(layer)}/upper"
        under = self.layer.project if below is None else f"{self.path(below)}/upper"
        with os.scandir(upper) as listing:
            if next(listing, None) is not None:
                return False
        one, two = os.stat(upper), os.stat(under)
        if (one.st_mode, one.st_uid, one.st_gid) != (two.st_mode, two.st_uid, two.st_gid):
            return False
        return _attributes(upper) == _attributes(under)

    def stacked(self, name: str, below: list[SpanLayer]) -> Stacked:
        """Return how a layer is mounted over those `below`, the lowest of which comes first.

        `name` is its directory, relative to the world's data.
        """
        names = [one.name for one in reversed(below)]
        # The lowest is mounted in the world all the time, of which the kernel would warn.
        if not self.is_empty(BASE_LAYER, None):
            names.append(BASE)
        if os.path.isdir(f"{self.data}/{COVER}"):
            names.append(COVER)
        return Stacked(name, tuple(names))

    def _lock(self) -> None:
        import time

        deadline = time.monotonic() + LOCK_TIMEOUT_S
        while True:
            try:
                fcntl.flock(self._fd, self._operation | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    message = f"the layers in {self.data} are busy: another span is starting"
                    raise WorldStateError(message, f"fuser {self.data} tells which") from None
                time.sleep(0.002)
                continue
            return

    def _gone(self) -> WorldNotFoundError:
        message = f"the layers in {self.data} are gone"
        return WorldNotFoundError(message, "substrate-runtime list")


def cover_of(data: str) -> list[str]:
    """Return the directory that covers what the project denies, if there is one."""
    path = f"{data}/{COVER}/upper"
    return [path] if os.path.isdir(path) else []


def read_layers(data: str) -> list[SpanLayer]:
    """Return the layers of spans below a world's data directory, the lowest first."""
    return _counting(_all_layers(data))


def ahead_names(layer: SpanLayer) -> str:
    """Return how the places begin where a layer may have been made ahead of its span.

    Relative to the world's data. Its overlay tells that place for ever, see mountinfo.
    """
    return f"{LAYERS}/{_AHEAD}{layer.number}."


def _claimed(directory: str) -> int:
    """Return a descriptor with the directory's lock; raises `BlockingIOError` when it is taken."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _all_layers(data: str) -> list[SpanLayer]:
    try:
        names = os.listdir(f"{data}/{LAYERS}")
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
        return []
    found: list[SpanLayer] = []
    for name in names:
        number, _, span_id = name.partition(".")
        if number.isdigit():
            found.append(SpanLayer(int(number), span_id))
    return found


def _counting(found: list[SpanLayer]) -> list[SpanLayer]:
    """Return those that count, sorted: not what an interruption has left beside its squash."""
    found = sorted(found, key=lambda layer: (layer.number, -layer.first))
    counting: list[SpanLayer] = []
    for layer in found:
        # A squash stands for what it was made of, which has all these numbers, and for no others:
        # layers that an accept had put away may be back below it.
        while counting and counting[-1].number >= layer.first:
            counting.pop()
        counting.append(layer)
    return counting


def remove(path: str) -> None:
    """Remove a directory of ours with all a payload may have put there."""
    if not os.path.lexists(path):
        return
    from substrate.filesystem.removal import remove_layers

    remove_layers(path)


def _attributes(path: str) -> dict[str, bytes]:
    return {
        key: os.getxattr(path, key)
        for key in os.listxattr(path)
        if not key.startswith(OVERLAY_PREFIXES)
    }
