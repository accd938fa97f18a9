"""The grammar of one entry of `allowedDomains` and `denied`.

Ports go behind an address only when it is IPv4 or in brackets:

    entry    = (name | address) [":" port *("," port)]
    name     = ["*." | "**."] label *("." label)      `*.` one label, `**.` any depth
    address  = IPv4 ["/" bits] | "[" IPv6 ["/" bits] "]" | IPv6 ["/" bits]

Not here: what an entry means, which is for the network room.
"""

from __future__ import annotations

EXAMPLES = "github.com, *.pypi.org, **.example.com:443,22 or 10.1.2.0/24:5432"


def domain_fault(entry: str) -> str:
    """Say what is wrong with an entry, an empty string when nothing is."""
    if "://" in entry:
        return "a host name is meant, not a URL"
    if entry == "*":
        return 'the list ["*"] allows every address, "*" beside other entries says nothing'
    if entry.startswith("[") or entry.count(":") > 1:
        return _ipv6_fault(entry)
    host, colon, ports = entry.partition(":")
    fault = _ports_fault(ports) if colon else ""
    if fault:
        return fault
    if host and set(host) <= set("0123456789./"):
        return _address_fault(host, 4)
    return _name_fault(host)


def _ipv6_fault(entry: str) -> str:
    if not entry.startswith("["):
        return _address_fault(entry, 6)
    address, bracket, rest = entry[1:].partition("]")
    if not bracket or (rest and not rest.startswith(":")):
        return "an IPv6 address with ports is written [2001:db8::/32]:443"
    fault = _address_fault(address, 6)
    return fault or (_ports_fault(rest[1:]) if rest else "")


def _address_fault(text: str, version: int) -> str:
    # Here, because most bundles name no address and this module loads a shared object.
    import _socket

    address, slash, bits = text.partition("/")
    family, longest = (_socket.AF_INET, 32) if version == 4 else (_socket.AF_INET6, 128)
    try:
        packed = _socket.inet_pton(family, address)
    except (OSError, ValueError):
        return f"{address} is not an IPv{version} address"
    if not slash:
        return ""
    if not _is_number(bits, 0, longest):
        return f"the prefix length is a number from 0 to {longest}"
    if int.from_bytes(packed, "big") & ((1 << (longest - int(bits))) - 1):
        return f"{text} has bits set behind its prefix"
    return ""


def _ports_fault(ports: str) -> str:
    if all(_is_number(port, 1, 65535) for port in ports.split(",")):
        return ""
    return "ports are numbers from 1 to 65535, separated by commas"


def _name_fault(host: str) -> str:
    wildcard, name = "", host
    for prefix in ("**.", "*."):
        if host.startswith(prefix):
            wildcard, name = prefix, host[len(prefix) :]
            break
    labels = name.removesuffix(".").split(".")
    if len(name) > 253 or not all(_is_label(label) for label in labels):
        return "that is not a host name"
    if wildcard and len(labels) < 2:
        return "a wildcard over a whole top-level domain is too wide"
    return ""


def _is_label(label: str) -> bool:
    # isalnum() takes letters of any script: the gate turns them into their IDNA form.
    return (
        0 < len(label) <= 63
        and label[0] != "-"
        and label[-1] != "-"
        and all(character.isalnum() or character in "-_" for character in label)
    )


def _is_number(text: str, low: int, high: int) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5 and low <= int(text) <= high
