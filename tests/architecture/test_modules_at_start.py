"""What a call of the runtime loads. Python's own start is most of a call; imports are the rest.

Which modules are loaded is tested, not how long that takes: it is the same on every machine.
"""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from substrate.cli.runtime import VERBS
from tests.support import source
from tests.support.features import requires
from tests.support.sessions import Place, new_place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.runtime import Runtime

_ALLOWED = {
    line
    for line in Path(__file__).with_name("modules_at_start.txt").read_text("utf-8").splitlines()
    if line and not line.startswith("#")
}
_HOT = ("create", "start", "state", "kill", "delete", "list", "exec", "run")
_NAMES = "import sys; before = set(sys.modules); {code}; print(*sorted(set(sys.modules) - before))"
# As the launchers of ci/setup have it.
_PATH = (
    f"sys.path.insert(0, {str(source.PACKAGE.parent)!r});"
    f" sys.path.append({sysconfig.get_path('purelib')!r})"
)


@pytest.fixture
def place() -> Iterator[Place]:
    with new_place() as made:
        yield made


@pytest.mark.parametrize("verb", _HOT)
def test_hot_verb_imports_only_what_is_allowed(verb: str) -> None:
    code = f"{_PATH}; import substrate.cli.runtime, {VERBS[verb]}"
    assert _foreign(_loaded_by(code)) == []


def test_reading_the_command_line_loads_no_room_below_the_floor() -> None:
    code = (
        f"{_PATH}; from substrate.cli.parse import parse; import substrate.cli.runtime;"
        " from substrate.cli.options import RUNTIME; parse(RUNTIME, ['state', 'x'])"
    )
    loaded = {name for name in _loaded_by(code) if name.startswith("substrate.")}
    # Signals have their handlers before anything else is read.
    loaded -= {"substrate.kernel", "substrate.kernel.signals"}
    assert {name.split(".")[1] for name in loaded} <= {"cli", "errors", "jsontext", "record"}


@requires("root", "userns", "overlayfs")
def test_life_of_a_world_loads_only_what_is_allowed(runtime: Runtime) -> None:
    bundle = runtime.bundle("/bin/sleep", "60")
    # The first life fills the caches: a filter is compiled and a bundle checked only once.
    runtime("create", "--bundle", bundle, "warm").ok()
    runtime("start", "warm").ok()
    runtime("exec", "warm", "true").ok()
    runtime("delete", "--force", "warm").ok()
    loaded = {
        "create": _loaded_in_call(runtime, "create", "--bundle", str(bundle), "cold"),
        "start": _loaded_in_call(runtime, "start", "cold"),
        "state": _loaded_in_call(runtime, "state", "cold"),
        "list": _loaded_in_call(runtime, "list"),
        "exec": _loaded_in_call(runtime, "exec", "cold", "true"),
        "kill": _loaded_in_call(runtime, "kill", "cold", "KILL"),
        "delete": _loaded_in_call(runtime, "delete", "--force", "cold"),
    }
    assert {verb: _foreign(names) for verb, names in loaded.items() if _foreign(names)} == {}


def test_recording_a_command_loads_only_what_is_allowed(tmp_path: Path) -> None:
    """The front-end does it for every command; what reads the trace is imported when it is read."""
    code = (
        f"{_PATH}; from substrate.trace import events, ids, spans, writer;"
        " origin = events.Origin(ids.new_session_id(), ids.new_span_id());"
        " request = spans.Request(('sh', '-c', 'TOKEN=x make'), '/', {});"
        f" directory = {str(tmp_path)!r} + '/@trace';"
        " recorded = spans.write_request(directory, origin, request);"
        " log = writer.TraceWriter(directory);"
        " log.append(spans.command_start(origin, request, recorded));"
        " log.append(events.CommandComplete(origin, 0, 1.0))"
    )
    assert _foreign(_loaded_by(code)) == []


def _loaded_by(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-ISE", "-c", _NAMES.format(code=code)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def _loaded_in_call(runtime: Runtime, *words: str) -> set[str]:
    launcher = f"import sys; {_PATH}; from substrate.cli.runtime import entry; entry()"
    listing = runtime.folder / "importtime"
    # A file, because a created world keeps its standard streams; a pipe would not end.
    with listing.open("wb") as file:
        done = subprocess.run(
            [sys.executable, "-ISE", "-X", "importtime", "-c", launcher, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=file,
            check=False,
            env=runtime.environment,
            timeout=60,
        )
    told = listing.read_text("utf-8")
    assert done.returncode == 0, told
    names = re.findall(r"^import time:\s+\d+ \|\s+\d+ \|\s+(\S+)$", told, re.MULTILINE)
    return set(names) - _loaded_by_python()


def _loaded_by_python() -> set[str]:
    done = subprocess.run(
        [sys.executable, "-ISE", "-c", "import sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def _foreign(names: set[str]) -> list[str]:
    return sorted(
        name for name in names if name.split(".")[0] != "substrate" and name not in _ALLOWED
    )


@requires("root", "userns", "overlayfs", "overlayfs.idmapped")
def test_a_command_of_a_session_loads_nothing_of_the_other_ways_in(place: Place) -> None:
    assert place.call("-c", "true").returncode == 0
    launcher = f"import sys; {_PATH}; from substrate.cli.shell import entry; entry()"
    done = subprocess.run(
        [sys.executable, "-ISE", "-X", "importtime", "-c", launcher, "-c", "true"],
        capture_output=True, text=True, check=True, env=place.whole_environment,
        cwd=place.project, timeout=60,
    )  # fmt: skip
    names = set(re.findall(r"\|\s+(\S+)$", done.stderr, re.MULTILINE))
    assert "substrate.api.inprocess" in names
    heavy = {"click", "prompt_toolkit", "h11", "mcp", "yaml", "jsonschema", "ssl", "socket"}
    heavy |= {"asyncio", "dataclasses", "threading", "tempfile", "sqlite3", "subprocess"}
    assert {name.split(".")[0] for name in names} & heavy == set()
    assert "substrate.isolation.sequence" not in names
