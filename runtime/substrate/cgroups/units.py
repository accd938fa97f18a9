"""A world as a unit of systemd: its name, its slice, and its limits as properties. Pure.

systemd writes the files of its units from their properties again at every daemon-reload, and when
a neighbour starts. The world's own cgroup, below the unit's, it leaves alone; but a weight or a
protection counts among neighbours, so it must know every limit that it has a property for.
"""

from __future__ import annotations

from substrate.cgroups import convert
from substrate.errors import UsageError
from substrate.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from substrate.cgroups.limits import Files

    # A property's name, and its value with the signature of its type.
    Property = tuple[str, tuple[str, Any]]

SYSTEM_SLICE, USER_SLICE = "system.slice", "user.slice"
# Those that systemd hands out; hugetlb and rdma are none of its.
CONTROLLERS = ("cpu", "cpuset", "io", "memory", "pids")
PREFIX = "substrate"
_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.\\")
_NAME_LIMIT = 255
_INFINITY = (1 << 64) - 1
_SECOND_US = 1_000_000
# What systemd stores is a whole percentage of a processor.
_PERCENT_US = 10_000
_HINT = 'use "SLICE.slice:PREFIX:NAME", for example "machine.slice:substrate:mine"'
_AMOUNTS = {
    "memory.max": "MemoryMax",
    "memory.high": "MemoryHigh",
    "memory.low": "MemoryLow",
    "memory.min": "MemoryMin",
    "memory.swap.max": "MemorySwapMax",
    "pids.max": "TasksMax",
    "cpu.weight": "CPUWeight",
}
# What the scope may have above the world's own: a process that holds it, and what the kernel
# remembers of cgroups. So the world's limit is the one that is reached, and counted, first.
_MORE = {"memory.max": 16 << 20, "memory.high": 16 << 20, "pids.max": 1}
_LISTS = {"cpuset.cpus": "AllowedCPUs", "cpuset.mems": "AllowedMemoryNodes"}


@record
class Unit:
    """A scope of a service manager; `manager` is one of those of host/systemd.py."""

    manager: str
    slice: str
    name: str

    @property
    def reference(self) -> str:
        """The form in which a world's state names it."""
        return f"{self.manager}/{self.name}"


def unit_of_path(cgroups_path: str | None, name: str, manager: str, default_slice: str) -> Unit:
    """Return the scope that linux.cgroupsPath, `SLICE:PREFIX:NAME`, asks for.

    Without one, the scope `substrate-<name>` in the default slice. Raises `UsageError` for any
    other form, and for what cannot be a slice or a unit.
    """
    if not cgroups_path:
        return Unit(manager, default_slice, _scope_name(PREFIX, escape(name)))
    words = cgroups_path.split(":")
    if len(words) != 3 or "/" in cgroups_path:
        message = f"linux.cgroupsPath is {cgroups_path!r}, which is no unit of systemd"
        raise UsageError(message, _HINT)
    slice_, prefix, last = words
    if not last or last.endswith(".slice"):
        message = f"linux.cgroupsPath is {cgroups_path!r}: a world needs the name of a scope"
        raise UsageError(message, _HINT)
    slice_ = slice_ or default_slice
    slice_parts(slice_)
    unit = _scope_name(prefix, last)
    if not _NAME_CHARACTERS.issuperset(unit) or unit[0] == "." or len(unit) > _NAME_LIMIT:
        message = f"linux.cgroupsPath is {cgroups_path!r}: {unit!r} is no name of a unit"
        raise UsageError(message, _HINT)
    return Unit(manager, slice_, unit)


def slice_parts(slice_: str) -> tuple[str, ...]:
    """Return the directories of a slice: `a-b.slice` lies in `a.slice` (systemd.slice(5))."""
    if slice_ == "-.slice":
        return ()
    names = slice_.removesuffix(".slice").split("-")
    valid = slice_.endswith(".slice") and _NAME_CHARACTERS.issuperset(slice_) and all(names)
    if not valid or slice_[0] == "." or len(slice_) > _NAME_LIMIT:
        message = f"{slice_!r} is no name of a slice"
        raise UsageError(message, _HINT)
    return tuple("-".join(names[: count + 1]) + ".slice" for count in range(len(names)))


def escape(name: str) -> str:
    """Return a name as systemd-escape(1) would: bytes that no unit's name has, in hexadecimal."""
    kept = _NAME_CHARACTERS - {"\\"}
    return "".join(
        character if character in kept else "".join(f"\\x{byte:02x}" for byte in character.encode())
        for character in name
    )


def limit_properties(files: Files) -> list[Property]:
    """Return the limits that systemd has properties for, but those of single devices."""
    found: list[Property] = []
    for file, value in files.values.items():
        if file in _AMOUNTS:
            found.append((_AMOUNTS[file], ("t", _amount(value, _MORE.get(file, 0)))))
        elif file in _LISTS:
            found.append((_LISTS[file], ("ay", list(_mask(value)))))
        elif file == "cpu.max":
            found += _quota(value)
    if files.values.get("cpu.idle") == "1":
        found = [entry for entry in found if entry[0] != "CPUWeight"]
        # The weight of what is idle.
        found.append(("CPUWeight", ("t", 0)))
    weight = _io_weight(files)
    if weight is not None:
        found.append(("IOWeight", ("t", weight)))
    return found


def _scope_name(prefix: str, name: str) -> str:
    return f"{prefix}-{name}.scope" if prefix else f"{name}.scope"


def _amount(value: str, more: int) -> int:
    number = convert.parse_amount(value)
    return _INFINITY if number < 0 else number + more


def _quota(value: str) -> list[Property]:
    quota, period = convert.parse_cpu_max(value)
    per_second = _INFINITY
    if quota >= 0:
        exact = quota * _SECOND_US / period
        # Up, as runc does: after a daemon-reload it must not be less than asked for.
        per_second = -int(-exact // _PERCENT_US) * _PERCENT_US
    return [
        ("CPUQuotaPerSecUSec", ("t", per_second)),
        ("CPUQuotaPeriodUSec", ("t", period)),
    ]


def _mask(value: str) -> bytes:
    """Return a list like 0-3,7 as a bit mask, the lowest number first."""
    bits = sum(1 << number for number in convert.parse_list(value))
    return bits.to_bytes((bits.bit_length() + 7) // 8, "little")


def _io_weight(files: Files) -> int | None:
    """Return the weight of all devices on v2's scale, None when there is none."""
    for write in files.writes:
        word = write.value.removeprefix("default ")
        if write.otherwise is not None and write.otherwise[0] == "io.weight":
            word = write.otherwise[1]
        elif write.file != "io.weight":
            continue
        # One with a device in front is that device's.
        if word.isdigit():
            return int(word)
    return None
