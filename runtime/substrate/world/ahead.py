"""A layer made ahead of the command that will use it, while nobody waits for it.

Most of what a span adds to a command is its mount namespace: a stage, a check that the layer below
is at rest, an overlay, its passage, and the copy of the world's mounts that it is put into. Whoever
runs command after command has the next one made when one has ended, and keeps it by a descriptor.

Nothing is looked up in it until it is used, so what changes in the project meanwhile is seen as in
an overlay mounted then. What an overlay has from its beginning are the roots of its layers: it is
used only while these are the same, and removed otherwise. The world's own mounts cannot change
meanwhile: only its idle init is there once there are layers of spans.
"""

from __future__ import annotations

import os
import time
from _queue import Empty, SimpleQueue
from _thread import allocate_lock, start_new_thread
from contextlib import suppress

from substrate.errors import LayerInUseError, SubstrateError
from substrate.isolation.conversation import Conversation, compile_plan, end
from substrate.isolation.entering import mounts_sequence
from substrate.kernel import procfs
from substrate.record import record
from substrate.world import state as states
from substrate.world.beginning import idle, lowered, open_namespaces, overlay_over
from substrate.world.joining import View
from substrate.world.spans import prepare
from substrate.world.stack import BASE_LAYER, LayerStack
from substrate.world.store import World

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from substrate.isolation.steps.spanning import SpanOverlay
    from substrate.world.beginning import NewLayer
    from substrate.world.context import Context
    from substrate.world.stack import SpanLayer
    from substrate.world.state import State

    Roots = tuple[tuple[int, int, int], ...]


# Who runs one command right after the other is not to wait for what it could do as fast itself.
IDLE_S = 0.002
# From then on a thread without work costs more than a new one.
_PATIENCE_S = 60.0
_END = -1
_TRIES = 3


@record
class Made:
    """A layer that waits to be used, and what it was made over.

    `idle_top` of the layers is left out. `place` is its directory, relative to the world's data,
    held by `directory_fd`; `mounts_fd` is its mount namespace: both are its owner's to close.
    """

    state: State
    layers: tuple[SpanLayer, ...]
    roots: Roots
    idle_top: SpanLayer | None
    place: str
    mounts_fd: int
    directory_fd: int


class LayerAhead:
    """The next layer of one world, for any number of threads of this process; `close` it.

    `besides` is done by the same thread, before the layer is made.
    """

    def __init__(
        self, context: Context, world_id: str, besides: Callable[[], None] | None = None
    ) -> None:
        self._besides = besides
        self._context = context
        self._world_id = world_id
        self._made: list[Made] = []
        # Mount namespaces by the spans that run in them, and those of spans that have ended.
        self._entered: dict[str, int] = {}
        self._left: list[int] = []
        # What a thread is asked for: nothing but to close what is left, or a layer in this turn.
        self._tasks: SimpleQueue[int | None] = SimpleQueue()
        self._turn = 0
        self._making = allocate_lock()
        self._starting = allocate_lock()
        self._has_thread = False

    def make(self) -> None:
        """Have a layer made by a thread, unless a command comes before it has begun.

        Nothing is done when there is one. What fails here fails again, and is told, where the
        layer is needed.
        """
        if not self._made:
            self._ask(self._turn)

    def settle(self) -> None:
        """Return when no layer is being made; one that is not begun yet will not be.

        Not with a lock that its maker needs.
        """
        self._turn += 1
        self._close_left()
        if self._making.locked():
            with self._making:
                return

    def release(self, span_id: str) -> None:
        """Let go of what a span that was begun has entered; nothing for any other span.

        Until then its processes end without the end of its mounts, which takes the kernel longer
        than most commands; then a thread waits for that.
        """
        fd = self._entered.pop(span_id, None)
        if fd is not None:
            self._left.append(fd)
            self._ask(None)

    def take(
        self, state: State, stack: LayerStack, layers: list[SpanLayer], span_id: str
    ) -> NewLayer | None:
        """Put the layer on top of a locked stack's layers and return it, None when there is none.

        The inputs of its view are the caller's to close.
        """
        try:
            made = self._made.pop()
        except IndexError:
            return None
        try:
            is_same = (made.state, made.layers) == (state, tuple(layers))
            if is_same and made.roots == _roots(state, layers):
                new = stack.adopt(made.place, span_id, layers)
                if new is not None:
                    return new, made.idle_top, self._entered_by(span_id, made)
        except BaseException:
            _forget(made)
            raise
        _forget(made)
        return None

    def _entered_by(self, span_id: str, made: Made) -> View:
        self._entered[span_id] = os.dup(made.mounts_fd)
        os.close(made.directory_fd)
        inputs = {"namespace:mount": made.mounts_fd}
        return View(None, joins_mounts=True, inputs=inputs, is_own=True)

    def close(self) -> None:
        """Remove what was made and not used."""
        self.settle()
        while self._made:
            _forget(self._made.pop())
        with self._starting:
            if self._has_thread:
                self._tasks.put(_END)
                self._has_thread = False

    def _ask(self, task: int | None) -> None:
        with self._starting:
            if not self._has_thread:
                try:
                    start_new_thread(self._work, ())
                except RuntimeError:  # no more threads
                    self._close_left()
                    return
                self._has_thread = True
            self._tasks.put(task)

    def _work(self) -> None:
        while (task := self._next_task()) != _END:
            self._close_left()
            for _ in range(_TRIES):
                if task is None or task != self._turn:
                    break
                time.sleep(IDLE_S)
                if self._has_made(task):
                    break

    def _has_made(self, turn: int) -> bool:
        """Make a layer in this turn; False when that may succeed in a moment."""
        with self._making:
            try:
                if turn == self._turn:
                    if self._besides is not None:
                        self._besides()
                    self.make_now()
            except LayerInUseError:
                # The mounts of a command end a moment after it.
                return False
            except (SubstrateError, OSError):
                return True
        return True

    def _next_task(self) -> int | None:
        try:
            return self._tasks.get(timeout=_PATIENCE_S)
        except Empty:
            with self._starting:
                if not self._tasks.empty():
                    return self._tasks.get()
                self._has_thread = False
                return _END

    def _close_left(self) -> None:
        while self._left:
            with suppress(IndexError):  # somebody else has it
                os.close(self._left.pop())

    def make_now(self) -> None:
        """Make one, where a world can have one. Raises `SubstrateError` and `OSError`."""
        with World.open(self._context, self._world_id) as world:
            state, owner = world.read(), world.path
        with suppress(FileNotFoundError):  # there was no span yet
            prepare(state.data)
        made = _make(state, owner) if state.status == states.RUNNING else None
        if made is not None:
            self._made.append(made)


def _make(state: State, owner: str) -> Made | None:
    layer = state.layer
    # Without root a namespace of processes that nobody may trace cannot be opened. What is
    # protected is looked up in the overlay, and would be what it was then.
    if (
        layer is None
        or layer.userxattr
        or layer.copied
        or state.protected
        or "mount" not in state.namespaces
    ):
        return None
    with LayerStack(layer, state.data) as stack:
        layers = lowered(state, owner, stack)
        if not layers:
            return None
        roots, idle_top = _roots(state, layers), idle(stack, layers)
        place, directory_fd = stack.make_ahead(layers)
    try:
        overlay = overlay_over(state, stack, layers, idle_top, place)
        mounts_fd = _mounted(state, overlay)
        try:
            _check_idle(stack, layers, idle_top)
        except BaseException:
            os.close(mounts_fd)
            raise
    except BaseException:
        stack.forget_ahead(place)
        os.close(directory_fd)
        raise
    return Made(state, tuple(layers), roots, idle_top, place, mounts_fd, directory_fd)


def _check_idle(stack: LayerStack, layers: list[SpanLayer], idle_top: SpanLayer | None) -> None:
    """Raise `LayerInUseError` when the layer that was left out has got something meanwhile."""
    if idle(stack, layers) != idle_top:
        message = "the topmost layer was changed before it was at rest"
        raise LayerInUseError(message)


def _mounted(state: State, overlay: SpanOverlay) -> int:
    """Return a mount namespace of the world in which the overlay is where the project is.

    Raises `LayerInUseError` when the layer below it is not at rest.
    """
    inputs = open_namespaces(state)
    try:
        if not procfs.is_alive(state.pid, state.start_time):
            raise ProcessLookupError(state.pid)  # the files may be another process's
        talk = Conversation(compile_plan(mounts_sequence(overlay)), inputs, "native")
        try:
            talk.expect_ready(terminal=False)
            return os.open(f"/proc/{talk.pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            end(talk)
    finally:
        for fd in inputs.values():
            os.close(fd)


def _roots(state: State, layers: list[SpanLayer]) -> Roots:
    """Return which directories an overlay over these layers has from its beginning.

    Of the layers of spans the topmost tells: none of them comes back under the same name. The
    project changes all the time, the layers only by an accept, a discard or an undo.
    """
    assert state.layer is not None  # noqa: S101 -- the callers have looked
    project = os.stat(state.layer.project, follow_symlinks=False)
    names = [BASE_LAYER.name, layers[-1].name]
    uppers = [os.stat(f"{state.data}/{name}/upper", follow_symlinks=False) for name in names]
    ours = [(status.st_dev, status.st_ino, status.st_ctime_ns) for status in uppers]
    return ((project.st_dev, project.st_ino, 0), *ours)


def _forget(made: Made) -> None:
    # Before its directories go.
    os.close(made.mounts_fd)
    if made.state.layer is not None:
        with suppress(OSError):  # they go with the world
            LayerStack(made.state.layer, made.state.data).forget_ahead(made.place)
    os.close(made.directory_fd)
