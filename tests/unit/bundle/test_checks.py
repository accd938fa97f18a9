from __future__ import annotations

from typing import Any

import pytest

from substrate.bundle.checks import check_config, check_process
from tests.unit.bundle.examples import EXAMPLES, example, put

SPACES = [{"type": "mount"}, {"type": "uts"}, {"type": "ipc"}, {"type": "network"}]
USER = {"type": "user"}


def mapping(container: int, host: int, size: int) -> dict[str, int]:
    return {"containerID": container, "hostID": host, "size": size}


WHOLE = [mapping(0, 1000, 1)]

FAULTS: list[tuple[str, dict[str, Any], str]] = [
    ("minimal", {"ociVersion": "2.0.0"}, "$.ociVersion: expected version 1"),
    ("ours", {"hostname": "h" * 65}, "$.hostname: expected at most 64 bytes"),
    ("minimal", {"process.cwd": "srv"}, "$.process.cwd: expected an absolute path"),
    ("minimal", {"process.args": [""]}, "$.process.args[0]: expected the name of a program"),
    ("minimal", {"process.args": ["a\0b"]}, "$.process.args[0]: expected a string without NUL"),
    ("minimal", {"process.args": ["\ud800"]}, "$.process.args[0]: expected Unicode text"),
    ("minimal", {"process.env": ["PATH"]}, "$.process.env[0]: expected NAME=value"),
    ("minimal", {"process.env": ["=x"]}, "$.process.env[0]: expected NAME=value"),
    (
        "podman",
        {"process.capabilities.bounding": ["CAP_FLY"]},
        "$.process.capabilities.bounding[0]: expected a capability like CAP_CHOWN",
    ),
    (
        "podman",
        {"process.rlimits.0.soft": 2**40},
        "$.process.rlimits[0].soft: expected at most the hard limit 1048576",
    ),
    ("podman", {"process.rlimits.0.type": "RLIMIT_FUN"}, "$.process.rlimits[0].type: expected one"),
    (
        "podman",
        {"process.rlimits.1.type": "RLIMIT_NOFILE"},
        "$.process.rlimits[1].type: RLIMIT_NOFILE is there twice",
    ),
    ("minimal", {"root": None}, "$: root is missing"),
    ("ours", {"root": {"path": "rootfs"}}, "$.root: expected no root directory"),
    ("minimal", {"root.path": ""}, "$.root.path: expected a directory"),
    ("podman", {"mounts.0.destination": ""}, "$.mounts[0].destination: expected a path"),
    ("ours", {"mounts.0.destination": "proc"}, "$.mounts[0].destination: expected an absolute"),
    ("ours", {"mounts.0.type": ""}, "$.mounts[0]: expected a type, or the option bind"),
    (
        "podman",
        {"mounts.5.options": ["bind", "nodevs"]},
        '$.mounts[5].options: the string "nodevs" is no option of a bind mount',
    ),
    ("podman", {"mounts.5.source": ""}, "$.mounts[5]: expected a source for a bind mount"),
    ("podman", {"mounts.5.uidMappings": WHOLE}, "$.mounts[5]: expected both uidMappings and"),
    ("docker", {"hooks.prestart.0.path": "x"}, "$.hooks.prestart[0].path: expected an absolute"),
    ("docker", {"hooks.poststop.0.env": ["x"]}, "$.hooks.poststop[0].env[0]: expected NAME=value"),
    (
        "minimal",
        {"linux.namespaces": [{"type": "mount"}, {"type": "mount"}]},
        "$.linux.namespaces[1].type: the namespace mount is there twice",
    ),
    (
        "minimal",
        {"linux.namespaces.0.path": "proc/1"},
        "$.linux.namespaces[0].path: expected an absolute path",
    ),
    ("minimal", {"hostname": "x"}, "$.hostname: expected a uts namespace"),
    ("minimal", {"domainname": "x"}, "$.domainname: expected a uts namespace"),
    ("minimal", {"linux.timeOffsets": {"boottime": {}}}, "$.linux.timeOffsets: expected a time"),
    (
        "minimal",
        {"linux.uidMappings": WHOLE, "linux.gidMappings": WHOLE},
        "$.linux.uidMappings: expected a user namespace",
    ),
    ("docker", {"linux.gidMappings": []}, "$.linux: expected both uidMappings and gidMappings"),
    ("minimal", {"linux.namespaces": [USER]}, "$.linux: expected uidMappings and gidMappings"),
    ("docker", {"linux.uidMappings": [mapping(0, 5, 0)]}, "$.linux.uidMappings[0].size: expected"),
    (
        "docker",
        {"linux.uidMappings": [mapping(2**32 - 1, 0, 2)]},
        "$.linux.uidMappings[0].containerID: expected ids below 2^32",
    ),
    (
        "docker",
        {"linux.uidMappings": [mapping(0, 0, 10), mapping(9, 100, 1)]},
        "$.linux.uidMappings[1].containerID: overlaps the range of $.linux.uidMappings[0]",
    ),
    (
        "docker",
        {"linux.uidMappings": [mapping(0, 7, 1), mapping(9, 7, 1)]},
        "$.linux.uidMappings[1].hostID: overlaps",
    ),
    (
        "docker",
        {"linux.uidMappings": [mapping(n, n, 1) for n in range(341)]},
        "$.linux.uidMappings: expected at most 340 mappings",
    ),
    ("minimal", {"linux.sysctl": {"net.x": "1"}}, '$.linux.sysctl["net.x"]: expected a network'),
    ("minimal", {"linux.sysctl": {"kernel.sem": "1"}}, '$.linux.sysctl["kernel.sem"]: expected a'),
    ("podman", {"linux.sysctl": {"vm.swappiness": "1"}}, '$.linux.sysctl["vm.swappiness"]: expec'),
    ("podman", {"linux.sysctl": {"kernel.hostname": "x"}}, '$.linux.sysctl["kernel.hostname"]: ex'),
    (
        "podman",
        {"linux.sysctl": {"net/../kernel/core_pattern": "|x"}},
        '$.linux.sysctl["net/../kernel/core_pattern"]: expected the name of a sysctl',
    ),
    ("docker", {"linux.devices.0.path": "fuse"}, "$.linux.devices[0].path: expected an absolute"),
    ("docker", {"linux.devices.0.major": None}, "$.linux.devices[0].major: expected the major"),
    ("podman", {"linux.maskedPaths": ["proc"]}, "$.linux.maskedPaths[0]: expected an absolute"),
    ("podman", {"linux.cgroupsPath": "/a/../../b"}, "$.linux.cgroupsPath: expected a path without"),
    ("podman", {"linux.rootfsPropagation": "open"}, "$.linux.rootfsPropagation: expected one of"),
    ("ours", {"substrate.project.at": "work"}, "$.substrate.project.at: expected an absolute path"),
    ("ours", {"substrate.project.at": "/a/../b"}, "$.substrate.project.at: expected an absolute"),
    ("ours", {"substrate.project.deny": ["/etc"]}, "$.substrate.project.deny[0]: expected a patt"),
    ("ours", {"substrate.rootfs.hide": ["opt"]}, "$.substrate.rootfs.hide[0]: expected an absolut"),
    (
        "minimal",
        {"substrate": {"rootfs": {"expose": ["/opt"]}}},
        "$.substrate.rootfs.expose: expected $.substrate.rootfs.kind to be host",
    ),
    (
        "ours",
        {"substrate.network.mode": "none"},
        "$.substrate.network.allowedDomains: expected $.substrate.network.mode to be filtered",
    ),
    (
        "ours",
        {"substrate.network.allowedDomains": ["*.com"]},
        "$.substrate.network.allowedDomains[0]: expected github.com",
    ),
    (
        "ours",
        {"substrate.network.denied": ["*"]},
        "$.substrate.network.denied[0]: expected github.com",
    ),
    (
        "ours",
        {"substrate.network": {"mode": "host"}},
        "$.substrate.network.mode: host expects no network namespace",
    ),
    (
        "minimal",
        {"substrate": {"network": {"mode": "none"}}},
        "$.substrate.network.mode: none expects a network namespace",
    ),
    (
        "podman",
        {"substrate": {"network": {"mode": "pinned"}}},
        "$.substrate.network.mode: pinned expects a network namespace of the world's own",
    ),
    (
        "ours",
        {"linux.seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}},
        "$.substrate.seccomp.profile: expected no $.linux.seccomp beside it",
    ),
    (
        "ours",
        {"substrate.seccomp.profile": "../x"},
        "$.substrate.seccomp.profile: expected the name of a profile",
    ),
    (
        "ours",
        {"substrate.allowDegraded": ["No Way"]},
        "$.substrate.allowDegraded[0]: expected one of cgroup, cgroup.memory, ",
    ),
]


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_of_engines_pass(name: str) -> None:
    assert check_config(EXAMPLES[name]) == []


@pytest.mark.parametrize(("name", "changes", "problem"), FAULTS)
def test_a_fault_is_found(name: str, changes: dict[str, Any], problem: str) -> None:
    data = example(name)
    for path, value in changes.items():
        put(data, path, value)
    problems = check_config(data)
    assert [found for found in problems if found.startswith(problem)], problems


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("ours", {"substrate.network.allowedDomains": ["*"]}),
        ("ours", {"substrate.network.allowedDomains": []}),
        ("minimal", {"process.args": ["caf\udce9"]}),
        ("minimal", {"linux.namespaces": [USER], "substrate": {}}),
        ("minimal", {"linux.namespaces": [{"type": "user", "path": "/proc/7/ns/user"}]}),
        (
            "minimal",
            {"linux.namespaces": SPACES, "linux.sysctl": {"kernel.sem": "", "net.x": ""}},
        ),
        ("minimal", {"linux.namespaces": SPACES, "hostname": "x", "domainname": "y"}),
        ("minimal", {"mounts": [{"destination": "proc", "type": "proc"}]}),
        # crun's suite asks for this: an effective set alone.
        ("minimal", {"process.capabilities": {"effective": ["CAP_SYS_ADMIN"]}}),
        ("minimal", {"linux.rootfsPropagation": "rslave"}),
        ("minimal", {"process": None}),
    ],
)
def test_what_looks_odd_and_is_allowed_passes(name: str, changes: dict[str, Any]) -> None:
    data = example(name)
    for path, value in changes.items():
        put(data, path, value)
    assert check_config(data) == []


def test_all_faults_are_listed() -> None:
    data = example("minimal")
    put(data, "process.cwd", "x")
    put(data, "hostname", "x")
    put(data, "linux.maskedPaths", ["a", "b"])
    assert len(check_config(data)) == 4


def test_a_process_file_is_checked_by_itself() -> None:
    assert check_process({"args": ["a"], "cwd": "/"}, "$") == []
    assert check_process({"args": ["a"], "cwd": "x"}, "$")[0].startswith("$.cwd: expected")
