"""What is outside of a world: processes, sockets and kernel files it must not reach."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from tests.support import attack
from tests.support.attack import ATTACK
from tests.support.features import requires

if TYPE_CHECKING:
    from tests.support.attack import Place

pytestmark = requires(*ATTACK)

# Files that are the host's whatever the namespace, and what may be said of them.
_UNWRITABLE = (
    "/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe",
    "/proc/sys/kernel/hotplug", "/proc/sys/vm/drop_caches", "/proc/sys/kernel/domainname",
    "/proc/sys/fs/binfmt_misc/register", "/proc/irq/default_smp_affinity",
    "/proc/sys/net/ipv4/ip_forward",
)  # fmt: skip
_UNREADABLE = ("/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/kmsg")


def test_only_the_world_s_own_processes_exist(place: Place) -> None:
    with attack.background(["sleep", "60"]) as victim:
        script = (
            "echo $(ls -d /proc/[0-9]* | wc -l);"
            f"for pid in {victim.pid} {os.getpid()} {os.getppid()}; do"
            " kill -9 $pid; ls /proc/$pid; done; kill -0 $$ && echo mine"
        )
        output = place.run(script)
        assert victim.poll() is None
    lines = output.splitlines()
    assert int(lines[0]) < 8
    assert lines[-1] == "mine"
    assert output.count("No such process") + output.count("o such file") == 6, output


def test_processes_of_the_host_cannot_be_named_by_any_call(place: Place) -> None:
    with attack.background(["sleep", "60"]) as victim:
        pid = victim.pid
        found = place.attempt([
            f"kill 64 62 {pid} 9", f"tgkill 64 234 {pid} {pid} 9", f"pidfd 64 434 {pid} 0",
            f"ptrace 64 101 0x4206 {pid} 0 0",
            f"setpriority 64 141 0 {pid} 19", f"prlimit 64 302 {pid} 7 0 @",
            f"affinity 64 203 {pid} 8 @a", f"migrate 64 256 {pid} 8 @ @", "own 64 62 1 0",
        ])  # fmt: skip
        assert victim.poll() is None
    assert found.pop("own") == "ok"
    assert set(found.values()) <= {"ESRCH", "EPERM"}, found


def test_abstract_sockets_of_the_host_are_not_there(place: Place) -> None:
    name = f"substrate-attack-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("\0" + name)
        listener.listen(4)
        listener.settimeout(0)
        if place.is_host_view:
            code = (
                "import socket\n"
                "def reach(name):\n"
                "    with socket.socket(socket.AF_UNIX) as client:\n"
                "        return client.connect_ex(name)\n"
                f"print(reach(chr(0) + '{name}'))\n"
                "own = socket.socket(socket.AF_UNIX); own.bind(chr(0) + 'own'); own.listen()\n"
                "print(reach(chr(0) + 'own'))"
            )
            assert place.run(f'python3 -c "{code}"') == "111\n0\n"
        assert name not in place.run("cat /proc/net/unix")
    assert "lo:" in place.run("cat /proc/net/dev")


def test_files_of_the_kernel_are_out_of_reach(place: Place) -> None:
    paths = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
    writes = " ".join(_UNWRITABLE)
    reads = " ".join(_UNREADABLE)
    script = (
        f"for file in {writes}; do (echo x >$file) && echo wrote $file; done 2>/dev/null;"
        f"for file in {reads}; do head -c 1 $file | grep -q . && echo read $file; done 2>/dev/null;"
        "echo x >/proc/self/comm && echo done"
    )
    before = {name: _content(name) for name in _UNWRITABLE}
    assert place.run(script, linux={"readonlyPaths": paths}) == "done\n"
    assert {name: _content(name) for name in _UNWRITABLE} == before


def test_no_file_system_of_the_host_is_left_under_the_new_root(place: Place) -> None:
    output = place.run(
        "cut -d' ' -f5 /proc/self/mountinfo | sort -u; ls -a /..; cat /../etc/shadow; true"
    )
    points = [line for line in output.splitlines() if line.startswith("/")]
    assert "/proc" in points
    for foreign in ("/sys", "/boot", "/root", "/home", "/var/lib", "/mnt", "/oldroot"):
        assert foreign not in points
    assert "root:" not in output


def _content(name: str) -> bytes:
    try:
        with open(name, "rb") as file:
            return file.read()
    except OSError:
        return b""
