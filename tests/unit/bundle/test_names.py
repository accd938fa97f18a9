from __future__ import annotations

import pytest

from substrate.bundle.sysctl import sysctl_owner, sysctl_path
from substrate.domains import domain_fault
from substrate.kernel.capabilities import CAPABILITIES, NAMES, capability_mask


@pytest.mark.parametrize(
    "entry",
    [
        "github.com",
        "GitHub.com.",
        "localhost",
        "*.pypi.org",
        "**.example.com:443,22",
        "bücher.example",
        "_dmarc.example.com",
        "10.1.2.0/24:5432",
        "10.1.2.3",
        "0.0.0.0/0",
        "2001:db8::/32",
        "2001:db8::1",
        "[2001:db8::/32]:443",
        "[::1]",
    ],
)
def test_domains_that_are_allowed(entry: str) -> None:
    assert domain_fault(entry) == ""


@pytest.mark.parametrize(
    "entry",
    [
        "",
        "*",
        "**",
        "*.com",
        "**.com",
        "*.com.",
        "a.*.example.com",
        "https://github.com",
        "github.com/path",
        "github.com:",
        "github.com:0",
        "github.com:65536",
        "github.com:443,",
        "github.com:https",
        "github.com:44²",
        "-a.example",
        "a..example",
        "a" * 64 + ".example",
        "a." * 127 + "aa",
        "10.1.2.3/24",
        "10.1.2.0/33",
        "10.1.2",
        "1.2.3.4.5",
        "2001:db8::1/32",
        "2001:db8::/129",
        "[2001:db8::1",
        "[2001:db8::1]443",
        "[10.1.2.3]",
        "with space.example",
    ],
)
def test_domains_that_are_refused(entry: str) -> None:
    assert domain_fault(entry)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
        ("net/ipv4/ip_forward", "net/ipv4/ip_forward"),
        ("net.ipv4.conf.eth0/1.forwarding", "net/ipv4/conf/eth0.1/forwarding"),
        ("net/ipv4/conf/eth0.1/forwarding", "net/ipv4/conf/eth0.1/forwarding"),
        ("net/../kernel/sysrq", None),
        ("net/..//kernel/sysrq", None),
        ("/net/ipv4/ip_forward", None),
        (".net.ipv4.ip_forward", None),
        ("net.ipv4/../../x", None),
        ("net.//.x", None),
        ("net.a\0b", None),
        ("", None),
    ],
)
def test_sysctl_names_are_plain_paths(name: str, path: str | None) -> None:
    assert sysctl_path(name) == path


@pytest.mark.parametrize(
    ("path", "owner"),
    [
        ("net/core/somaxconn", "network"),
        ("fs/mqueue/msg_max", "ipc"),
        ("kernel/shmmax", "ipc"),
        ("kernel/sem", "ipc"),
        ("kernel/domainname", "uts"),
        ("kernel/hostname", None),
        ("kernel/semantics", None),
        ("kernel/core_pattern", None),
        ("network", None),
        ("vm/swappiness", None),
    ],
)
def test_sysctls_belong_to_a_namespace_or_to_the_host(path: str, owner: str | None) -> None:
    assert sysctl_owner(path) == owner


def test_capabilities_have_the_numbers_of_the_kernel() -> None:
    assert len(NAMES) == len(set(NAMES)) == 41
    assert CAPABILITIES["CAP_CHOWN"] == 0
    assert CAPABILITIES["CAP_SYS_ADMIN"] == 21
    assert CAPABILITIES["CAP_SETFCAP"] == 31
    assert CAPABILITIES["CAP_CHECKPOINT_RESTORE"] == 40
    assert capability_mask(("CAP_CHOWN", "CAP_KILL")) == 0b100001
    with pytest.raises(KeyError):
        capability_mask(("CAP_FLY",))
