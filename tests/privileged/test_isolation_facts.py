"""What a process finds out about the world it is in, and what it cannot."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
from typing import TYPE_CHECKING

import pytest

from tests.support import calls
from tests.support.calls import in_host_view, in_world
from tests.support.features import requires

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.runtime import Runtime

pytestmark = requires(*calls.LAYERED)


def test_first_process_of_a_world_is_pid_1_and_sees_no_other(any_runtime: Runtime) -> None:
    lines = in_world(any_runtime, "echo $$; ls /proc | grep -c '^[0-9]'").split()
    # The shell, ls and grep; nobody else.
    assert lines == ["1", "3"]


def test_world_cannot_signal_a_host_process_by_any_number(any_runtime: Runtime) -> None:
    numbers = f"$(seq 2 400) {os.getpid()} {os.getppid()}"
    script = f"for pid in {numbers}; do kill -0 $pid 2>/dev/null && echo $pid; done; kill -0 1"
    assert in_world(any_runtime, f"{script} && echo self").split() == ["self"]


def test_world_has_the_host_name_of_its_configuration(any_runtime: Runtime) -> None:
    assert in_world(any_runtime, "hostname", hostname="rimworld") == "rimworld\n"
    assert socket.gethostname() != "rimworld"


def test_world_has_the_domain_name_of_its_configuration(any_runtime: Runtime) -> None:
    script = "cat /proc/sys/kernel/domainname"
    assert in_world(any_runtime, script, domainname="far.example") == "far.example\n"


def test_every_namespace_of_a_world_is_its_own(any_runtime: Runtime) -> None:
    kinds = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")
    links = " ".join(f"/proc/self/ns/{kind}" for kind in kinds)
    inside = in_world(any_runtime, f"for ns in {links}; do readlink $ns; done").split()
    outside = [os.readlink(f"/proc/self/ns/{kind}") for kind in kinds]
    assert len(inside) == len(kinds)
    assert not set(inside) & set(outside)


def test_world_has_a_mount_list_of_its_own(any_runtime: Runtime, rootfs: Path) -> None:
    mounts = in_world(any_runtime, "cut -d ' ' -f 5 /proc/self/mountinfo").split()
    expected = {"/", "/proc", "/dev", "/dev/pts", "/dev/shm", "/tmp", "/proc/keys", "/proc/sys"}
    assert expected <= set(mounts)
    assert not [point for point in mounts if point.startswith(str(rootfs))]
    assert not {"/run", "/sys", "/home", str(any_runtime.folder)} & set(mounts)


WRITE_USR = """
touch /usr/mark
touch /usr/bin/mark
echo x > /proc/1/root/usr/mark
echo x >> /usr/bin/env
rm /usr/bin/env
chmod 777 /usr
mount -o remount,rw /usr
mount -o remount,bind,rw /usr
mkdir /tmp/over && mount --bind /tmp/over /usr
mount -t tmpfs over /usr
unshare --mount touch /usr/mark
unshare --user --map-root-user --mount mount -o remount,rw,bind /usr
unshare --user --map-root-user --mount umount -l /usr
exec 9< /usr && touch /proc/self/fd/9/mark
cd /usr && touch /proc/self/cwd/mark
ln -s /usr /tmp/link && touch /tmp/link/mark
setpriv --reuid 1000 touch /usr/mark
"""


def test_system_directories_cannot_be_written_by_any_means(any_runtime: Runtime) -> None:
    attempts = WRITE_USR.strip().splitlines()
    tries = "\n".join(
        f"( {attempt} ) >/dev/null 2>&1 && echo 'worked: {attempt}'" for attempt in attempts
    )
    script = (
        f"mkdir control && touch control/mark && chmod 777 control && echo control\n{tries}\n"
        "ls /usr/mark /usr/bin/mark 2>/dev/null; test -x /usr/bin/env && echo whole"
    )
    assert in_host_view(any_runtime, script).splitlines() == ["control", "whole"]
    assert not os.path.exists("/usr/mark")
    assert not (any_runtime.folder / "project/control").exists()


def test_system_directories_stay_read_only_for_a_payload_that_may_mount(runtime: Runtime) -> None:
    bundle = runtime.bundle(
        root=None,
        substrate={"rootfs": {"kind": "host"}, "seccomp": {"profile": "unconfined"}},
        linux={"uidMappings": None, "gidMappings": None},
    )
    attempts = (
        "mount -o remount,bind,rw /usr",
        "mount -o remount,rw /usr",
        "unshare --mount mount -o remount,bind,rw /usr",
        "unshare --user --map-root-user --mount umount -l /usr",
        "touch /usr/mark",
    )
    tries = "; ".join(f"{attempt} 2>/dev/null && echo '{attempt}'" for attempt in attempts)
    # Positive control, last because it hides the programs: its own view it may cover.
    script = f"{tries}; mount --bind /tmp /usr && echo > /usr/mark && echo covered"
    words = ("run", "--bundle", bundle, "--cap", "CAP_SYS_ADMIN", "w", "bash", "-c", script)
    assert runtime(*words).stdout.splitlines() == ["covered"]
    assert not os.path.exists("/usr/mark")


def test_payload_has_no_capability_no_new_privileges_and_a_filter(any_runtime: Runtime) -> None:
    status = dict(
        line.split(":\t", 1)
        for line in in_host_view(any_runtime, "cat /proc/self/status").splitlines()
    )
    sets = {name: status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
    assert set(sets.values()) == {"0" * 16}, sets
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"


def test_payload_starts_with_default_signals_whatever_the_caller_ignores(
    any_runtime: Runtime,
) -> None:
    bundle = any_runtime.bundle("grep", "Sig[BIC]", "/proc/self/status")

    def ignore_and_block() -> None:
        ignored = {signal.SIGPIPE, signal.SIGXFSZ, signal.SIGHUP, signal.SIGUSR1, signal.SIGTTOU}
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2, signal.SIGTERM, signal.SIGCHLD})

    done = calls.call_with(
        any_runtime, "run", "--bundle", bundle, "w", preexec_fn=ignore_and_block
    ).ok()
    assert done.stdout.split() == ["SigBlk:", "0" * 16, "SigIgn:", "0" * 16, "SigCgt:", "0" * 16]


def test_no_descriptor_of_the_caller_reaches_the_payload(any_runtime: Runtime) -> None:
    opened = [os.open("/root", os.O_RDONLY | os.O_DIRECTORY) for _ in range(200)]
    try:
        for descriptor in opened:
            os.set_inheritable(descriptor, True)
        bundle = any_runtime.bundle("ls", "/proc/self/fd")
        done = calls.call_with(any_runtime, "run", "--bundle", bundle, "w", close_fds=False).ok()
        started = calls.call_with(
            any_runtime, "run", "-d", "-b", any_runtime.bundle("sleep", "60"), "v", close_fds=False
        ).ok()
        assert started.stdout == ""
        executed = calls.call_with(
            any_runtime, "exec", "v", "ls", "/proc/self/fd", close_fds=False
        ).ok()
        resident = os.listdir(f"/proc/{calls.state(any_runtime, 'v')['pid']}/fd")
    finally:
        for descriptor in opened:
            os.close(descriptor)
    # 3 is the directory that ls reads.
    assert done.stdout.split() == ["0", "1", "2", "3"]
    assert executed.stdout.split() == ["0", "1", "2", "3"]
    assert sorted(resident) == ["0", "1", "2"]


def test_umask_directory_and_environment_are_those_of_the_configuration(
    any_runtime: Runtime,
) -> None:
    process = {"cwd": "/var", "env": ["PATH=/bin", "A=b c", "EMPTY="], "user": {"umask": 0o027}}
    # busybox's shell adds its own variables, env(1) started alone does not.
    assert in_world(any_runtime, "umask; pwd", process=process) == "0027\n/var\n"
    bundle = any_runtime.bundle("env", process=process)
    assert any_runtime("run", "-b", bundle, "w", env={"LEAK": "1"}).ok().stdout.splitlines() == [
        "PATH=/bin",
        "A=b c",
        "EMPTY=",
    ]


def test_resource_limits_are_those_of_the_configuration(any_runtime: Runtime) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    limits = [
        {"type": "RLIMIT_NOFILE", "soft": 77, "hard": min(hard, 99)},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
        {"type": "RLIMIT_STACK", "soft": 1 << 20, "hard": 2 << 20},
    ]
    lines = in_world(any_runtime, "cat /proc/self/limits", process={"rlimits": limits}).splitlines()
    found = {line[:26].strip(): line[26:].split()[:2] for line in lines}
    assert found["Max open files"] == ["77", "99"]
    assert found["Max core file size"] == ["0", "0"]
    assert found["Max stack size"] == [str(1 << 20), str(2 << 20)]


def test_oom_score_is_that_of_the_configuration(any_runtime: Runtime) -> None:
    script = "cat /proc/self/oom_score_adj"
    assert in_world(any_runtime, script, process={"oomScoreAdj": 321}) == "321\n"


def test_supplementary_groups_are_those_of_the_configuration(runtime: Runtime) -> None:
    user = {"uid": 5, "gid": 6, "additionalGids": [7, 8]}
    assert in_world(runtime, "id -u; id -g; id -G", process={"user": user}).split() == [
        "5", "6", "6", "7", "8",
    ]  # fmt: skip
    assert in_world(runtime, "id -G").split() == ["0"]


def test_sysctl_of_the_configuration_is_set_in_the_world_alone(any_runtime: Runtime) -> None:
    path = "/proc/sys/kernel/msgmax"
    with open(path, encoding="ascii") as file:
        before = file.read()
    settings = {"kernel.msgmax": "4242", "net.ipv4.ip_forward": "1"}
    script = f"cat {path} /proc/sys/net/ipv4/ip_forward"
    assert in_world(any_runtime, script, linux={"sysctl": settings}).split() == ["4242", "1"]
    with open(path, encoding="ascii") as file:
        assert file.read() == before


def test_devices_do_what_they_do_everywhere(any_runtime: Runtime) -> None:
    script = """
        echo x > /dev/null && cat /dev/null | wc -c
        head -c 4 /dev/zero | od -An -tx1
        echo x 2>/dev/null > /dev/full || echo full
        head -c 8 /dev/random | wc -c
        head -c 8 /dev/urandom | wc -c
        ls -l /dev/fd/ >/dev/null && readlink /dev/stdin; readlink /dev/ptmx
        mknod /tmp/node c 1 3 2>/dev/null || echo none made
        ls /dev
    """
    assert in_world(any_runtime, script).split() == [
        "0", "00", "00", "00", "00", "full", "8", "8", "/proc/self/fd/0", "pts/ptmx",
        "none", "made", "fd", "full", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin",
        "stdout", "tty", "urandom", "zero",
    ]  # fmt: skip


def test_masked_paths_show_nothing(any_runtime: Runtime) -> None:
    linux = {"maskedPaths": ["/proc/uptime", "/proc/keys", "/proc/bus", "/var", "/nowhere"]}
    script = "cat /proc/uptime /proc/keys; ls -A /proc/bus /var 2>&1; echo x > /proc/uptime"
    lines = in_world(any_runtime, f"({script}) 2>/dev/null; ls /proc/self/stat", linux=linux)
    # Mode 000 keeps root of an id-mapped tmpfs out, or it lists as empty.
    shown = [line for line in lines.splitlines() if line and "denied" not in line]
    assert set(shown) <= {"/proc/bus:", "/var:", "/proc/self/stat"}
    assert "/proc/self/stat" in shown


def test_readonly_paths_cannot_be_written(any_runtime: Runtime) -> None:
    script = """
        echo 1 > /proc/sys/net/ipv4/ip_forward && echo written
        echo other > /proc/sys/kernel/hostname && echo written
        echo 5 > /proc/self/oom_score_adj && cat /proc/self/oom_score_adj
        hostname
    """
    assert in_world(any_runtime, f"({script}) 2>/dev/null").split() == ["5", "world"]


def test_terminals_shared_memory_and_queues_are_the_worlds_own(any_runtime: Runtime) -> None:
    script = (
        "ls /dev/pts /dev/shm /dev/mqueue; touch /dev/shm/own && ls /dev/shm; stat -c %i /dev/pts"
    )
    mark = f"/dev/shm/substrate-{os.getpid()}"
    with open(mark, "w", encoding="ascii"):
        pass
    try:
        shown = in_host_view(any_runtime, script).split()
    finally:
        os.unlink(mark)
    assert shown == ["/dev/mqueue:", "/dev/pts:", "ptmx", "/dev/shm:", "own", "1"]
    assert not os.path.exists("/dev/shm/own")


ECHO = """
import json, socket, threading
server = socket.create_server(("127.0.0.1", 0))
def answer():
    peer, _ = server.accept()
    peer.sendall(peer.recv(100).upper())
    peer.close()
threading.Thread(target=answer).start()
client = socket.create_connection(server.getsockname(), timeout=10)
client.sendall(b"hello")
failed = []
for address in ("192.0.2.1", "10.0.0.1", "169.254.169.254"):
    try:
        socket.create_connection((address, 80), timeout=2)
    except OSError as error:
        failed.append(error.errno)
print(json.dumps([client.recv(100).decode(), [name for _, name in socket.if_nameindex()], failed]))
"""


def test_loopback_carries_tcp_and_is_the_only_interface(any_runtime: Runtime) -> None:
    project = calls.public_directory(any_runtime, "project")
    (project / "echo.py").write_text(ECHO, encoding="utf-8")
    answer = json.loads(in_host_view(any_runtime, "python3 echo.py"))
    unreachable = 101
    assert answer == ["HELLO", ["lo"], [unreachable] * 3]


def test_paths_of_the_host_cannot_be_named(any_runtime: Runtime) -> None:
    home, project = any_runtime.home, any_runtime.folder / "project"
    hidden = ["/root", "/var/lib", "/srv", "/mnt", "/sys", "/boot", "/etc/shadow", "/etc/ssh"]
    hidden += [str(home), f"{home}/state", f"{home}/data", f"{home}/data/w/layer/upper"]
    hidden += [f"{project}/../home", "/proc/1/root/root", "/proc/self/root/var/lib"]
    hidden += ["/proc/1/root/../root", "/run/substrate", "/run/systemd", "/run/dbus"]
    script = (
        f"for path in {' '.join(hidden)}; do ls -d $path 2>/dev/null; done; ls /home; ls -d $PWD"
    )
    assert in_host_view(any_runtime, script).split() == ["world", str(project)]


@pytest.mark.parametrize("view", [in_world, in_host_view])
def test_old_root_cannot_be_reached(
    any_runtime: Runtime, view: Callable[[Runtime, str], str]
) -> None:
    script = "cd /; cd ../../..; stat -c %i . /proc/self/root/ /proc/1/root/ | sort -u | wc -l"
    assert view(any_runtime, f"{script}; cut -d ' ' -f 5 /proc/self/mountinfo").split()[0] == "1"
    mounts = view(any_runtime, "cut -d ' ' -f 5 /proc/self/mountinfo").split()
    assert mounts.count("/") == 1
