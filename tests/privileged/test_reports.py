"""The verbs that only say something: spec, validate, plan, features, diff, --debug."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from substrate.bundle.load import load_bundle
from substrate.resources import bundle_names
from tests.support.features import requires

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.runtime import Runtime

pytestmark = requires("userns", "overlayfs")


@pytest.fixture
def folder(runtime: Runtime) -> Path:
    made = runtime.folder / "made"
    made.mkdir()
    return made


@pytest.mark.parametrize("words", [(), ("--rootless",)])
def test_spec_writes_a_valid_bundle_and_never_replaces_one(
    runtime: Runtime, folder: Path, words: tuple[str, ...]
) -> None:
    runtime("spec", "--bundle", folder, *words).ok()
    config, _ = load_bundle(str(folder))
    assert config["process"]["capabilities"]["bounding"] == []
    assert runtime("validate", "--bundle", folder).ok().stdout.endswith("is valid\n")
    before = (folder / "config.json").read_bytes()
    again = runtime("spec", "--bundle", folder)
    assert again.status == 1
    assert "is there already" in again.stderr
    assert (folder / "config.json").read_bytes() == before


def test_spec_starts_from_a_shipped_bundle(runtime: Runtime, folder: Path) -> None:
    runtime("spec", "--bundle", folder, "--template", "readonly-review").ok()
    config = json.loads((folder / "config.json").read_text("utf-8"))
    assert config["substrate"]["project"]["write"] == "readonly"
    unknown = runtime("spec", "--bundle", folder, "--template", "nosuch")
    assert unknown.status == 2
    assert all(name in unknown.stderr for name in bundle_names())


def test_what_spec_writes_runs(runtime: Runtime, folder: Path) -> None:
    runtime("spec", "--bundle", folder).ok()
    (folder / "rootfs").symlink_to(runtime.rootfs)
    assert runtime("run", "--bundle", folder, "w", "echo", "here").ok().stdout == "here\n"


def test_validate_lists_every_problem_as_json(runtime: Runtime) -> None:
    bundle = runtime.bundle("true", process={"cwd": "x", "args": "sh"})
    done = runtime("validate", "--bundle", bundle, "--json")
    assert done.status == 2
    problems = done.json()["problems"]
    assert any("$.process.cwd" in problem for problem in problems)
    assert any("$.process.args" in problem for problem in problems)


def test_plan_shows_both_processes_and_makes_nothing(runtime: Runtime, folder: Path) -> None:
    words = ("plan", "--bundle", "host-project", "--project", folder)
    text = runtime(*words, "--", "make", "check").ok().stdout
    assert text.index("stage:") < text.index("world:")
    assert text.rstrip().endswith("execute make")
    calls = runtime(*words, "--syscalls").ok().stdout
    assert "pivot_root" in calls
    assert "seccomp(" in calls
    told = runtime(*words, "--json").ok().json()
    assert told["world"][0]["step"].startswith("reset signal")
    assert runtime.worlds() == []
    assert not (runtime.home / "data").exists()


def test_features_tells_what_engines_ask(runtime: Runtime) -> None:
    told = runtime("features").ok().json()
    assert told["ociVersionMin"] == "1.0.0"
    assert {"ro", "rbind", "rro"} <= set(told["mountOptions"])
    assert "user" in told["linux"]["namespaces"]
    assert "SCMP_ACT_ERRNO" in told["linux"]["seccomp"]["actions"]
    assert "createContainer" in told["hooks"]


def test_debug_times_every_step_and_leaves_the_payload_alone(runtime: Runtime) -> None:
    bundle = runtime.bundle("echo", "out")
    done = runtime("--debug", "run", "--bundle", bundle, "w").ok()
    assert done.stdout == "out\n"
    steps = [line for line in done.stderr.splitlines() if " ms  " in line]
    assert any(line.endswith("mount proc on /proc") for line in steps)
    assert any(line.endswith("switch to the new root file system") for line in steps)
    failed = runtime.bundle("true", mounts=[{"destination": "/x", "type": "nosuchfs"}])
    done = runtime("--debug", "run", "--bundle", failed, "w")
    assert done.status in {1, 4}
    assert " ms  " in done.stderr


def test_diff_tells_in_every_form(runtime: Runtime, folder: Path) -> None:
    (folder / "gone").write_text("x", "utf-8")
    (folder / "sub").mkdir()
    script = "rm gone; echo 1 > new; echo 2 > sub/deep; printf y > 'esc\x1b[31m'"
    runtime("run", "--keep", "--bundle", "host-project", "--project", folder, "w",
            "sh", "-c", script).ok()  # fmt: skip
    lines = runtime("diff", "w").ok().stdout.splitlines()
    assert lines[0].startswith("+ esc")
    assert "\x1b" not in "".join(lines)
    assert {"- gone", "+ new", "+ sub/deep"} <= set(lines)
    assert runtime("diff", "w", "sub").ok().stdout == "+ sub/deep\n"
    assert runtime("diff", "w", folder / "sub").ok().stdout == "+ sub/deep\n"
    assert "D\tgone" in runtime("diff", "--name-status", "w").ok().stdout
    assert runtime("diff", "--stat", "w").ok().stdout.startswith("3 new, 1 deleted")
    told = runtime("diff", "--json", "w").ok().json()
    assert told["deletes"] == ["gone"]
    assert sorted(path.name for path in folder.iterdir()) == ["gone", "sub"]
