"""What may stand in the lists of a policy, and when one entry allows all that another does."""

from __future__ import annotations

import fnmatch
import re

from substrate.domains import EXAMPLES, domain_fault
from substrate.policy.idna_names import ascii_entry
from substrate.policy.patterns import pattern_fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

LONGEST = 4096
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z_0-9]*\*?|\*")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def text_fault(text: str) -> str:
    """Say what is wrong with any entry."""
    if not text or len(text) > LONGEST:
        return f"a text of 1 to {LONGEST} characters expected"
    return "a control character" if any(ord(char) < 32 for char in text) else ""


def command_fault(text: str) -> str:
    """Say what is wrong with a pattern of commands."""
    return text_fault(text) or pattern_fault(text)


def allowed_domain_fault(text: str) -> str:
    """Say what is wrong with an allowed domain; `*` allows all."""
    fault = text_fault(text) or ("" if text == "*" else domain_fault(text))
    if not fault and not text.isascii():
        try:
            ascii_entry(text)
        except ValueError as error:
            fault = str(error)
    return f"{fault} (expected {EXAMPLES})" if fault else ""


def project_pattern_fault(text: str) -> str:
    """Say what is wrong with a pattern of paths in the project."""
    if text.startswith("/") or ".." in text.split("/"):
        return "a pattern relative to the project expected, without .."
    return text_fault(text)


def host_path_fault(text: str) -> str:
    """Say what is wrong with a path of the host."""
    if not text.startswith(("/", "~/")) or ".." in text.split("/"):
        return "an absolute path, or one below ~/, without .. expected"
    return text_fault(text)


def variable_fault(text: str) -> str:
    """Say what is wrong with the name of a variable."""
    if _VARIABLE.fullmatch(text):
        return ""
    return "the name of a variable expected, with * at its end for all that begin so"


def digest_fault(text: str) -> str:
    """Say what is wrong with a digest."""
    return "" if _DIGEST.fullmatch(text) else "sha256: and 64 hexadecimal digits expected"


def same(wide: str, narrow: str) -> bool:
    """Whether two entries are one."""
    return wide == narrow


def common(
    first: Iterable[str], second: Iterable[str], covers: Callable[[str, str], bool]
) -> list[str]:
    """Return what two lists both allow: of two entries the narrower one."""
    wide = list(first)
    found: dict[str, None] = {}
    for entry in second:
        if any(covers(one, entry) for one in wide):
            found[entry] = None
        else:
            found |= dict.fromkeys(one for one in wide if covers(entry, one))
    return list(found)


def path_covers(wide: str, narrow: str) -> bool:
    """Whether a path is another or above it."""
    wide = wide.rstrip("/")
    return narrow.rstrip("/") == wide or narrow.startswith(wide + "/")


def variable_covers(wide: str, narrow: str) -> bool:
    """Whether a name, or the names that begin so, are among others."""
    return wide == narrow or (wide.endswith("*") and narrow.startswith(wide[:-1]))


def domain_covers(wide: str, narrow: str) -> bool:
    """Whether a domain with its ports is among others; addresses must be the same."""
    wide, narrow = ascii_entry(wide), ascii_entry(narrow)
    if wide in {"*", narrow}:
        return True
    if "[" in wide + narrow or wide.count(":") > 1 or narrow.count(":") > 1:
        return False
    wide_name, _, wide_ports = wide.partition(":")
    name, _, ports = narrow.partition(":")
    if not set((ports or "80,443").split(",")) <= set((wide_ports or "80,443").split(",")):
        return False
    return _name_covers(wide_name, name)


def _name_covers(wide: str, name: str) -> bool:
    if wide == name:
        return True
    if wide.startswith("**."):
        return fnmatch.fnmatchcase(name.lstrip("*."), f"*.{wide[3:]}") or name == f"*.{wide[3:]}"
    if not wide.startswith("*.") or name.startswith("*"):
        return False
    first, _, rest = name.partition(".")
    return bool(first) and rest == wide[2:]
