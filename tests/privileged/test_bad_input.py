"""Whatever a caller or a bundle gets wrong ends in one clear message, and leaves nothing behind."""

from __future__ import annotations

import errno
import json
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from substrate.kernel import filters
from substrate.seccomp.compile import compile_filter
from tests.support import calls
from tests.support.features import requires
from tests.support.refusals import refused
from tests.support.wrong import IMPOSSIBLE, WRONG, mounts

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.runtime import Runtime

pytestmark = requires(*calls.WORLD)

_WHERE = r"^config\.json: "


def written(runtime: Runtime, text: str | bytes) -> Path:
    """Return a bundle whose config.json is this."""
    directory = runtime.bundle()
    raw = text if isinstance(text, bytes) else text.encode()
    (directory / "config.json").write_bytes(raw)
    return directory


# --- config.json as a file ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "line 1 column 1: the file is empty"),
        ("{", "line 1 column 2: "),
        ('{"ociVersion": "1.2.0", "process"', "line 1 column 34: "),
        ('{"ociVersion": "1.2.0",}', "line 1 column 24: "),
        ("[]", r"\$: expected an object"),
        ("null", r"\$: expected an object"),
        ('"config"', r"\$: expected an object"),
        ("{} {}", "line 1 column 4: "),
        ('{"a": 1, "a": 2}', 'the key "a" is there twice'),
        ('{"a": NaN}', "NaN"),
        (b'{"a": "\xff"}', "byte 7: not UTF-8"),
        (b"\xef\xbb\xbf{}", ""),
        ("[" * 100_000, "nested too deeply"),
        (b'{"a": "' + b"x" * (17 << 20) + b'"}', "larger than 16 MiB"),
    ],
    ids=["empty", "brace", "truncated", "comma", "array", "null", "string", "twice", "duplicate",
         "NaN", "latin1", "bom", "deep", "huge"],
)  # fmt: skip
def test_a_config_that_is_no_json_object_is_refused(
    any_runtime: Runtime, text: str | bytes, says: str
) -> None:
    bundle = written(any_runtime, text)
    refused(any_runtime, "run", "--bundle", bundle, "w", status=2, says=_WHERE + says)


def _missing(path: Path) -> None:
    path.unlink()


def _directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o666)


def _socket(path: Path) -> None:
    path.unlink()
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def _device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def _ring(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_missing, "cannot open .*: No such file or directory"),
        (_directory, ".* is not a regular file"),
        (_fifo, ".* is not a regular file"),
        (_socket, "cannot open .*: No such device or address"),
        (_device, ".* is not a regular file"),
        (_ring, "cannot open .*: Too many levels of symbolic links"),
    ],
)
def test_a_config_that_is_no_file_is_refused(
    any_runtime: Runtime, spoil: Callable[[Path], None], says: str
) -> None:
    bundle = any_runtime.bundle()
    spoil(bundle / "config.json")
    refused(any_runtime, "run", "--bundle", bundle, "w", status=2, says=_WHERE + says, hint="\\S")


def test_a_bundle_that_cannot_be_read_is_refused(rootless_runtime: Runtime) -> None:
    bundle = rootless_runtime.bundle()
    bundle.chmod(0o700)
    os.chown(bundle, 0, 0)
    refused(
        rootless_runtime, "run", "--bundle", bundle, "w",
        status=2, says=_WHERE + "cannot open .*: Permission denied",
    )  # fmt: skip


@pytest.mark.parametrize("bundle", ["/nonexistent", "no-such-bundle", "/etc/passwd"])
def test_a_bundle_that_is_not_there_is_refused(any_runtime: Runtime, bundle: str) -> None:
    says = "cannot open .*No such file|there is no directory no-such-bundle|/etc/passwd is a file"
    refused(any_runtime, "run", "--bundle", bundle, "w", status=2, says=says, hint="\\S")


# --- what config.json says ------------------------------------------------------------------------


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_word_is_named_with_its_path(any_runtime: Runtime, what: str) -> None:
    changes, says = WRONG[what]
    bundle = any_runtime.bundle(**changes)
    refused(any_runtime, "run", "--bundle", bundle, "w", status=2, says=says)


def test_every_problem_is_listed_at_once(any_runtime: Runtime) -> None:
    bundle = any_runtime.bundle(
        hostname=5, process={"args": "sh", "cwd": 7}, linux={"maskedPaths": "/proc/kcore"}
    )
    refused(
        any_runtime, "run", "--bundle", bundle, "w", status=2,
        says=[r"\$\.hostname", r"\$\.linux\.maskedPaths", r"\$\.process\.args",
              r"\$\.process\.cwd"],
    )  # fmt: skip


# --- what the machine says ------------------------------------------------------------------------


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_what_the_machine_cannot_do_is_named_with_step_and_reason(
    any_runtime: Runtime, what: str
) -> None:
    changes, status, says = IMPOSSIBLE[what]
    bundle = any_runtime.bundle(**changes)
    refused(any_runtime, "run", "--bundle", bundle, "w", status=status, says=says)


def test_a_mount_target_that_a_link_leads_out_is_refused(any_runtime: Runtime) -> None:
    root = any_runtime.folder / "rootfs"
    (root / "proc").mkdir(parents=True)
    (root / "out").symlink_to("../../../etc")
    bundle = any_runtime.bundle(
        root={"path": str(root)}, mounts=mounts({"destination": "/out/x", "type": "tmpfs"})
    )
    refused(
        any_runtime, "run", "--bundle", bundle, "w", status=5,
        says="mount target /out/x leads out of the root file system", hint="remove the link",
    )  # fmt: skip
    assert not Path("/etc/x").exists()


def test_groups_where_setgroups_is_denied_are_an_error(rootless_runtime: Runtime) -> None:
    bundle = rootless_runtime.bundle(process={"user": {"uid": 0, "gid": 0, "additionalGids": [5]}})
    refused(rootless_runtime, "run", "--bundle", bundle, "w", status=4, says="group")


def test_ids_that_are_somebody_elses_are_refused(rootless_runtime: Runtime) -> None:
    theirs = [{"containerID": 0, "hostID": 0, "size": 1}]
    bundle = rootless_runtime.bundle(linux={"uidMappings": theirs, "gidMappings": theirs})
    refused(
        rootless_runtime, "run", "--bundle", bundle, "w", status=1,
        says="cannot write the id maps: ", hint="/etc/subuid",
    )  # fmt: skip


# What a world needs of the kernel, with the step that says so.
NEEDED = {
    "unshare": "make new namespaces",
    "clone3": "fork into the pid namespace",
    "fsopen": "",
    "fsmount": "",
    "openat2": "",
    "move_mount": "",
    "pivot_root": "switch to the new root file system",
    "close_range": "close inherited descriptors",
}


@requires("root", "seccomp.filter")
@pytest.mark.parametrize("call", NEEDED)
def test_a_kernel_that_lacks_a_call_is_told_by_its_name(runtime: Runtime, call: str) -> None:
    bundle = runtime.bundle("true", linux={"seccomp": None})
    result = calls.call_with(
        runtime, "run", "--bundle", bundle, "w", preexec_fn=lambda: _forget(call)
    )
    message, hint = result.stderr.splitlines()
    assert result.status == 4, result
    assert message.startswith(f"substrate-runtime: cannot {NEEDED[call]}")
    assert message.endswith(f": {call}: function not implemented")
    assert hint == f"hint: this kernel lacks {call}; see `substrate doctor`"
    assert runtime.worlds() == []


@requires("root", "seccomp.filter")
@pytest.mark.parametrize("call", ["open_tree", "mount_setattr", "memfd_create"])
def test_a_kernel_that_lacks_what_the_runtime_itself_uses_is_told_so(
    runtime: Runtime, call: str
) -> None:
    bundle = runtime.bundle("true", linux={"seccomp": None})
    result = calls.call_with(
        runtime, "run", "--bundle", bundle, "w", preexec_fn=lambda: _forget(call)
    )
    if result.status:
        assert "unction not implemented" in result.stderr
        assert "internal error" not in result.stderr
    assert runtime.worlds() == []


def _forget(call: str) -> None:
    """Let this process and its children live on a kernel without a system call."""
    rule = {"names": [call], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.ENOSYS}
    profile = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    compiled = compile_filter(profile, log_only=False)
    filters.load_filter(compiled.bpf, compiled.flags)


# --- the call -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "world", ["a b", "a/b", "..", ".", "", "ü", "x" * 2000, "a\nb", "../escape"]
)
def test_an_id_that_is_none_is_refused(any_runtime: Runtime, world: str) -> None:
    bundle = any_runtime.bundle()
    refused(
        any_runtime, "run", "--bundle", bundle, "--", world, status=2, says="invalid id", hint="\\S"
    )


def test_an_id_is_taken_once(any_runtime: Runtime) -> None:
    bundle = any_runtime.bundle("sleep", "600")
    any_runtime("create", "--bundle", bundle, "w").ok()
    result = any_runtime("run", "--bundle", bundle, "w")
    assert result.status == 1
    assert "the id w is already in use" in result.stderr
    assert any_runtime("state", "w").ok().json()["status"] == "created"


@pytest.mark.parametrize(
    "words", [["start", "w"], ["state", "w"], ["kill", "w"], ["delete", "w"], ["exec", "w", "sh"],
              ["ps", "w"], ["diff", "w"]],
)  # fmt: skip
def test_no_verb_knows_a_world_that_is_not_there(any_runtime: Runtime, words: list[str]) -> None:
    refused(any_runtime, *words, status=1, says="container w does not exist$", hint="list")


@pytest.mark.parametrize("verb", ["run", "create"])
def test_a_console_socket_that_is_not_there_is_an_error(any_runtime: Runtime, verb: str) -> None:
    bundle = any_runtime.bundle(process={"terminal": True})
    refused(
        any_runtime, verb, "--bundle", bundle, "--console-socket", "/nonexistent/socket", "w",
        status=1, says="cannot connect to the console socket /nonexistent/socket: No such file",
    )  # fmt: skip


def test_a_terminal_that_nobody_takes_is_an_error(any_runtime: Runtime) -> None:
    bundle = any_runtime.bundle("true", process={"terminal": True})
    refused(any_runtime, "create", "--bundle", bundle, "w", status=2, says="terminal",
            hint="--console-socket")  # fmt: skip
    refused(any_runtime, "run", "--detach", "--bundle", bundle, "w", status=2, says="terminal",
            hint="--console-socket")  # fmt: skip


@pytest.mark.parametrize("verb", ["run", "create"])
@pytest.mark.parametrize("path", ["/nonexistent/pid", "/proc/pid", "/"])
def test_a_pid_file_that_cannot_be_written_is_an_error(
    any_runtime: Runtime, verb: str, path: str
) -> None:
    bundle = any_runtime.bundle("sleep", "600")
    refused(
        any_runtime, verb, "--bundle", bundle, "--pid-file", path, "w", status=1,
        says=f"cannot write the pid file {path}: ", hint="--pid-file",
    )  # fmt: skip


@pytest.mark.parametrize("log", ["/nonexistent/log", "/", "/proc/log"])
def test_a_log_that_cannot_be_written_stops_the_call_before_it_begins(
    any_runtime: Runtime, log: str
) -> None:
    bundle = any_runtime.bundle("true")
    result = any_runtime("--log", log, "run", "--bundle", bundle, "w")
    assert result.status == 1
    assert result.stderr.startswith(f"substrate-runtime: cannot write the log {log}: ")
    assert len(result.stderr.splitlines()) == 2
    assert any_runtime.worlds() == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "process.json: line 1"),
        ('{"args": "sh", "cwd": "/"}', r"process.json: \$\.args"),
        ('{"args": ["sh"], "cwd": "tmp"}', r"process.json: \$\.cwd"),
        ('{"args": ["sh"], "cwd": "/", "capabilities": {"bounding": ["CAP_FLY"]}}', "CAP_FLY"),
    ],
)
def test_a_wrong_process_file_is_refused(any_runtime: Runtime, text: str, says: str) -> None:
    bundle = any_runtime.bundle("sleep", "600")
    any_runtime("run", "--detach", "--bundle", bundle, "w").ok()
    file = any_runtime.folder / "process.json"
    file.write_text(text, encoding="utf-8")
    result = any_runtime("exec", "--process", file, "w")
    assert result.status == 2, result
    assert len(result.stderr.splitlines()) == 1
    assert says.replace("\\", "") in result.stderr


def test_a_process_file_is_given_once_and_exists(any_runtime: Runtime) -> None:
    bundle = any_runtime.bundle("sleep", "600")
    any_runtime("run", "--detach", "--bundle", bundle, "w").ok()
    result = any_runtime("exec", "--process", "/nonexistent.json", "w")
    assert (result.status, result.stdout) == (2, "")
    assert "cannot open /nonexistent.json: No such file" in result.stderr
    nothing = any_runtime("exec", "w")
    assert nothing.status == 2
    assert "nothing to execute" in nothing.stderr


# --- the project ----------------------------------------------------------------------------------


def project_bundle(runtime: Runtime, **settings: Any) -> Path:
    """Return a bundle with a project."""
    return runtime.bundle("true", substrate={"project": settings})


def test_a_project_that_is_missing_is_refused(any_runtime: Runtime) -> None:
    bundle = project_bundle(any_runtime)
    refused(any_runtime, "run", "--bundle", bundle, "--project", "/nonexistent", "w", status=2,
            says="/nonexistent is not a directory", hint="--project")  # fmt: skip


@pytest.mark.parametrize("project", ["/", "/usr/..", "//"])
def test_the_whole_machine_is_no_project(any_runtime: Runtime, project: str) -> None:
    bundle = project_bundle(any_runtime)
    refused(any_runtime, "run", "--bundle", bundle, "--project", project, "w", status=5,
            says="the whole root directory cannot be a project")  # fmt: skip


@pytest.mark.parametrize("write", ["layers", "live", "readonly"])
def test_a_project_may_not_hold_the_runtimes_own_state(any_runtime: Runtime, write: str) -> None:
    bundle = project_bundle(any_runtime, write=write)
    refused(
        any_runtime, "run", "--bundle", bundle, "--project", any_runtime.folder, "w", status=5,
        says=str(any_runtime.home),
    )  # fmt: skip


def test_a_project_inside_the_runtimes_own_state_is_refused(any_runtime: Runtime) -> None:
    bundle = project_bundle(any_runtime)
    inside = any_runtime.home / "data"
    inside.mkdir(mode=0o700)
    os.chown(inside, any_runtime.uid, any_runtime.gid)
    refused(
        any_runtime, "run", "--bundle", bundle, "--project", inside, "w", status=5, says=str(inside)
    )


def test_a_project_for_a_bundle_without_one_is_refused(any_runtime: Runtime) -> None:
    bundle = any_runtime.bundle("true")
    refused(any_runtime, "run", "--bundle", bundle, "--project", any_runtime.folder, "w",
            status=4, says="the bundle has no project", hint="project")  # fmt: skip


def test_a_configuration_that_is_right_runs(any_runtime: Runtime) -> None:
    """The control: what all the above is refused for is not what they have in common."""
    result = any_runtime("run", "--bundle", any_runtime.bundle("echo", "ran"), "w").ok()
    assert (result.stdout, result.stderr) == ("ran\n", "")
    config = json.loads((any_runtime.folder / "bundle1/config.json").read_text(encoding="utf-8"))
    assert config["process"]["args"] == ["echo", "ran"]
