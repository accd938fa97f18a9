from __future__ import annotations

from typing import Any

import pytest

from substrate.bundle.model import (
    Capabilities,
    Config,
    Device,
    Hook,
    IdMapping,
    Mount,
    Namespace,
    Network,
    Project,
    Rlimit,
    Root,
    parse_config,
    parse_process,
)
from substrate.errors import BundleError
from tests.unit.bundle.examples import DOCKER, EXAMPLES, MINIMAL, OURS, PODMAN, example, put


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_of_engines_parse(name: str) -> None:
    assert isinstance(parse_config(EXAMPLES[name]), Config)


def test_records_hold_what_the_file_says() -> None:
    config = parse_config(DOCKER)
    process = config.process
    assert process is not None
    assert process.args == ("/docker-entrypoint.sh", "nginx")
    assert process.user.additional_gids == (1000,)
    assert process.capabilities == Capabilities(
        bounding=("CAP_CHOWN", "CAP_NET_RAW"), effective=("CAP_CHOWN",), permitted=("CAP_CHOWN",)
    )
    assert process.console_size == (24, 80)
    assert config.root == Root("/var/lib/docker/overlay2/aa/merged", readonly=False)
    assert config.mounts[0] == Mount("/data", "bind", "/srv/data", ("rbind",))
    assert config.hooks.poststop == (Hook("/bin/true", (), ("A=b",), 5),)
    assert config.linux.uid_mappings[1] == IdMapping(1000, 101000, 64536)
    assert config.linux.devices[0] == Device("/dev/fuse", "c", 10, 229, 438, 0, 0)
    assert config.linux.time_offsets == (("monotonic", -5, 1), ("boottime", 3, 0))
    assert config.linux.namespace("user") == Namespace("user")
    assert config.linux.namespace("cgroup") is None
    assert config.substrate is None


def test_resources_and_seccomp_stay_json() -> None:
    linux = parse_config(PODMAN).linux
    assert linux.resources is not None
    assert linux.seccomp is not None
    assert linux.resources["pids"] == {"limit": 2048}
    assert linux.seccomp["defaultErrnoRet"] == 38


def test_empty_strings_and_null_read_as_absent() -> None:
    data = example("podman")
    data["linux"]["cgroupsPath"] = ""
    data["linux"]["devices"] = None
    data["hooks"] = None
    data["mounts"][0]["options"] = None
    data["annotations"]["empty"] = None
    config = parse_config(data)
    assert config.linux.cgroups_path is None
    assert config.linux.devices == ()
    assert config.mounts[0].options == ()
    assert dict(config.annotations)["empty"] == ""
    assert config.process is not None
    assert config.process.selinux_label is None


def test_a_relative_mount_destination_is_relative_to_the_root() -> None:
    data = example("minimal")
    data["mounts"] = [{"destination": "proc", "type": "proc"}]
    assert parse_config(data).mounts[0].destination == "/proc"


def test_the_console_size_is_ignored_without_a_terminal() -> None:
    data = example("docker")
    data["process"]["terminal"] = False
    process = parse_config(data).process
    assert process is not None
    assert process.console_size is None


def test_the_whole_extension_is_read() -> None:
    config = parse_config(OURS).substrate
    assert config is not None
    assert config.project == Project(
        ".", "/work", "live", (".env",), ("LICENSE",), ("*.sql",), enter=False
    )
    assert config.rootfs.kind == "host"
    assert config.network == Network(
        "filtered",
        ("github.com", "*.pypi.org", "10.1.2.0/24:5432"),
        ("**.evil.example.com",),
        kernel_log=True,
    )
    assert config.limits.wall_time_s == 1.5
    assert config.limits.egress_bytes == 0
    assert config.diff.max_entries == 0
    assert config.seccomp.profile == "locked-down"
    assert config.init is True
    assert config.allow_degraded == ("host-uid-0",)


@pytest.mark.parametrize(
    ("network", "namespaces", "mode"),
    [
        (None, ["network"], "none"),
        (None, [], "host"),
        ({"allowedDomains": []}, ["network"], "filtered"),
        ({"mode": "pinned"}, ["network"], "pinned"),
    ],
)
def test_the_network_mode_follows_from_what_is_given(
    network: Any, namespaces: list[str], mode: str
) -> None:
    data = example("minimal")
    data["linux"]["namespaces"] = [{"type": type_} for type_ in namespaces]
    data["substrate"] = {} if network is None else {"network": network}
    config = parse_config(data).substrate
    assert config is not None
    assert config.network.mode == mode


@pytest.mark.parametrize(
    ("seccomp", "filtered", "profile"),
    [
        (None, False, "default"),
        (None, True, None),
        ({"profile": "unconfined"}, False, None),
        ({"mode": "log"}, False, "default"),
    ],
)
def test_one_filter_decides(seccomp: Any, filtered: bool, profile: str | None) -> None:
    data = example("minimal")
    data["substrate"] = {} if seccomp is None else {"seccomp": seccomp}
    if filtered:
        data["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW"}
    config = parse_config(data).substrate
    assert config is not None
    assert config.seccomp.profile == profile


def test_a_process_file_parses_by_itself() -> None:
    process = parse_process({**PODMAN["process"], "rlimits": []}, where="$", file="p.json")
    assert process.args == ("sleep", "1000")
    assert process.rlimits == ()
    process = parse_process(
        {
            "args": ["a"],
            "cwd": "/",
            "rlimits": [{"type": "RLIMIT_CORE", "soft": 0, "hard": 2**64 - 1}],
            "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4},
            "scheduler": {"policy": "SCHED_BATCH", "nice": 3},
        }
    )
    assert process.rlimits == (Rlimit("RLIMIT_CORE", 0, 2**64 - 1),)
    assert process.io_priority is not None
    assert process.io_priority.priority == 4
    assert process.scheduler is not None
    assert process.scheduler.nice == 3


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("process.args", "sh", '$.process.args: expected an array, got the string "sh"'),
        ("process.args", [], "$.process.args: expected the program and its arguments"),
        ("process.args.0", 3, "$.process.args[0]: expected a string, got the number 3"),
        ("process.terminal", 1, "$.process.terminal: expected a boolean, got the number 1"),
        ("process.user.uid", True, "$.process.user.uid: expected an integer, got the boolean true"),
        ("process.user.uid", -1, "$.process.user.uid: expected an integer from 0 to 4294967295"),
        ("process.user.uid", 1.0, "$.process.user.uid: expected an integer, got the number 1.0"),
        ("process.user.additionalGids", ["a"], "$.process.user.additionalGids[0]: expected an int"),
        ("process", [], "$.process: expected an object, got an array of 0"),
        ("ociVersion", None, "$: ociVersion is missing"),
        ("linux.namespaces.0.type", "mnt", "$.linux.namespaces[0].type: expected one of pid, "),
        ("linux.timeOffsets", {"wall": {}}, "$.linux.timeOffsets.wall: unknown key"),
        ("linux.sysctl", {"a.b": 1}, '$.linux.sysctl["a.b"]: expected a string, got the number 1'),
        ("substrate", {"projekt": {}}, "$.substrate.projekt: unknown key; expected one of project"),
        ("substrate.limits.wallTime", 0, "$.substrate.limits.wallTime: expected a number above 0"),
        ("substrate.limits.cpus", "2", "$.substrate.limits.cpus: expected a number, got the str"),
    ],
)
def test_the_first_fault_is_named_with_its_path(path: str, value: Any, problem: str) -> None:
    parse_config(MINIMAL)  # without the fault it is accepted
    data = example("minimal")
    put(data, path, value)
    with pytest.raises(BundleError) as caught:
        parse_config(data)
    assert caught.value.problems[0].startswith(f"config.json: {problem}")


def test_the_offending_value_is_shortened() -> None:
    data = example("minimal")
    data["process"]["args"] = "x" * 1000
    with pytest.raises(BundleError) as caught:
        parse_config(data)
    assert len(str(caught.value)) < 150
