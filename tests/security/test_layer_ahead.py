"""A hostile command in a layer that was made ahead of it: no more in reach than in any other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from substrate.api.capture import Capture
from substrate.world.ahead import LayerAhead
from substrate.world.context import Context
from substrate.world.overrides import Overrides
from substrate.world.process import begin, leave
from tests.privileged.test_layer_ahead import make
from tests.security.test_spans import ADMIN, FILES
from tests.support.attack import ATTACK
from tests.support.features import requires
from tests.support.spans import AT, Session

if TYPE_CHECKING:
    from substrate.api.capture import Before
    from substrate.world.process import Started
    from tests.support.runtime import Runtime

pytestmark = requires("root", *ATTACK)


class Ahead:
    """Commands of world `w`, run in this process, with or without a layer made ahead."""

    def __init__(self, session: Session) -> None:
        home = session.runtime.home
        state, data, cache = (str(home / name) for name in ("state", "data", "cache"))
        self._context = Context(state, data, cache)
        self._ahead = LayerAhead(self._context, "w")
        self._number = 0

    def run(self, script: str, *, made: bool) -> str:
        """Return what a shell script prints, its errors too."""
        if made:
            make(self._ahead)
        self._number += 1
        names = (f"ahead-{self._number}", "")
        asked = Overrides(args=("sh", "-c", f"exec 2>&1; {script}"), cwd=AT)
        begun: list[Started] = []

        def start(streams: dict[int, int], _terminal: bool, _before: Before | None) -> Started:
            ahead = self._ahead if made else None
            begun.append(begin(self._context, "w", asked, streams, names, ahead=ahead))
            return begun[0]

        ended = Capture(b"", 1 << 16, timeout_s=60).attend(start, terminal=False)
        self._ahead.release(names[0])
        leave(begun[0], ended.code)
        begun[0].used()
        # Ends the mounts of the command, which a thread would do.
        self._ahead.close()
        assert ended.stdout is not None
        return ended.stdout.text


_LOCKS = f"""
options() {{ awk '$5 == "{AT}" {{ print $6 }}' /proc/self/mountinfo; }}
options
for wish in dev suid atime,strictatime; do
    mount -o remount,bind,$wish {AT} && echo "unlocked $wish"
done
options
umount {AT} && echo gone
mount -t tmpfs none /tmp && echo may mount
mount -o remount,bind,ro {AT}; options
"""


def test_a_layer_made_ahead_is_as_locked_as_one_made_for_its_command(runtime: Runtime) -> None:
    session = Session(runtime, FILES, bundle=ADMIN)
    ahead = Ahead(session)
    ahead.run("true", made=False)
    now = ahead.run(_LOCKS, made=False)
    shown = ahead.run(f"grep -o 'upperdir=[^,]*' /proc/self/mountinfo; {_LOCKS}", made=True)
    place, _, later = shown.partition("\n")
    assert "/.ahead-" in place
    assert later.splitlines() == now.splitlines()
    assert "nosuid,nodev" in now
    assert "unlocked" not in now
    assert "may mount" in now


def test_no_layer_can_be_named_from_inside_one_that_was_made_ahead(runtime: Runtime) -> None:
    session = Session(runtime, FILES, bundle=ADMIN)
    ahead = Ahead(session)
    ahead.run("echo secret > mine", made=False)
    home = runtime.home
    script = f"""
grep -c -e {home} -e lower/ /proc/self/mounts /proc/1/mountinfo
ls -d {home} {session.data} layer layers /layer /stage 2>&1 | grep -v 'cannot'
ls /proc | grep -c '^[0-9]'
ls -l /proc/self/fd /proc/1/fd 2>/dev/null | grep -e mnt: -e layers -e {home} -e upper
find / -xdev -name upper -not -path '/usr/*' -not -path '/proc/*' 2>/dev/null
cat mine
"""
    told = ahead.run(script, made=True).splitlines()
    # The world's init, the shell, ls and grep.
    assert told == ["/proc/self/mounts:0", "/proc/1/mountinfo:0", "4", "secret"]


def test_a_mount_that_one_command_makes_is_not_in_a_layer_made_ahead_of_another(
    runtime: Runtime,
) -> None:
    ahead = Ahead(Session(runtime, FILES, bundle=ADMIN))
    told = ahead.run(f"mount -t tmpfs mine {AT}/d && grep -c ^mine /proc/mounts", made=False)
    assert told == "1\n"
    for _ in range(2):
        assert ahead.run("grep -c ^mine /proc/mounts; cat d/b", made=True) == "0\ntwo\n"
        ahead.run(f"mount -t tmpfs mine {AT}/d", made=True)
