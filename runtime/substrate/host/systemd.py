"""Where a service manager of systemd can be reached: the sockets of systemctl(1), in its order."""

from __future__ import annotations

import os

from substrate.record import record

SYSTEM, USER = "system", "user"
# sd_booted(3): the directory is made by systemd as process 1, early, and by nobody else.
_BOOTED = "/run/systemd/system"


@record
class Door:
    """A Unix socket; `is_bus`: a message bus that passes on, not the manager itself.

    An `address` that starts with a null byte is abstract.
    """

    address: str
    is_bus: bool


def doors(manager: str) -> tuple[Door, ...]:
    """Return where the system's manager, or that of this user, listens; none where it cannot.

    Its own socket first: it works without a bus daemon, and for its own user (or root) only.
    """
    if manager == SYSTEM:
        bus = os.environ.get("DBUS_SYSTEM_BUS_ADDRESS", "")
        own, default = "/run/systemd/private", "/run/dbus/system_bus_socket"
    else:
        directory = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
        bus = os.environ.get("DBUS_SESSION_BUS_ADDRESS", "")
        own, default = f"{directory}/systemd/private", f"{directory}/bus"
    return (Door(own, is_bus=False), Door(_unix_address(bus) or default, is_bus=True))


def reason() -> str:
    """Return why there is no systemd as process 1, or ""."""
    return "" if os.path.isdir(_BOOTED) else f"systemd is not process 1: there is no {_BOOTED}"


def _unix_address(addresses: str) -> str:
    """Return the first Unix socket of a D-Bus address list, "" when it names none."""
    for address in addresses.split(";"):
        transport, _, options = address.partition(":")
        if transport != "unix":
            continue
        for option in options.split(","):
            key, _, value = option.partition("=")
            if key in ("path", "abstract"):
                from urllib.parse import unquote

                value = unquote(value, errors="surrogateescape")
                return "\0" + value if key == "abstract" else value
    return ""
