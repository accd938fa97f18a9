from __future__ import annotations

import json
import os
import stat
from typing import TYPE_CHECKING, Any

import pytest

from substrate.bundle.jsonfile import LARGEST_BYTES, read_json
from substrate.bundle.load import load_bundle, load_config, schema_problems, validate_bundle
from substrate.bundle.read import read_bundle
from substrate.errors import BundleError
from tests.unit.bundle.examples import EXAMPLES, MINIMAL, OURS, example, put

if TYPE_CHECKING:
    from pathlib import Path


def write(directory: Path, text: str | bytes) -> str:
    data = text.encode() if isinstance(text, str) else text
    (directory / "config.json").write_bytes(data)
    return str(directory)


def problems_of(directory: Path, text: str | bytes) -> list[str]:
    return validate_bundle(write(directory, text))


@pytest.mark.parametrize("name", EXAMPLES)
def test_configurations_of_engines_load(tmp_path: Path, name: str) -> None:
    directory = write(tmp_path, json.dumps(EXAMPLES[name]))
    data, config = load_bundle(directory)
    assert data == EXAMPLES[name]
    assert read_bundle(directory) == (data, config)


def test_unknown_oci_properties_are_ignored() -> None:
    data = example("docker")
    put(data, "vm", {"hypervisor": {"path": "/x"}})
    put(data, "linux.future", [1])
    put(data, "process.future", {})
    load_config(data)


def test_every_problem_is_listed() -> None:
    data = example("minimal")
    put(data, "process.args", "sh")
    put(data, "process.cwd", "srv")
    put(data, "linux.namespaces.0.type", "mnt")
    put(data, "substrate", {"projct": {}})
    put(data, "annotations", {"dev.substrate.init": "maybe"})
    with pytest.raises(BundleError) as caught:
        load_config(data)
    assert sorted(caught.value.problems) == [
        'config.json: $.annotations["dev.substrate.init"]: expected true or false, '
        'got the string "maybe"',
        "config.json: $.linux.namespaces[0].type: expected one of pid, network, mount, ipc, uts, "
        'user, cgroup, time, got the string "mnt"',
        'config.json: $.process.args: expected an array, got the string "sh"',
        'config.json: $.process.cwd: expected an absolute path, got the string "srv"',
        "config.json: $.substrate.projct: unknown key; expected one of project, rootfs, network, "
        "limits, diff, seccomp, init, allowDegraded",
    ]


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("root", {}, "$.root: path is missing"),
        ("process.args", [], "$.process.args: expected at least 1 element, got an array of 0"),
        ("process.oomScoreAdj", 2000, "$.process.oomScoreAdj: expected at most 1000, got the num"),
        ("process.user", {"uid": 1.0}, "$.process.user.uid: expected an integer, got the number"),
        (
            "linux.resources",
            {"hugepageLimits": [{"pageSize": "2", "limit": 1}]},
            "$.linux.resources.hugepageLimits[0].pageSize: expected a page size like 2MB, got",
        ),
        (
            "linux.seccomp",
            {"defaultAction": "ALLOW"},
            "$.linux.seccomp.defaultAction: expected one of SCMP_ACT_KILL, ",
        ),
        ("substrate", {"limits": {"cpus": 0}}, "$.substrate.limits.cpus: expected more than 0"),
    ],
)
def test_schema_faults_read_well(path: str, value: Any, problem: str) -> None:
    data = example("minimal")
    assert schema_problems(data) == []
    put(data, path, value)
    (found,) = schema_problems(data)
    assert found.startswith(problem)


def test_very_many_problems_are_cut() -> None:
    data = example("minimal")
    data["process"]["args"] = [1] * 1000
    with pytest.raises(BundleError) as caught:
        load_config(data)
    assert len(caught.value.problems) == 101
    assert caught.value.problems[-1] == "... and 900 more problems"


def test_the_fast_path_reports_every_problem_too(tmp_path: Path) -> None:
    data = example("minimal")
    put(data, "process.cwd", "a")
    put(data, "linux.maskedPaths", ["b"])
    with pytest.raises(BundleError) as caught:
        read_bundle(write(tmp_path, json.dumps(data)))
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{\n "a": 1,\n "b": ', "line 3 column 7: expecting value"),
        ("", "line 1 column 1: the file is empty"),
        ("{} {}", "line 1 column 4: extra data"),
        ('{"a": NaN}', "NaN is not JSON"),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', 'the key "c" is there twice'),
        (b'{"a": "\xff"}', "byte 7: not UTF-8"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a": ' + "9" * 5000 + "}", "Exceeds the limit"),
    ],
)
def test_text_that_is_no_json_says_where(tmp_path: Path, text: str | bytes, problem: str) -> None:
    (found,) = problems_of(tmp_path, text)
    assert found.startswith(f"config.json: {problem}")


@pytest.mark.parametrize("value", [[], "x", 1, None, True])
def test_a_document_that_is_no_object_is_refused(tmp_path: Path, value: Any) -> None:
    found = problems_of(tmp_path, json.dumps(value))
    assert found[0].startswith("config.json: $: expected an object, got ")


def test_a_missing_file_comes_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(BundleError) as caught:
        load_bundle(str(tmp_path))
    assert "No such file or directory" in str(caught.value)
    assert caught.value.hint == f"substrate-runtime spec --bundle {tmp_path}"


def test_a_directory_is_no_configuration(tmp_path: Path) -> None:
    (tmp_path / "config.json").mkdir()
    (found,) = validate_bundle(str(tmp_path))
    assert found.endswith("is not a regular file")


def test_a_fifo_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.json")
    (found,) = validate_bundle(str(tmp_path))
    assert found.endswith("is not a regular file")


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    with path.open("wb") as stream:
        stream.truncate(LARGEST_BYTES + 1)
    (found,) = validate_bundle(str(tmp_path))
    assert found == "config.json: larger than 16 MiB"


def test_an_unreadable_file_is_one_line(tmp_path: Path) -> None:
    # A socket cannot be opened by anyone, root included: ENXIO.
    os.mknod(tmp_path / "config.json", 0o600 | stat.S_IFSOCK)
    (found,) = validate_bundle(str(tmp_path))
    assert "cannot open" in found


def test_a_path_with_nul_is_an_error() -> None:
    with pytest.raises(BundleError):
        read_json("a\0b")


def test_annotations_reach_the_records(tmp_path: Path) -> None:
    data = example("minimal")
    data["annotations"] = {"dev.substrate.init": "true"}
    _, config = read_bundle(write(tmp_path, json.dumps(data)))
    assert config.substrate is not None
    assert config.substrate.init is True


def test_the_configuration_may_have_another_name(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text(json.dumps(MINIMAL))
    assert load_bundle(str(tmp_path), "other.json")[0] == MINIMAL
    assert read_bundle("/nowhere", str(tmp_path / "other.json"))[0] == MINIMAL


def test_null_means_absent_in_oci_and_is_an_error_in_ours() -> None:
    data = example("podman")
    put(data, "hooks", None)
    put(data, "linux.devices", None)
    load_config(data)
    ours: dict[str, Any] = {**OURS, "substrate": {"init": None}}
    assert schema_problems(ours)[0].startswith("$.substrate.init: expected a boolean, got null")
