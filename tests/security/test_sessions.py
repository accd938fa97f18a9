"""A hostile command of a session against the front-end, its agent and its records."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from substrate.api.client import AgentWorld
from substrate.api.records import ExecRequest, WorldSpec
from tests.support.features import TEST_USER, requires
from tests.support.sessions import NEEDED, PROGRAM, Place, new_place

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = requires(*NEEDED)

_CONNECT = """
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.settimeout(5)
try:
    s.connect(sys.argv[1])
    s.sendall(b"GET /v1/capabilities HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n")
    print(s.recv(4096).split(b" ")[1].decode())
except OSError as error:
    print(type(error).__name__)
"""


@pytest.fixture
def place() -> Iterator[Place]:
    with new_place() as made:
        made.project.parent.chmod(0o755)
        yield made


def _connect(path: str, *prefix: str) -> str:
    argv = [*prefix, "/usr/bin/python3", "-c", _CONNECT, path]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    return (done.stdout or done.stderr).strip()


def test_the_agent_s_socket_is_not_in_the_world(place: Place) -> None:
    with place.agent() as path:
        client = AgentWorld(path)
        client.ensure_session(WorldSpec())
        asked = ExecRequest(argv=("python3", "-c", _CONNECT, path))
        inside = client.exec(asked)
        assert inside.stdout is not None
        assert inside.stdout.text.strip() == "FileNotFoundError"
        found = client.exec(ExecRequest(command="find / -xdev -type s 2>/dev/null"))
        assert found.stdout is not None
        assert "agent" not in found.stdout.text
        # The same program outside is served.
        assert _connect(path) == "200"
        client.destroy()


def test_the_agent_serves_nobody_of_another_namespace_who_has_got_to_the_socket(
    place: Place,
) -> None:
    with place.agent() as path:
        assert os.stat(path).st_mode & 0o777 == 0o600
        for prefix in (("unshare", "--user", "--map-root-user"), ("unshare", "--pid", "--fork")):
            assert _connect(path, *prefix) == "403", prefix
        assert _connect(path) == "200"


@requires("rootless_user")
def test_the_agent_serves_no_other_user(place: Place) -> None:
    other = ("setpriv", f"--reuid={TEST_USER}", f"--regid={TEST_USER}", "--clear-groups")
    with place.agent() as path:
        assert _connect(path, *other) == "PermissionError"
        # Even if somebody has opened the way.
        place.home.chmod(0o755)
        Path(path).chmod(0o666)
        assert _connect(path, *other) == "403"
        assert _connect(path) == "200"
        place.home.chmod(0o700)


def test_an_agent_cannot_be_told_other_rules(place: Place) -> None:
    place.write_policy('cmd_denied: ["date"]\n')
    with place.agent() as path:
        client = AgentWorld(path)
        client.ensure_session(WorldSpec())
        for body in ({"command": "date", "policy": "none"}, {"command": "date", "mode": "observe"}):
            with pytest.raises(Exception, match="there is no key"):
                client._call("POST", "/v1/execute", body)
        assert client.exec(ExecRequest(command="date")).exit == 126
        with pytest.raises(Exception, match="not /etc"):
            client.ensure_session(WorldSpec(project_dir="/etc"))
        client.destroy()


def test_an_agent_survives_whatever_is_sent_to_it(place: Place) -> None:
    with place.agent() as path:
        for data in (
            b"\0" * 5000,
            b"GET / HTTP/1.1\r\n" + b"a" * 100_000,
            b"POST /v1/execute HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n{]}",
            b"POST /v1/execute HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n",
            b"POST /v1/execute HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
            b"Content-Length: 5\r\n\r\n0\r\n\r\n",
            b"GET /v1/spans/../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
            b"",
        ):
            with socket.socket(socket.AF_UNIX) as connected:
                connected.connect(path)
                connected.settimeout(10)
                connected.sendall(data)
                connected.shutdown(socket.SHUT_WR)
                answer = connected.recv(4096)
                assert not answer or answer.split(b" ")[1][:1] == b"4", data
        assert _connect(path) == "200"


def test_a_client_that_goes_away_takes_its_command_with_it(place: Place) -> None:
    with place.agent() as path:
        client = AgentWorld(path)
        client.ensure_session(WorldSpec())
        body = json.dumps({"command": "exec sleep 61"}).encode()
        head = f"POST /v1/execute HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        with socket.socket(socket.AF_UNIX) as connected:
            connected.connect(path)
            connected.sendall(head.encode() + body)
            seen = client.exec(ExecRequest(command="until pgrep -x sleep; do :; done"))
            assert seen.exit == 0
        gone = client.exec(ExecRequest(command="while pgrep -x sleep; do sleep 0.1; done"))
        assert gone.exit == 0
        client.destroy()


def test_no_command_forges_a_record(place: Place) -> None:
    forged = '\n{"v":1,"ts":"2020-01-01T00:00:00.000000000Z","event_type":"command_start"}\n'
    done = place.call("-c", f"echo '{forged}'; echo real")
    assert done.returncode == 0
    place.call("run", "--", "echo", forged, f"{forged}x")
    place.call("run", "--env-none", forged)
    trace = place.home / "data/@trace/trace.jsonl"
    lines = [json.loads(line) for line in trace.read_text("utf-8").splitlines()]
    kinds = [line["event_type"] for line in lines if line["event_type"].startswith("command")]
    assert kinds == ["command_start", "command_complete"] * 2
    assert all(line["ts"] > "2025" for line in lines)
    assert place.call("trace", "verify", "--spans").returncode == 0


def test_the_trace_is_not_in_the_world(place: Place) -> None:
    where = place.home
    trace = where / "data/@trace/trace.jsonl"
    seen = place.call("-c", f"ls -la {where} {where}/data 2>&1; cat {trace}")
    assert "command_start" not in seen.stdout
    assert "No such file" in seen.stdout
    found = place.call("-c", "find / -xdev -name 'trace*.jsonl' 2>/dev/null; true")
    assert found.stdout == ""
    assert trace.exists()


def test_nothing_of_the_project_runs_on_the_host(place: Place) -> None:
    marker = place.home / "marker"
    evil = f"#!/bin/sh\ntouch {marker}\n"
    for name in ("bash", "sh", "env", "substrate", "git", "git-diff", ".bashrc", ".profile"):
        (place.project / name).write_text(evil, encoding="utf-8")
        (place.project / name).chmod(0o755)
    for name in ("json", "re", "sitecustomize", "usercustomize", "yaml", "h11", "substrate"):
        text = f"open({str(marker)!r}, 'w')\n"
        (place.project / f"{name}.py").write_text(text, encoding="utf-8")
    environment = {"PATH": f"{place.project}:/usr/bin:/bin", "PYTHONPATH": str(place.project)}
    for words in (("-c", "true"), ("run", "--", "true"), ("diff",), ("log",), ("why", "true")):
        # As it is installed: what starts it to be measured is an ordinary Python.
        done = subprocess.run(
            [PROGRAM, *words], env=place.environment | environment, cwd=place.project,
            capture_output=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done
    assert not marker.exists()
    # It would have run by that name.
    subprocess.run(["sh", "-c", "bash"], env=environment, check=False, cwd=place.project)
    assert marker.exists()


def test_names_and_output_of_records_cannot_drive_a_terminal(place: Place) -> None:
    attack = "\x1b[2J\x1b]0;owned\x07\u202e"
    made = place.call("-c", f"touch 'a{attack}b'; exit 3")
    assert made.returncode == 3
    span = json.loads(place.call("log", "--json", "-n", "1").stdout)["span_id"]
    asked = [("diff",), ("log",), ("trace", "show", span), ("--trace", span), ("diff", "--stat")]
    asked += [("why", f"echo {attack}"), ("diff", f"nosuch{attack}")]
    for words in asked:
        shown = place.call(*words)
        for text in (shown.stdout, shown.stderr):
            assert "\x1b" not in text, words
            assert "\x07" not in text, words
            assert "\u202e" not in text, words
    assert "owned" in place.call("diff").stdout


def test_a_command_has_no_descriptor_but_its_streams_even_if_they_were_closed(
    place: Place,
) -> None:
    script = "ls -l /proc/self/fd | sed -n 's/.* \\([0-9]*\\) -> /\\1 /p' | grep -v /proc"
    assert {line.split()[0] for line in place.call("-c", script).stdout.splitlines()} == {
        "0", "1", "2"
    }  # fmt: skip
    report = place.project / "report"
    program = (
        "import os, sys\n"
        "for fd in (0, 1, 2): os.close(fd)\n"
        "os.execvpe(sys.argv[1], sys.argv[1:], os.environ)\n"
    )
    closed = [sys.executable, "-c", program, *place.argv, "-c", f"({script}) > report"]
    env = place.whole_environment
    subprocess.run(closed, env=env, cwd=place.project, timeout=60, check=False)
    seen = place.call("-c", "cat report").stdout.splitlines()
    assert {line.split()[0]: line.split()[1] for line in seen if line.split()[0] != "1"} == {
        "0": "/dev/null",
        "2": "/dev/null",
    }
    assert not report.exists()


def test_what_a_command_tells_the_shell_of_jobs_reaches_nothing_but_jobs(place: Place) -> None:
    # Its own descriptors: the report it hands over by, and the orders that others would get.
    forged = (
        r"printf '\1fg\2;\2\2%%1\0\1kill\2;\2\2-9\2%%1\0' >&31",
        r"printf '\1wait\2;\2[1]+ 1 Running                 x &\2%%1\0' >&31",
        "printf '\\1jobs\\2;\\2'; head -c 300000 /dev/zero | tr '\\0' x >&31; printf '\\0' >&31",
        r"printf '\1%s\0' 0 0 0 >&31; head -c 70000 /dev/urandom >&31",
        r"read -r -t 1 -d '' stolen <&34; echo got $stolen",
    )
    with place.pane() as pane:
        pane.wait_for_prompt()
        for line in forged:
            pane.run(line)
        pane.run("sleep 300 &")
        for line in forged:
            pane.run(line)
        pane.run("touch made; jobs; kill -STOP $(ps -o sid= -p $(jobs -p))")
        # Its shell does not answer any more: that is waited for, and then no longer.
        pane.run("echo still; touch alive; kill -9 $!")
        assert "\nstill" in pane.screen()
    told = place.call("diff").stdout
    assert "+ alive\n" in told
    assert "+ made\n" in told


def test_no_command_types_at_the_prompt(place: Place) -> None:
    # A whole report in place of the shell's own, the last field of which is what was typed.
    forged = (
        r"printf '0\0/\0\0\0\0\0\0\0\n\0:accept --force\r\0' >&31; touch one; exit",
        r"printf '0\0/\0\0\0\0\0\0\0\n\0touch typed\r\0' >&31; exit",
        # What the person did type, for a program, is no command of ours either.
        r"read -r w; printf '0\0/\0\0\0\0\0\0\0\n\0:accept --force\n\0' >&31; exit",
    )
    with place.pane() as pane:
        pane.wait_for_prompt()
        for line in forged[:2]:
            pane.run(line)
        pane.type(forged[2])
        pane.type(":accept --force")
        pane.wait_for(":accept --force\n/ $")
        pane.run("echo alive")
        pane.wait_for("\nalive")
        # The control: the person's own is done.
        pane.run("echo mine")
        assert "+ one\n" in place.call("diff").stdout
        assert "typed" not in place.call("diff").stdout
        assert not (place.project / "one").exists()
        pane.run(":accept --force")
    assert (place.project / "one").exists()
    assert not (place.project / "typed").exists()


def test_a_command_in_the_background_cannot_drive_the_terminal(place: Place) -> None:
    # It clears the screen, gives it a title and asks it where the cursor is.
    said = r"\033[2J\033]2;theirs\007\033[6n\033[31mred\033[m it\bs\n"
    (place.project / "say").write_text(f"printf '{said}'\n", "utf-8")
    with place.pane() as pane:
        pane.wait_for_prompt()
        before = pane.title()
        pane.run("echo stays")
        pane.run("(sleep 0.5; . ./say; sleep 300) &")
        pane.wait_for(r"\x1b[2J\x1b]2;theirs\x07\x1b[6nred it\x08s")
        assert "\x1b[31mred" in pane.coloured()
        # Whatever it had asked, nobody has typed an answer at the prompt.
        pane.run("echo alive")
        assert "\nalive\n" in pane.screen()
        assert "\nstays\n" in pane.screen()
        assert pane.title() == before
        # The control: in the foreground the terminal is its own.
        pane.run(". ./say")
        assert pane.title() == "theirs"
        assert "\nstays\n" not in pane.screen()


def test_the_world_s_first_process_cannot_be_ended_from_inside(place: Place) -> None:
    script = "for s in TERM INT KILL HUP QUIT; do kill -$s 1; done; sleep 0.1; echo tried"
    assert place.call("-c", script).stdout == "tried\n"
    assert place.call("-c", "echo alive").stdout == "alive\n"


def test_without_a_world_nothing_runs(place: Place) -> None:
    marker = place.home / "ran"
    command = f"touch {marker}"
    for words in (
        ("--bundle", "nosuch"),
        ("--bundle", str(place.project)),
        ("--project", "/"),
        ("--project", "/root"),
        ("--policy", "/nosuch"),
    ):
        done = place.call(*words, "-c", command)
        assert done.returncode not in (0, 1, 126, 127), (words, done)
        assert not marker.exists()
    assert place.call("--no-world", "-c", command).returncode == 0
    assert marker.exists()


def test_a_home_directory_is_no_project(place: Place) -> None:
    for home in (place.project, place.project / "deeper"):
        done = place.call("-c", "true", env={"HOME": str(home)})
        assert done.returncode == 5
        assert "home directory" in done.stderr
    assert place.call("-c", "true").returncode == 0


def test_the_caller_s_variables_stay_outside(place: Place) -> None:
    secret = {"AWS_SECRET_ACCESS_KEY": "s3cr3t", "LD_PRELOAD": "/nosuch.so", "BASH_ENV": "/x"}
    assert "s3cr3t" not in place.call("-c", "env", env=secret).stdout
    assert "LD_PRELOAD" not in place.call("-c", "env", env=secret).stdout
    named = place.call("-e", "AWS_SECRET_ACCESS_KEY", "-c", "env", env=secret)
    assert "AWS_SECRET_ACCESS_KEY=s3cr3t" in named.stdout
    trace = (place.home / "data/@trace/trace.jsonl").read_text("utf-8")
    assert "s3cr3t" not in trace
