"""The OCI `linux.seccomp` object, checked and turned into a policy: no numbers, no BPF yet.

Every fault is listed with its JSON path; unknown words are faults, because a filter that skips
what it does not understand protects less than it says.
"""

from __future__ import annotations

from substrate.errors import BundleError, UnsupportedError
from substrate.record import record
from substrate.seccomp.architectures import KNOWN_NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, TypeGuard

ERRNO, TRACE, LOG, ALLOW = 0x00050000, 0x7FF00000, 0x7FFC0000, 0x7FFF0000
KILL_PROCESS, KILL_THREAD, TRAP = 0x80000000, 0x00000000, 0x00030000

ACTIONS = {
    "SCMP_ACT_KILL": KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": KILL_PROCESS,
    "SCMP_ACT_KILL_THREAD": KILL_THREAD,
    "SCMP_ACT_TRAP": TRAP,
    "SCMP_ACT_ERRNO": ERRNO,
    "SCMP_ACT_TRACE": TRACE,
    "SCMP_ACT_ALLOW": ALLOW,
    "SCMP_ACT_LOG": LOG,
}
OPERATORS = ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ")
# TSYNC is accepted and dropped: the filter is loaded by a process that has one thread.
FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 0,
    "SECCOMP_FILTER_FLAG_LOG": 2,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4,
}
# runc's choice for a profile that has no `flags` at all.
_DEFAULT_FLAGS = 4
_EPERM = 1
_MAX_ERRNO = 4095
_ERRNO_ACTIONS = (ERRNO, TRACE)
_U64 = 1 << 64
# What podman's and moby's profile *templates* add; engines resolve them before a runtime sees them.
_TEMPLATE_KEYS = ("includes", "excludes")


@record
class Condition:
    """One comparison of an argument; for MASKED_EQ `value` is the mask, `value_two` the datum."""

    index: int
    operator: str
    value: int
    value_two: int = 0


@record
class Rule:
    """`action` (with its errno in the low bits) for these calls when every condition holds."""

    names: tuple[str, ...]
    action: int
    conditions: tuple[Condition, ...] = ()


@record
class Policy:
    """A profile; `architectures` None means all of the machine."""

    default_action: int
    rules: tuple[Rule, ...]
    architectures: tuple[str, ...] | None
    flags: int


def parse_policy(seccomp: dict[str, Any], known_name: Callable[[str], bool]) -> Policy:
    """Return the policy of an OCI `linux.seccomp` object.

    `known_name` tells whether a word is the name of a system call. Raises BundleError with every
    problem, UnsupportedError for what needs a listener.
    """
    reader = _Reader(known_name)
    policy = reader.policy(seccomp)
    if reader.problems:
        raise BundleError(
            reader.problems,
            hint="seccomp_rule_add(3) has the actions and operators, syscalls(2) names",
        )
    if reader.unsupported:
        raise UnsupportedError("\n".join(reader.unsupported), hint="remove it from the profile")
    return policy


class _Reader:
    def __init__(self, known_name: Callable[[str], bool]) -> None:
        self.problems: list[str] = []
        self.unsupported: list[str] = []
        self._known_name = known_name

    def policy(self, seccomp: dict[str, Any]) -> Policy:
        where = "$.linux.seccomp"
        if "archMap" in seccomp:
            self._fault(f"{where}.archMap", "an engine's profile template, not an OCI profile")
        if seccomp.get("listenerPath"):
            self.unsupported.append(self._line(f"{where}.listenerPath", "no listener is supported"))
        default = self._action(seccomp, "defaultAction", "defaultErrnoRet", where)
        rules: list[Rule] = []
        for number, entry in enumerate(self._list(seccomp, "syscalls", where)):
            rules += self._rules(entry, f"{where}.syscalls[{number}]")
        architectures = self._words(seccomp, "architectures", where, KNOWN_NAMES)
        flags = _DEFAULT_FLAGS
        if seccomp.get("flags") is not None:
            flags = self._flags(seccomp, where)
        return Policy(default, tuple(rules), tuple(architectures) or None, flags)

    def _flags(self, seccomp: dict[str, Any], where: str) -> int:
        flags = 0
        for number, word in enumerate(self._list(seccomp, "flags", where)):
            if word == "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV":
                path = f"{where}.flags[{number}]"
                self.unsupported.append(self._line(path, f"{word} needs a listener"))
            elif isinstance(word, str) and word in FLAGS:
                flags |= FLAGS[word]
            else:
                self._fault(f"{where}.flags[{number}]", f"unknown flag {word!r}")
        return flags

    def _rules(self, entry: Any, where: str) -> Iterable[Rule]:
        if not isinstance(entry, dict):
            self._fault(where, "expected an object")
            return
        for key in _TEMPLATE_KEYS:
            if entry.get(key):
                self._fault(f"{where}.{key}", "an engine's profile template, not an OCI profile")
        names = self._list(entry, "names", where)
        if not names:
            self._fault(f"{where}.names", "expected at least one system call")
        for number, name in enumerate(names):
            if not isinstance(name, str) or not self._known_name(name):
                self._fault(f"{where}.names[{number}]", f"no system call is named {name!r}")
        action = self._action(entry, "action", "errnoRet", where)
        conditions = [
            self._condition(item, f"{where}.args[{number}]")
            for number, item in enumerate(self._list(entry, "args", where))
        ]
        words = tuple(name for name in names if isinstance(name, str))
        # runc's reading of several conditions on one argument: alternatives, since older profiles
        # were written so (libcontainer/seccomp). The specification is silent.
        if len({condition.index for condition in conditions}) < len(conditions):
            yield from (Rule(words, action, (condition,)) for condition in conditions)
        else:
            yield Rule(words, action, tuple(conditions))

    def _action(self, entry: dict[str, Any], key: str, errno_key: str, where: str) -> int:
        word = entry.get(key)
        errno = entry.get(errno_key)
        if word == "SCMP_ACT_NOTIFY":
            self.unsupported.append(
                self._line(f"{where}.{key}", "SCMP_ACT_NOTIFY needs a listener")
            )
            return KILL_PROCESS
        if not isinstance(word, str) or word not in ACTIONS:
            self._fault(f"{where}.{key}", f"unknown action {word!r}")
            return KILL_PROCESS
        action = ACTIONS[word]
        if action not in _ERRNO_ACTIONS:
            if errno is not None:
                self._fault(f"{where}.{errno_key}", f"{word} carries no errno")
            return action
        limit = _MAX_ERRNO if action == ERRNO else 0xFFFF
        if errno is None:
            errno = _EPERM
        if not _is_integer(errno) or not 0 <= errno <= limit:
            self._fault(f"{where}.{errno_key}", f"expected a number from 0 to {limit}")
            return action
        return int(action | errno)

    def _condition(self, item: Any, where: str) -> Condition:
        if not isinstance(item, dict):
            self._fault(where, "expected an object")
            return Condition(0, "EQ", 0)
        index = item.get("index")
        if not _is_integer(index) or not 0 <= index < 6:
            self._fault(f"{where}.index", "expected a number from 0 to 5")
            index = 0
        word = item.get("op")
        operator = word.removeprefix("SCMP_CMP_") if isinstance(word, str) else ""
        if operator not in OPERATORS or operator == word:
            self._fault(f"{where}.op", f"unknown operator {word!r}")
        values: list[int] = []
        for key in ("value", "valueTwo"):
            value = item.get(key, None if key == "value" else 0)
            if not _is_integer(value) or not 0 <= value < _U64:
                self._fault(f"{where}.{key}", "expected a number from 0 to 2^64-1")
                value = 0
            values.append(value)
        return Condition(index, operator, values[0], values[1])

    def _words(
        self, entry: dict[str, Any], key: str, where: str, known: frozenset[str]
    ) -> list[str]:
        words = self._list(entry, key, where)
        for number, word in enumerate(words):
            if not isinstance(word, str) or word not in known:
                self._fault(f"{where}.{key}[{number}]", f"unknown architecture {word!r}")
        return words

    def _list(self, entry: dict[str, Any], key: str, where: str) -> list[Any]:
        value = entry.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            self._fault(f"{where}.{key}", "expected an array")
            return []
        return value

    def _fault(self, path: str, text: str) -> None:
        self.problems.append(self._line(path, text))

    @staticmethod
    def _line(path: str, text: str) -> str:
        return f"config.json: {path}: {text}"


def _is_integer(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
