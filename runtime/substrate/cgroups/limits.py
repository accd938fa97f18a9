"""`linux.resources` as files of a cgroup: pure, and every key that v2 can express.

What v2 has no word for is a `Loss`, never silence; the caller decides whether the bundle allows
it. How the files are written is in `place.py`, the device rules are in `devices.py`.
"""

from __future__ import annotations

from substrate.bundle.fields import INT64_MAX, UINT32_MAX, UINT64_MAX, Fields, child
from substrate.cgroups import convert
from substrate.cgroups.devices import parse_devices
from substrate.errors import BundleError
from substrate.record import record, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from substrate.bundle.extension import Limits
    from substrate.cgroups.devices import DeviceAccess

WHERE = "$.linux.resources"
# Names of blockIO's throttles in io.max.
_THROTTLES = {
    "throttleReadBpsDevice": "rbps",
    "throttleWriteBpsDevice": "wbps",
    "throttleReadIOPSDevice": "riops",
    "throttleWriteIOPSDevice": "wiops",
}
_LIST_CHARACTERS = frozenset("0123456789,-:/ ")


@record
class Write:
    """One write to one file. `key` is the OCI key it comes from, below linux.resources.

    `otherwise` is written instead when the file is not there. `absent_is_same`: a kernel without
    the file behaves as if the value were set.
    """

    key: str
    file: str
    value: str
    otherwise: tuple[str, str] | None = None
    absent_is_same: bool = False

    @property
    def controller(self) -> str:
        """The controller that has the file."""
        return self.file.partition(".")[0]


@record
class Loss:
    """Something asked for that cannot be had; `name` is what `allowDegraded` has to say."""

    name: str
    reason: str


@record
class Files:
    """What to write, in order; `devices` None: no device rules were given.

    `memory_checked`: refuse a memory limit below what is in use (`checkBeforeUpdate`).
    """

    writes: tuple[Write, ...] = ()
    losses: tuple[Loss, ...] = ()
    devices: DeviceAccess | None = None
    memory_checked: bool = False

    @property
    def controllers(self) -> tuple[str, ...]:
        """The controllers that must be enabled for it, each once."""
        return tuple(dict.fromkeys(write.controller for write in self.writes))

    @property
    def values(self) -> dict[str, str]:
        """Each file with its value; several lines where it is written more than once."""
        found: dict[str, str] = {}
        for write in self.writes:
            before = found.get(write.file)
            found[write.file] = write.value if before is None else f"{before}\n{write.value}"
        return found


def cgroup_files(
    resources: dict[str, Any] | None, ours: Limits | None = None, file: str = "config.json",
    path: str = WHERE,
) -> Files:  # fmt: skip
    """Return the files for OCI resources and our own limits; the stricter of two values wins.

    Raises `BundleError` naming the first value that means nothing.
    """
    fields = Fields(resources or {}, path, file)
    making = _Making()
    memory = fields.object("memory")
    if memory is not None:
        _memory(memory, making, ours)
    cpu = fields.object("cpu")
    if cpu is not None:
        _cpu(cpu, making)
        _cpuset(cpu, making)
    _pids(fields.object("pids"), making)
    _block_io(fields.object("blockIO"), making)
    _huge_pages(fields, making)
    _network(fields.object("network"), making)
    _rdma(fields.object("rdma"), making)
    _unified(fields, making)
    if ours is not None:
        _tighten(ours, making, fields)
    return Files(
        writes=tuple(making.writes),
        losses=tuple(making.losses),
        devices=parse_devices(fields) if fields.data.get("devices") is not None else None,
        memory_checked=memory is not None and memory.flag("checkBeforeUpdate"),
    )


def without(files: Files, controllers: tuple[str, ...]) -> Files:
    """Return the files that need none of these controllers, which the bundle can do without."""
    kept = tuple(write for write in files.writes if write.controller not in controllers)
    return replace(files, writes=kept)


def merge_resources(before: dict[str, Any] | None, change: dict[str, Any]) -> dict[str, Any]:
    """Return resources with those of an `update` laid over them; zero and "" change nothing.

    A quota alone keeps its period, and a sum of memory and swap its limit of memory.
    """
    merged = dict(before or {})
    for key, value in change.items():
        if _is_object(value) and key != "pids":
            merged[key] = merge_resources(merged.get(key), value)
        elif (value is not None and value != "" and (value != 0 or isinstance(value, bool))) or (
            key == "idle" and value is not None
        ):
            merged[key] = value
    return merged


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


class _Making:
    """The writes and losses found so far."""

    def __init__(self) -> None:
        self.writes: list[Write] = []
        self.losses: list[Loss] = []

    def write(self, key: str, file: str, value: str | int, *, same: bool = False) -> None:
        self.writes.append(Write(key, file, str(value), absent_is_same=same))

    def lose(self, controller: str, key: str, why: str) -> None:
        self.losses.append(Loss(f"cgroup.{controller}", f"{WHERE}.{key} cannot be had: {why}"))

    def value(self, file: str) -> str | None:
        """Return what is to be in a file with a single value, None when nothing is."""
        found = [write.value for write in self.writes if write.file == file]
        return found[-1] if found else None

    def replace(self, key: str, file: str, value: str, *, same: bool = False) -> None:
        self.writes = [write for write in self.writes if write.file != file]
        self.write(key, file, value, same=same)


def _memory(memory: Fields, making: _Making, ours: Limits | None) -> None:
    limit = memory.optional_integer("limit", -1, INT64_MAX) or 0
    reservation = memory.optional_integer("reservation", -1, INT64_MAX) or 0
    swap = memory.optional_integer("swap", -1, INT64_MAX) or 0
    if limit:
        making.write("memory.limit", "memory.max", convert.bytes_or_max(limit))
    if reservation:
        making.write("memory.reservation", "memory.low", convert.bytes_or_max(reservation))
    most = ours.memory_bytes if ours is not None else None
    try:
        # Unlimited memory means unlimited swap only where it is not limited by us.
        swap_only = convert.swap_limit(swap, (limit or most or 0) if swap or not most else 0)
    except ValueError as error:
        memory.refuse("swap", str(error), swap)
    if swap_only is not None:
        # A kernel without swap has no such file, and no swap either.
        same = swap_only <= 0
        value = convert.bytes_or_max(swap_only)
        making.write("memory.swap", "memory.swap.max", value, same=same)
    for key in ("kernel", "kernelTCP"):
        if (memory.optional_integer(key, -1, INT64_MAX) or 0) > 0:
            making.lose("memory", f"memory.{key}", "cgroup v2 counts it as memory like any other")
    if memory.optional_integer("swappiness", 0, UINT64_MAX) is not None:
        making.lose("memory", "memory.swappiness", "cgroup v2 has it for the whole host only")
    if memory.flag("disableOOMKiller"):
        making.lose("memory", "memory.disableOOMKiller", "cgroup v2 always kills")
    if not memory.flag("useHierarchy", default=True):
        making.lose("memory", "memory.useHierarchy", "cgroup v2 always counts descendants")


def _cpu(cpu: Fields, making: _Making) -> None:
    idle = cpu.optional_integer("idle", 0, 1)
    shares = cpu.optional_integer("shares", 0, UINT64_MAX) or 0
    quota = cpu.optional_integer("quota", -1, INT64_MAX) or 0
    period = cpu.optional_integer("period", 0, UINT64_MAX) or 0
    burst = cpu.optional_integer("burst", 0, UINT64_MAX)
    if idle is not None:
        making.write("cpu.idle", "cpu.idle", idle)
    # An idle cgroup has no weight, and the kernel refuses to set one.
    if shares and not idle:
        making.write("cpu.shares", "cpu.weight", convert.weight_of_shares(shares))
    if quota or period:
        key = "cpu.quota" if quota else "cpu.period"
        period = period or convert.DEFAULT_PERIOD_US
        making.write(key, "cpu.max", f"{quota if quota > 0 else convert.MAX} {period}")
    if burst is not None:
        making.write("cpu.burst", "cpu.max.burst", burst)
    for key in ("realtimeRuntime", "realtimePeriod"):
        if cpu.optional_integer(key, -1, UINT64_MAX):
            making.lose("cpu", f"cpu.{key}", "cgroup v2 has no real-time budget")


def _cpuset(cpu: Fields, making: _Making) -> None:
    for key in ("cpus", "mems"):
        value = cpu.optional_text(key)
        if value is None:
            continue
        if not _LIST_CHARACTERS.issuperset(value):
            cpu.refuse(key, "a list like 0-3,7", value)
        making.write(f"cpu.{key}", f"cpuset.{key}", value)


def _pids(pids: Fields | None, making: _Making) -> None:
    if pids is None:
        return
    limit = pids.optional_integer("limit", -1, INT64_MAX)
    if limit is not None:
        # Zero is what podman before 5.4 writes for "unlimited", and crun reads so.
        making.write("pids.limit", "pids.max", limit if limit > 0 else convert.MAX)


def _block_io(block: Fields | None, making: _Making) -> None:
    if block is None:
        return
    weight = _block_weight(block, "weight")
    if weight:
        making.writes.append(_weight("blockIO.weight", weight))
    if block.optional_integer("leafWeight", 0, 1000):
        making.lose("io", "blockIO.leafWeight", "cgroup v2 has no weight for a cgroup's own tasks")
    for device in block.objects("weightDevice"):
        weight = _block_weight(device, "weight")
        if weight:
            making.writes.append(_weight("blockIO.weightDevice", weight, _device(device)))
        if device.optional_integer("leafWeight", 0, 1000):
            why = "cgroup v2 has no weight for a cgroup's own tasks"
            making.lose("io", "blockIO.weightDevice.leafWeight", why)
    for key, word in _THROTTLES.items():
        for device in block.objects(key):
            rate = device.integer("rate", 0, UINT64_MAX)
            value = f"{_device(device)} {word}={rate or convert.MAX}"
            making.write(f"blockIO.{key}", "io.max", value)


def _block_weight(fields: Fields, key: str) -> int:
    weight = fields.optional_integer(key, 0, 1000) or 0
    if 0 < weight < 10:
        fields.refuse(key, "an integer from 10 to 1000", weight)
    return weight


def _weight(key: str, weight: int, device: str = "") -> Write:
    # Only the BFQ scheduler keeps v1's scale; where it is not loaded its file is not there.
    start = f"{device} " if device else ""
    other = convert.weight_of_block_weight(weight)
    return Write(key, "io.bfq.weight", f"{start}{weight}", ("io.weight", f"{start}{other}"))


def _device(fields: Fields) -> str:
    return f"{fields.integer('major', 0, UINT32_MAX)}:{fields.integer('minor', 0, UINT32_MAX)}"


def _huge_pages(fields: Fields, making: _Making) -> None:
    for entry in fields.objects("hugepageLimits"):
        size = entry.text("pageSize")
        number, unit = size[:-2], size[-2:]
        if not (number.isascii() and number.isdigit() and unit in ("KB", "MB", "GB")):
            entry.refuse("pageSize", "a page size like 2MB", size)
        limit = entry.integer("limit", 0, UINT64_MAX)
        making.write("hugepageLimits", f"hugetlb.{size}.max", limit)
        # Reservations are counted since Linux 5.7; a mapping could hold any number otherwise.
        making.write("hugepageLimits", f"hugetlb.{size}.rsvd.max", limit, same=True)


def _network(network: Fields | None, making: _Making) -> None:
    if network is None:
        return
    if network.optional_integer("classID", 0, UINT32_MAX):
        making.lose("network", "network.classID", "cgroup v2 does not mark packets")
    if network.objects("priorities"):
        making.lose("network", "network.priorities", "cgroup v2 has no priorities of packets")


def _rdma(rdma: Fields | None, making: _Making) -> None:
    if rdma is None:
        return
    for name in rdma.data:
        device = rdma.object(name)
        if not name or any(character.isspace() for character in name):
            rdma.refuse(name, "the name of a device", name)
        if device is None:
            continue
        parts = [name]
        for key, word in (("hcaHandles", "hca_handle"), ("hcaObjects", "hca_object")):
            value = device.optional_integer(key, 0, UINT32_MAX)
            if value is not None:
                parts.append(f"{word}={value}")
        if len(parts) > 1:
            making.write("rdma", "rdma.max", " ".join(parts))


def _unified(fields: Fields, making: _Making) -> None:
    unified = fields.object("unified")
    if unified is None:
        return
    for name in unified.data:
        value = unified.text(name)
        if "/" in name or "." not in name or name[0] == "." or "\0" in name:
            unified.refuse(name, "a file of a controller as its key, like memory.high", name)
        if name.startswith("cgroup."):
            unified.refuse(name, "a controller's file; those of cgroup itself are ours", name)
        # It has the last word over the keys before, as under runc; a line is a write.
        making.writes = [write for write in making.writes if write.file != name]
        for line in value.split("\n"):
            if line.strip() or value == "":
                making.write(f"unified.{name}", name, line)


def _tighten(ours: Limits, making: _Making, fields: Fields) -> None:
    if ours.memory_bytes is not None:
        _cap("limits.memory", "memory.max", ours.memory_bytes, making, fields)
        if making.value("memory.swap.max") is None:
            # "So much memory" would else be so much memory and all the swap of the host.
            making.write("limits.memory", "memory.swap.max", "0", same=True)
    if ours.pids is not None:
        _cap("limits.pids", "pids.max", ours.pids, making, fields)
    if ours.cpus is not None:
        quota, period = convert.quota_of_cpus(ours.cpus)
        there = making.value("cpu.max")
        if there is not None:
            try:
                other, other_period = convert.parse_cpu_max(there)
            except ValueError as error:
                _refuse_unified("cpu.max", error, there, fields)
            if 0 <= other * period <= quota * other_period:
                return
        making.replace("limits.cpus", "cpu.max", f"{quota} {period}")
        burst = making.value("cpu.max.burst")
        if burst is not None and burst.isdigit() and int(burst) > quota:
            # The kernel takes no burst above the quota; ours has just made the quota smaller.
            making.replace("limits.cpus", "cpu.max.burst", str(quota))


def _cap(key: str, file: str, most: int, making: _Making, fields: Fields) -> None:
    there = making.value(file)
    if there is not None:
        try:
            asked = convert.parse_amount(there)
        except ValueError as error:
            _refuse_unified(file, error, there, fields)
        if 0 <= asked <= most:
            return
    making.replace(key, file, str(most))


def _refuse_unified(file: str, error: ValueError, value: str, fields: Fields) -> NoReturn:
    where = child(child(fields.path, "unified"), file)
    message = f"{fields.file}: {where}: expected {error}, got {value!r}"
    raise BundleError([message]) from None
