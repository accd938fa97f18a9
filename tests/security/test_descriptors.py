"""No descriptor of the caller's or of the runtime's is reachable in a world, by any number."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.attack import ATTACK
from tests.support.calls import bare
from tests.support.features import requires

if TYPE_CHECKING:
    from tests.support.attack import Place
    from tests.support.runtime import Runtime

pytestmark = requires(*ATTACK)

EXECUTORS = ("native", "python")
_LIST = "cd /proc/self/fd && for n in *; do readlink $n; done; true"


def _leaky_descriptors(stack: ExitStack) -> tuple[int, ...]:
    """Open what an attacker would like to find, none of it close-on-exec."""
    both = socket.socketpair()
    for end in both:
        stack.enter_context(end)
    fds = [
        os.open("/", os.O_RDONLY | os.O_DIRECTORY),
        os.open("/", os.O_PATH),
        os.open("/etc/shadow", os.O_RDONLY),
        os.open("/proc/self/ns/mnt", os.O_RDONLY),
        os.memfd_create("leak"),
        *os.pipe(),
        os.pidfd_open(os.getpid()),
    ]
    for fd in fds:
        stack.callback(os.close, fd)
    fds += [end.fileno() for end in both]
    high = os.dup(fds[0])
    stack.callback(os.close, high)
    for fd in (*fds, high):
        os.set_inheritable(fd, True)
    return (*fds, high)


@requires("root")
@pytest.mark.parametrize("executor", EXECUTORS)
def test_open_descriptors_of_the_caller_end_at_the_world(place: Place, executor: str) -> None:
    argv, _ = bare(place.runtime)
    words = place.words()
    calls = (
        ("run", *words, "--executor", executor, "w", "sh", "-c", _LIST),
        ("run", "--detach", *words, "--executor", executor, "x", "sleep", "60"),
        ("exec", "--executor", executor, "x", "sh", "-c", _LIST),
    )
    with ExitStack() as stack:
        fds = _leaky_descriptors(stack)
        first, _, second = (
            _call(place.runtime, [*argv, *map(str, call)], pass_fds=fds, cwd="/") for call in calls
        )
    for output in (first, second):
        # 0, 1 and 2; the shell's own directory handle, if any, is of /proc.
        foreign = [line for line in output.splitlines() if not line.startswith("/proc/")]
        assert foreign == ["/dev/null", _path(place.runtime, "out"), _path(place.runtime, "err")]


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_leak_nothing(runtime: Runtime, closed: str, executor: str) -> None:
    # What the runtime opens would get the free numbers, and these are not closed for the payload.
    argv, _ = bare(runtime)
    folder = runtime.folder / "seen"
    folder.mkdir()
    folder.chmod(0o777)
    mounts = [
        {"destination": "/proc", "type": "proc"},
        {"destination": "/work", "source": str(folder), "options": ["bind"]},
    ]
    # In a pipe, or the redirection would be what the shell sees of itself.
    script = "for n in 0 1 2; do readlink /proc/$$/fd/$n; done | cat >/work/seen"
    sleeper = runtime.bundle("sleep", "60", mounts=mounts)
    watcher = runtime.bundle("sh", "-c", script, mounts=mounts)
    _call(runtime, [*argv, "run", "--detach", "--bundle", str(sleeper), "x"])
    for call in (
        f"run --executor {executor} --bundle {watcher} w",
        f"exec --executor {executor} x sh -c '{script}'",
    ):
        _call(runtime, ["sh", "-c", f"exec {' '.join(argv)} {call} {closed}"])
        seen = (folder / "seen").read_text("utf-8").split()
        expected = ["/dev/null", _path(runtime, "out"), _path(runtime, "err")]
        assert len(seen) == 3
        assert all(link in (good, "/dev/null") for link, good in zip(seen, expected, strict=True))


@pytest.mark.parametrize("cwd", [
    "/proc/self/fd/3", "/proc/self/fd/7/../../..", "/proc/self/cwd", "/proc/1/cwd",
    "/proc/self/root", "/proc/1/root/etc", "/dev/fd/5", "/link", "/chain",
])  # fmt: skip
def test_a_working_directory_by_magic_link_is_refused(
    runtime: Runtime, rootfs: Path, cwd: str
) -> None:
    # CVE-2024-21626: the directory would be the host's, through a descriptor left open.
    image = _image_with_links(runtime, rootfs)
    words = {"root": {"path": str(image)}}
    fd = os.open("/", os.O_RDONLY)
    argv, environment = bare(runtime)
    try:
        bundle = runtime.bundle("sh", "-c", "pwd -P; ls", process={"cwd": cwd}, **words)
        done = subprocess.run(
            [*argv, "run", "--bundle", str(bundle), "w"], env=environment, pass_fds=(fd,),
            cwd="/", stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False,
        )  # fmt: skip
    finally:
        os.close(fd)
    assert done.returncode != 0
    assert b"cannot " in done.stderr
    plain = runtime.bundle("pwd", process={"cwd": "/plain"}, **words)
    assert runtime("run", "--bundle", plain, "w").ok().stdout == "/tmp\n"


def test_no_program_of_the_host_runs_in_place_of_the_image_s(
    runtime: Runtime, rootfs: Path
) -> None:
    # CVE-2019-5736: the image's program is a script whose interpreter is whoever executes it.
    image = _copy(runtime, rootfs)
    for name, line in (("self", "#!/proc/self/exe"), ("plan", "#!/proc/self/exe 0")):
        (image / "bin" / name).write_text(f"{line}\n", encoding="utf-8")
        (image / "bin" / name).chmod(0o755)
    root = {"root": {"path": str(image)}}
    for executor in EXECUTORS:
        for name in ("self", "plan"):
            bundle = runtime.bundle(f"/bin/{name}", **root)
            words = ("run", "--executor", executor, "--bundle", bundle, "w")
            result = runtime(*words, stdin="not a plan")
            assert (result.status, result.stdout) == (2, ""), result
        runtime("run", "--detach", "--bundle", runtime.bundle("sleep", "60", **root), "x").ok()
        assert runtime("exec", "--executor", executor, "x", "/bin/self").status == 2
        assert runtime("exec", "--executor", executor, "x", "/bin/echo", "a").ok().stdout == "a\n"
        runtime("delete", "--force", "x").ok()


def test_the_program_of_the_init_cannot_be_written_to(place: Place) -> None:
    # pid 1's program is the runtime's, where it can be opened at all (a rootless world).
    script = """
    import fcntl, os
    for flags in (os.O_RDWR, os.O_WRONLY | os.O_TRUNC):
        try:
            os.write(os.open("/proc/1/exe", flags), b"x")
            print("written")
        except OSError as error:
            print("refused", error.strerror)
    try:
        fd = os.open("/proc/1/exe", os.O_RDONLY)
        seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
        print("sealed" if seals & 15 == 15 else "open")
    except OSError as error:
        print("refused", error.strerror)
    """
    if not place.is_host_view:
        # Without Python in it: the shell's own attempt.
        attempt = "(echo x >/proc/1/exe) 2>/dev/null || echo refused"
        words = ("run", *place.words(substrate={"init": True}), "w", "sh", "-c", attempt)
        assert place.runtime(*words).ok().stdout == "refused\n"
        return
    body = "\n".join(line[4:] for line in script.splitlines())
    words = ("run", *place.words(substrate={"init": True}), "w", "python3", "-c", body)
    lines = place.runtime(*words).ok().stdout.splitlines()
    assert [line.split()[0] for line in lines[:2]] == ["refused", "refused"]
    assert lines[2].split()[0] in ("refused", "sealed"), lines


def _call(runtime: Runtime, argv: list[str], **options: Any) -> str:
    """Run a program with files for output, which a world in the background may keep open."""
    out, err = Path(_path(runtime, "out")), Path(_path(runtime, "err"))
    with out.open("wb") as stdout, err.open("wb") as stderr:
        status = subprocess.call(
            argv, env=bare(runtime)[1], stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr,
            timeout=60, **options,
        )  # fmt: skip
    assert status == 0, err.read_text("utf-8")
    return out.read_text("utf-8")


def _path(runtime: Runtime, name: str) -> str:
    return str(runtime.folder / f"standard-{name}")


def _copy(runtime: Runtime, rootfs: Path) -> Path:
    image = runtime.folder / "image"
    shutil.copytree(rootfs, image, symlinks=True)
    return image


def _image_with_links(runtime: Runtime, rootfs: Path) -> Path:
    image = _copy(runtime, rootfs)
    (image / "link").symlink_to("/proc/self/fd/3")
    (image / "chain").symlink_to("link")
    (image / "plain").symlink_to("/tmp")
    return image
