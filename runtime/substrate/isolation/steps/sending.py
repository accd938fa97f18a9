"""Descriptors from a plan to the runtime: one SCM_RIGHTS message; unix(7), cmsg(3)."""

from __future__ import annotations

import struct

from substrate.kernel import messages

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from substrate.isolation.lowering import Lowering
    from substrate.kernel.plan import Cell

_SOL_SOCKET, _SCM_RIGHTS = 1, 1
_CMSGHDR = struct.Struct("=QII")  # length, level, type


def send_descriptors(
    out: Lowering, tag: bytes, count: int, obtain: Callable[[int, Cell], object]
) -> list[Cell]:
    """Append the calls that send a message with `count` descriptors; return their cells.

    `obtain` appends the call whose result is the descriptor of that number, stored in that cell:
    straight into its place in the control message. The descriptors stay open.
    """
    plan = out.plan
    body = plan.constant(messages.pack(tag))
    vector = plan.structure(struct.pack("=QQ", 0, messages.SIZE), [(0, body)])
    size = _CMSGHDR.size + 4 * count
    # CMSG_SPACE: up to the next multiple of eight.
    space = -(-size // 8) * 8
    header = _CMSGHDR.pack(size, _SOL_SOCKET, _SCM_RIGHTS)
    control = plan.data(header + bytes(space - len(header)))
    cells: list[Cell] = []
    for number in range(count):
        offset = control.offset + _CMSGHDR.size + 4 * number
        cells.append(plan.cell_at(f"{tag.decode()}-{number}", offset))
        obtain(number, cells[-1])
    # struct msghdr: no name, one vector, the control message, no flags.
    msghdr = plan.structure(
        struct.pack("=7Q", 0, 0, 0, 1, 0, space, 0), [(16, vector), (32, control)]
    )
    plan.call("sendmsg", out.sync, msghdr, 0, expect=messages.SIZE)
    return cells
