"""Which devices a world may use: the OCI's list of rules, and what it comes to.

The rules speak to the device controller of cgroup v1, which is a small machine: a default, and
exceptions to it. v2 has an eBPF program in its place. So the rules are run through that machine
here, as runc does (opencontainers/cgroups/devices); `device_program.py` writes the program that
answers as its final state would.
"""

from __future__ import annotations

from substrate.bundle.fields import INT64_MAX, UINT32_MAX
from substrate.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from substrate.bundle.fields import Fields

ANY = -1
ALL, BLOCK, CHARACTER = "a", "b", "c"
ACCESSES = "rwm"


@record
class DeviceRule:
    """One entry of linux.resources.devices; `major` and `minor` of -1 mean any."""

    allow: bool
    type: str = ALL
    major: int = ANY
    minor: int = ANY
    access: str = ACCESSES

    def overlaps(self, other: DeviceRule) -> bool:
        """Whether some access to some device is named by both."""
        return (
            self.type == other.type
            and (ANY in (self.major, other.major) or self.major == other.major)
            and (ANY in (self.minor, other.minor) or self.minor == other.minor)
            and bool(set(self.access).intersection(other.access))
        )


@record
class DeviceAccess:
    """The machine's final state: `allow` is the answer for whatever no exception names.

    The exceptions say the opposite; they are sorted, with one per (type, major, minor).
    """

    allow: bool
    exceptions: tuple[DeviceRule, ...] = ()


# What a new cgroup of v1 under runc has: nothing.
DENY_ALL = DeviceAccess(allow=False)

# What every world may use whatever its rules say, because the runtime puts it there (OCI
# config-linux, default devices), and any node may be made, though not opened; the list is runc's.
ALWAYS_ALLOWED = (
    DeviceRule(True, CHARACTER, access="m"),
    DeviceRule(True, BLOCK, access="m"),
    DeviceRule(True, CHARACTER, 1, 3),  # null
    DeviceRule(True, CHARACTER, 1, 5),  # zero
    DeviceRule(True, CHARACTER, 1, 7),  # full
    DeviceRule(True, CHARACTER, 1, 8),  # random
    DeviceRule(True, CHARACTER, 1, 9),  # urandom
    DeviceRule(True, CHARACTER, 5, 0),  # tty
    DeviceRule(True, CHARACTER, 5, 1),  # console
    DeviceRule(True, CHARACTER, 5, 2),  # ptmx
    DeviceRule(True, CHARACTER, 136, ANY),  # pts/*
)


def parse_devices(resources: Fields) -> DeviceAccess:
    """Read `devices` of linux.resources; raises `BundleError` for a rule that v1 would ignore."""
    state = DENY_ALL
    for number, entry in enumerate(resources.objects("devices")):
        rule = _parse_rule(entry)
        try:
            state = apply_rule(state, rule)
        except ValueError as error:
            resources.refuse("devices", str(error), entry.data, number)
    return state


def emulate(rules: Iterable[DeviceRule]) -> DeviceAccess:
    """Return the state in which the rules leave a new cgroup; raises what `apply_rule` raises."""
    state = DENY_ALL
    for rule in rules:
        state = apply_rule(state, rule)
    return state


def apply_rule(state: DeviceAccess, rule: DeviceRule) -> DeviceAccess:
    """Return the machine's next state.

    A rule for all devices resets it. Another one adds an exception, or takes away from the one
    that has exactly its numbers. Raises `ValueError` when it would have to take away from a wider
    or narrower one: v1 then silently does nothing, and a denial would not hold.
    """
    if rule.type == ALL:
        return DeviceAccess(rule.allow)
    same = [old for old in state.exceptions if _key(old) == _key(rule)]
    others = tuple(old for old in state.exceptions if _key(old) != _key(rule))
    letters = set(same[0].access if same else "")
    if rule.allow != state.allow:
        letters |= set(rule.access)
    elif any(old.overlaps(rule) for old in others):
        message = "a rule with exactly the numbers of the earlier one that it changes"
        raise ValueError(message)
    else:
        letters -= set(rule.access)
    if not letters:
        return DeviceAccess(state.allow, others)
    access = "".join(letter for letter in ACCESSES if letter in letters)
    exception = DeviceRule(not state.allow, rule.type, rule.major, rule.minor, access)
    return DeviceAccess(state.allow, tuple(sorted((*others, exception), key=_key)))


def _parse_rule(entry: Fields) -> DeviceRule:
    if entry.data.get("allow") is None:
        entry.missing("allow")
    allow = entry.flag("allow")
    type_ = entry.optional_text("type") or ALL
    if type_ not in (ALL, BLOCK, CHARACTER, "u"):
        entry.refuse("type", "one of a, b, c, u", type_)
    access = entry.optional_text("access") or ""
    if not set(access).issubset(ACCESSES):
        entry.refuse("access", "letters out of rwm", access)
    major, minor = _number(entry, "major"), _number(entry, "minor")
    # v1 looks at neither numbers nor access of such a rule, so these would allow every device.
    if type_ == ALL and (major, minor) != (ANY, ANY):
        entry.refuse("type", "b or c, since the rule has numbers", type_)
    if type_ == ALL and allow and access and set(access) != set(ACCESSES):
        entry.refuse("access", "rwm, since the rule is for all devices", access)
    # `u` is an unbuffered character device, as for mknod(1).
    return DeviceRule(allow, CHARACTER if type_ == "u" else type_, major, minor, access)


def _key(rule: DeviceRule) -> tuple[str, int, int]:
    return rule.type, rule.major, rule.minor


def _number(entry: Fields, key: str) -> int:
    value = entry.optional_integer(key, ANY, INT64_MAX)
    if value is not None and value > UINT32_MAX:
        entry.refuse(key, f"an integer from -1 to {UINT32_MAX}", value)
    return ANY if value is None else value
