"""Where a service manager listens."""

from __future__ import annotations

import os

import pytest

from substrate.host.systemd import SYSTEM, USER, Door, doors

_VARIABLES = ("XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS", "DBUS_SYSTEM_BUS_ADDRESS")


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in _VARIABLES:
        monkeypatch.delenv(name, raising=False)


def test_the_managers_own_socket_comes_before_the_bus() -> None:
    assert doors(SYSTEM) == (
        Door("/run/systemd/private", is_bus=False),
        Door("/run/dbus/system_bus_socket", is_bus=True),
    )
    user = f"/run/user/{os.getuid()}"
    assert [door.address for door in doors(USER)] == [f"{user}/systemd/private", f"{user}/bus"]


@pytest.mark.parametrize(
    ("addresses", "found"),
    [
        ("unix:path=/tmp/a%20b,guid=12", "/tmp/a b"),
        ("tcp:host=x;unix:abstract=/tmp/c", "\0/tmp/c"),
        ("unix:guid=1,path=/x%2", "/x%2"),
        ("tcp:host=x", "/d/bus"),
        ("nonsense", "/d/bus"),
    ],
)
def test_the_callers_variables_lead_elsewhere(
    addresses: str, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/d")
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", addresses)
    assert doors(USER) == (
        Door("/d/systemd/private", is_bus=False),
        Door(found, is_bus=True),
    )
