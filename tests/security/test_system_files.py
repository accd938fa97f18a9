"""The host's files: a world that shows them can change none and read no secret of root's."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.support.attack import ATTACK, NO_USERNS, UNCONFINED, host_view_bundle, with_capabilities
from tests.support.features import requires

if TYPE_CHECKING:
    from tests.support.attack import Place
    from tests.support.runtime import Runtime

pytestmark = requires(*ATTACK)

# Each ends in a file of this name, if it works.
WRITES = {
    "open": "touch /usr/$MARK",
    "through root": "touch /proc/1/root/usr/$MARK /proc/self/root/usr/$MARK",
    "through a descriptor": "exec 7</usr; touch /proc/self/fd/7/$MARK",
    "through the working directory": "cd /usr && touch ./$MARK",
    "through a link": "ln -s /usr /tmp/usr; touch /tmp/usr/$MARK",
    "remount": "mount -o remount,rw,bind /usr; mount -o remount,rw /; touch /usr/$MARK",
    "bind elsewhere": "mkdir /tmp/u; mount --bind -o rw /usr /tmp/u; touch /tmp/u/$MARK",
    "own namespace": "unshare -Urm sh -c 'mount -o remount,rw,bind /usr; touch /usr/'$MARK",
    "overlaid": "mv /usr/bin/true /usr/$MARK; ln /usr/bin/true /usr/$MARK; mkdir /usr/$MARK",
    "special": "mkfifo /usr/$MARK; ln -s x /usr/$MARK; mknod /usr/$MARK c 1 3",
}
PYTHON_WRITES = """
import os
mark = os.environ["MARK"]
def tried(name, action):
    try:
        action()
        print(name, "worked")
    except OSError as error:
        print(name, error.strerror)
def linked():
    fd = os.open("/usr", os.O_TMPFILE | os.O_WRONLY)
    os.link(f"/proc/self/fd/{fd}", f"/usr/{mark}")
def linked_from_elsewhere():
    fd = os.open("/tmp", os.O_TMPFILE | os.O_WRONLY)
    os.link(f"/proc/self/fd/{fd}", f"/usr/{mark}", follow_symlinks=True)
def by_handle():
    directory = os.open("/usr", os.O_PATH)
    os.close(os.open(mark, os.O_CREAT | os.O_WRONLY, dir_fd=directory))
def reopened():
    fd = os.open("/usr/bin/env", os.O_RDONLY)
    os.open(f"/proc/self/fd/{fd}", os.O_RDWR)
tried("tmpfile", linked)
tried("link", linked_from_elsewhere)
tried("handle", by_handle)
tried("reopened", reopened)
tried("chmod", lambda: os.chmod("/usr/bin/env", 0o755))
tried("chown", lambda: os.chown("/usr/bin/env", os.getuid(), os.getgid()))
tried("times", lambda: os.utime("/usr/bin/env"))
tried("attribute", lambda: os.setxattr("/usr/bin/env", "user.a", b"b"))
tried("truncate", lambda: os.truncate("/usr/bin/env", 0))
tried("remove", lambda: os.unlink("/usr/bin/env"))
tried("in the project", lambda: os.close(os.open(mark, os.O_CREAT)))
"""
SECRETS = ("/etc/shadow", "/etc/gshadow", "/etc/security/opasswd", "/etc/sudoers")


def test_no_way_of_writing_reaches_the_system_directories(view: Place) -> None:
    mark = f"substrate-attack-{os.getpid()}"
    script = "\n".join(f"({attack})" for attack in WRITES.values())
    view.run(f"MARK={mark}; export MARK\n{script}\ntouch $MARK && ls $MARK")
    assert not os.path.lexists(f"/usr/{mark}")


def test_no_call_changes_a_system_file(view: Place) -> None:
    mark = f"substrate-attack-{os.getpid()}"
    before = os.stat("/usr/bin/env")
    output = view.run(f"MARK={mark} python3 -c '{PYTHON_WRITES}'")
    worked = [line for line in output.splitlines() if line.endswith("worked")]
    assert worked == ["in the project worked"], output
    assert os.stat("/usr/bin/env") == before
    assert not os.path.lexists(f"/usr/{mark}")


@pytest.mark.parametrize("attack", [
    "mount -o remount,bind,rw /usr",
    "umount -l /usr",
    "mount --move /usr /tmp",
    "mkdir /tmp/u && mount --bind /usr /tmp/u && mount -o remount,bind,rw /tmp/u",
    "cd /tmp; mkdir o w u; mount -t overlay o -o upperdir=/usr,workdir=w,lowerdir=o u",
])  # fmt: skip
def test_a_payload_that_may_mount_cannot_write_to_the_host(runtime: Runtime, attack: str) -> None:
    mark = f"substrate-attack-{os.getpid()}"
    project = runtime.folder / "project"
    project.mkdir()
    bundle = host_view_bundle(runtime, **UNCONFINED, process=with_capabilities("CAP_SYS_ADMIN"))
    script = f"mount -t tmpfs none /tmp && echo mounts; {attack}; touch /usr/{mark} /tmp/u/{mark}"
    words = ("run", "--bundle", bundle, "--project", project, "w", "sh", "-c", script)
    result = runtime(*words)
    assert result.stdout == "mounts\n", result
    assert not os.path.lexists(f"/usr/{mark}")


def test_files_that_only_root_may_read_stay_unread(runtime: Runtime) -> None:
    # The payload is uid 0 inside, and owns what root owns in its project; not so in the host view.
    project, shown = runtime.folder / "project", runtime.folder / "shown"
    project.mkdir()
    (project / "mine").write_text("my own secret\n", encoding="utf-8")
    (project / "mine").chmod(0o600)
    shown.mkdir()
    for name, mode in (("public", 0o644), ("private", 0o600)):
        (shown / name).write_text(f"{name}\n", encoding="utf-8")
        (shown / name).chmod(mode)
    bundle = host_view_bundle(
        runtime,
        substrate={"rootfs": {"expose": [str(shown)]}},
        # The default /tmp would cover what is exposed.
        mounts=[{"destination": "/proc", "type": "proc"}],
    )
    script = f"cat mine {shown}/public {shown}/private {' '.join(SECRETS)}; id -u"
    result = runtime("run", "--bundle", bundle, "--project", project, "w", "sh", "-c", script)
    assert result.stdout == "my own secret\npublic\n0\n", result
    assert result.stderr.count("cat: ") == 1 + len(SECRETS)


def test_the_disk_cannot_be_opened(runtime: Runtime) -> None:
    # A node that the payload makes, with every right a container commonly has.
    script = (
        "mknod /tmp/disk b 254 0; mknod /dev/disk b 254 0; mknod /work/disk b 254 0;"
        "for disk in /tmp/disk /dev/disk /work/disk; do head -c 1 $disk && echo read; done;"
        "echo x >/dev/null && head -c 1 /dev/zero | wc -c"
    )
    process = with_capabilities("CAP_MKNOD", "CAP_DAC_OVERRIDE", "CAP_SYS_RAWIO")
    bundle = runtime.bundle("sh", "-c", script, process=process)
    result = runtime("run", "--bundle", bundle, "w")
    assert "read" not in result.stdout, result
    assert result.stdout == "1\n"


def test_device_rules_that_cannot_be_enforced_are_not_ignored(runtime: Runtime) -> None:
    linux = NO_USERNS | {"resources": {"devices": [{"allow": False, "access": "rwm"}]}}
    powerful = runtime.bundle("true", linux=linux, process=with_capabilities("CAP_MKNOD"))
    refused = runtime("run", "--bundle", powerful, "w")
    assert refused.status == 4, refused
    assert "device" in refused.stderr
    runtime("run", "--bundle", runtime.bundle("true", linux=linux), "w").ok()
