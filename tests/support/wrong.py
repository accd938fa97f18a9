"""Configurations that are wrong, and what has to be said of each.

Keys say what is wrong. Values are changes of the default configuration, and the regular
expression of the one line of the message; for what only the machine can know, the exit status is
between them.
"""

from __future__ import annotations

from typing import Any

_KINDS = [{"type": kind} for kind in ("mount", "pid", "user", "uts")]
_BIND = {"type": "bind", "options": ["bind"]}


def mounts(*more: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the mounts of the default configuration and some more."""
    proc = {"destination": "/proc", "type": "proc", "source": "proc"}
    return [proc, *more]


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "args is a string": (
        {"process": {"args": "sh"}},
        r'\$\.process\.args: expected an array, got the string "sh"',
    ),
    "args is empty": ({"process": {"args": []}}, r"\$\.process\.args: "),
    "args hold a number": ({"process": {"args": ["sh", 1]}}, r"\$\.process\.args\[1\]: "),
    "cwd is missing": ({"process": {"cwd": None}}, r'\$\.process: .*"?cwd'),
    "cwd is relative": ({"process": {"cwd": "tmp"}}, r"\$\.process\.cwd: "),
    "uid is negative": ({"process": {"user": {"uid": -1, "gid": 0}}}, r"\$\.process\.user\.uid: "),
    "uid is too large": (
        {"process": {"user": {"uid": 1 << 33, "gid": 0}}}, r"\$\.process\.user\.uid: ",
    ),
    "no version": ({"ociVersion": None}, r"\$: .*ociVersion"),
    "a version to come": ({"ociVersion": "9.0.0"}, r"\$\.ociVersion: "),
    "capability": (
        {"process": {"capabilities": {"bounding": ["CAP_FLY"]}}},
        r"\$\.process\.capabilities\.bounding\[0\]: .*CAP_FLY",
    ),
    "rlimit": (
        {"process": {"rlimits": [{"type": "RLIMIT_COFFEE", "soft": 1, "hard": 1}]}},
        r"\$\.process\.rlimits\[0\]\.type: .*RLIMIT_COFFEE",
    ),
    "rlimit twice": (
        {"process": {"rlimits": [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}] * 2}},
        r"\$\.process\.rlimits\[1\]",
    ),
    "soft above hard": (
        {"process": {"rlimits": [{"type": "RLIMIT_CORE", "soft": 2, "hard": 1}]}},
        r"\$\.process\.rlimits\[0\]",
    ),
    "namespace": (
        {"linux": {"namespaces": [*_KINDS, {"type": "moon"}]}},
        r"\$\.linux\.namespaces\[4\]\.type: .*moon",
    ),
    "namespace twice": (
        {"linux": {"namespaces": [*_KINDS, {"type": "mount"}]}},
        r"\$\.linux\.namespaces\[4\]\.type: the namespace mount is there twice",
    ),
    "seccomp action": (
        {"linux": {"seccomp": {"defaultAction": "SCMP_ACT_SHRUG"}}},
        r"\$\.linux\.seccomp\.defaultAction: .*SCMP_ACT_SHRUG",
    ),
    "seccomp architecture": (
        {"linux": {"seccomp": {
            "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_PDP11"]}}},
        r"\$\.linux\.seccomp\.architectures\[0\]: .*SCMP_ARCH_PDP11",
    ),
    "system call": (
        {"linux": {"seccomp": {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["sing"], "action": "SCMP_ACT_ERRNO"}]}}},
        r"\$\.linux\.seccomp\.syscalls\[0\]\.names\[0\]: no system call is named 'sing'",
    ),
    "env without a name": ({"process": {"env": ["=x"]}}, r"\$\.process\.env\[0\]: "),
    "env without a value": ({"process": {"env": ["X"]}}, r"\$\.process\.env\[0\]: "),
    "NUL in an argument": ({"process": {"args": ["a\0b"]}}, r"\$\.process\.args\[0\]: .*NUL"),
    "mount option": (
        {"mounts": mounts({"destination": "/x", "source": "/usr", "options": ["bind", "nodevs"]})},
        "nodevs",
    ),
    "mount without a place": ({"mounts": mounts({"type": "tmpfs"})}, r"\$\.mounts\[1\]: "),
    "masked path is relative": ({"linux": {"maskedPaths": ["proc"]}}, r"\$\.linux\.maskedPaths"),
    "sysctl of the host": ({"linux": {"sysctl": {"vm.swappiness": "0"}}}, "vm.swappiness"),
    "sysctl with dots": ({"linux": {"sysctl": {"kernel/../vm": "0"}}}, r"kernel/\.\./vm"),
    "hook is relative": ({"hooks": {"prestart": [{"path": "hook"}]}}, r"\$\.hooks\.prestart\[0\]"),
    "extension key": ({"substrate": {"projekt": {}}}, r"\$\.substrate\.projekt: unknown key"),
    "extension word": (
        {"substrate": {"network": {"mode": "wifi"}}}, r"\$\.substrate\.network\.mode: .*wifi",
    ),
    "seccomp profile": ({"substrate": {"seccomp": {"profile": "loose"}}}, "loose"),
}  # fmt: skip


IMPOSSIBLE: dict[str, tuple[dict[str, Any], int, str]] = {
    "no root": ({"root": {"path": "/nonexistent"}}, 2, r"\$\.root\.path: "),
    "root is a file": ({"root": {"path": "/etc/passwd"}}, 2, r"\$\.root\.path: "),
    "root is the host's": ({"root": {"path": "/"}}, 5, "the host's own root"),
    "source is missing": (
        {"mounts": mounts({"destination": "/x", "source": "/nonexistent"} | _BIND)}, 2,
        "/nonexistent",
    ),
    "file system type": (
        {"mounts": mounts({"destination": "/tmp", "type": "floppyfs", "source": "none"})}, 1,
        "cannot mount floppyfs on /tmp: fsopen: no such device",
    ),
    "file system option": (
        {"mounts": mounts({"destination": "/tmp", "type": "tmpfs", "options": ["colour=red"]})}, 1,
        "cannot mount tmpfs on /tmp: fsconfig: invalid argument",
    ),
    "target under a file": (
        {"mounts": mounts({"destination": "/etc/passwd/x", "type": "tmpfs"})}, 1,
        "cannot mount tmpfs on /etc/passwd/x: .*: not a directory",
    ),
    "directory on a file": (
        {"mounts": mounts({"destination": "/etc/passwd", "source": "/usr"} | _BIND)}, 1,
        "cannot bind /usr on /etc/passwd: .*: not a directory",
    ),
    "target in a read-only place": (
        {"mounts": mounts({"destination": "/proc/new", "type": "tmpfs"})}, 1,
        "cannot mount tmpfs on /proc/new: mkdirat: ",
    ),
    "user is not mapped": (
        {"process": {"user": {"uid": 70000, "gid": 0}}}, 1, "cannot become uid 70000.*: invalid",
    ),
    "group is not mapped": (
        {"process": {"user": {"uid": 0, "gid": 70000}}}, 1, "cannot become .*gid 70000.*: invalid",
    ),
    "cwd is a file": (
        {"process": {"cwd": "/etc/passwd"}}, 1,
        "cannot change to the working directory /etc/passwd: openat2: not a directory",
    ),
    "cwd is missing": (
        {"process": {"cwd": "/nonexistent"}}, 1,
        "cannot change to the working directory /nonexistent: openat2: no such file or directory",
    ),
    "program is missing": (
        {"process": {"args": ["nonexistent"]}}, 127,
        "cannot execute nonexistent: executable file not found in the world: no such file or dir",
    ),
    "program is a directory": (
        {"process": {"args": ["/etc"]}}, 126, "cannot execute /etc: permission denied",
    ),
    "program is no program": (
        {"process": {"args": ["/etc/passwd"]}}, 126,
        "cannot execute /etc/passwd: exec format error",
    ),
    "program is under a file": (
        {"process": {"args": ["/etc/passwd/x"]}}, 127, "cannot execute /etc/passwd/x: ",
    ),
    "sysctl that is not there": (
        {"linux": {"sysctl": {"net.ipv4.no_such_thing": "1"}}}, 1,
        "cannot set the sysctl net.ipv4.no_such_thing to 1: openat2: no such file or directory",
    ),
    "sysctl value": (
        {"linux": {"sysctl": {"net.ipv4.ip_default_ttl": "many"}}}, 1,
        "cannot set the sysctl net.ipv4.ip_default_ttl to many: write: invalid argument",
    ),
    "namespace path is missing": (
        {"linux": {"namespaces": [*_KINDS, {"type": "network", "path": "/run/netns/none"}]}}, 1,
        "cannot open the network namespace /run/netns/none: No such file or directory",
    ),
    "namespace path is a file": (
        {"linux": {"namespaces": [*_KINDS, {"type": "network", "path": "/etc/passwd"}]}}, 1,
        "cannot join network namespace /etc/passwd: setns: invalid argument",
    ),
    "namespace path is of another kind": (
        {"linux": {"namespaces": [*_KINDS, {"type": "network", "path": "/proc/self/ns/uts"}]}}, 1,
        "cannot join network namespace /proc/self/ns/uts: setns: invalid argument",
    ),
    "tmpcopyup": (
        {"mounts": mounts({"destination": "/tmp", "type": "tmpfs", "options": ["tmpcopyup"]})}, 4,
        "tmpcopyup",
    ),
    "limits": ({"linux": {"resources": {"pids": {"limit": 5}}}}, 4, "cannot be had"),
    "hook that fails": (
        {"hooks": {"createRuntime": [{"path": "/bin/false"}]}}, 1,
        "the createRuntime hook /bin/false failed: exit status 1",
    ),
    "hook that is missing": (
        {"hooks": {"createRuntime": [{"path": "/nonexistent/hook"}]}}, 1,
        "the createRuntime hook /nonexistent/hook failed: No such file or directory",
    ),
    "hook that hangs": (
        {"hooks": {"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "60"],
                                      "timeout": 1}]}}, 1,
        "the createRuntime hook /bin/sleep failed: still running after 1 s",
    ),
}  # fmt: skip
