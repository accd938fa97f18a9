"""Domain entries in the one form that is compared: lower case, IDNA, no dot at the end."""

from __future__ import annotations


def ascii_entry(entry: str) -> str:
    """Return an entry of `net_allowed` with its name as it is asked for in the DNS.

    Raises `ValueError` when a label has no IDNA form.
    """
    if entry.startswith("[") or entry.count(":") > 1:
        return entry.lower()
    name, colon, ports = entry.partition(":")
    if not name.isascii():
        # Most policies name no such domain, and the tables of Unicode are large.
        import idna

        try:
            name = ".".join(
                label if label.isascii() else idna.encode(label, uts46=True).decode("ascii")
                for label in name.split(".")
            )
        except idna.IDNAError as error:
            raise ValueError(str(error)) from None
    return name.lower().rstrip(".") + colon + ports
