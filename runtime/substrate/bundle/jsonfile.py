"""A JSON file of somebody else's: read strictly, with one clear line when it cannot be."""

from __future__ import annotations

import errno
import os
import stat
from _json import make_scanner

from substrate.bundle.fields import describe
from substrate.errors import BundleError
from substrate.kernel.reading import read_at_most

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

CONFIG_FILE = "config.json"
LARGEST_BYTES = 16 << 20
SPACE = " \t\n\r"


def read_json(path: str) -> Any:
    """Return the value of a JSON file; one line of `BundleError` when there is none.

    Refuses duplicate keys (two readers would see two configurations), NaN, whatever is no
    regular file, and more than 16 MiB.
    """
    name = os.path.basename(path)
    try:
        text = _read(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise BundleError([f"{name}: byte {error.start}: not UTF-8"]) from error
    return parse_json(text, name)


def parse_json(text: str, name: str) -> Any:
    """Return the value of a JSON text; `name` is the file in the error, with line and column."""
    start = len(text) - len(text.lstrip(SPACE))
    try:
        value, end = _scan(text, start)
        if text[end:].strip(SPACE):
            _explain(text, name)
    except _DuplicateKeyError as error:
        raise BundleError([f"{name}: the key {_quoted(error.key)} is there twice"]) from None
    except RecursionError:
        raise BundleError([f"{name}: nested too deeply"]) from None
    except (StopIteration, ValueError, SystemError):
        # SystemError: to raise its own error the scanner of 3.11 needs json.decoder loaded.
        _explain(text, name)
    return value


def _read(path: str) -> bytes:
    name = os.path.basename(path)
    hint = f"look at {path}"
    try:
        # Non-blocking: opening a FIFO that nobody writes to would wait for ever.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as error:
        if error.errno == errno.ENOENT and name == CONFIG_FILE:
            hint = f"substrate-runtime spec --bundle {os.path.dirname(path) or '.'}"
        raise BundleError([f"{name}: cannot open {path}: {error.strerror}"], hint) from error
    except ValueError as error:
        raise BundleError([f"{name}: the path contains NUL"], hint) from error
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise BundleError([f"{name}: {path} is not a regular file"], hint)
        text = read_at_most(fd, LARGEST_BYTES)
        if text is None:
            raise BundleError([f"{name}: larger than {LARGEST_BYTES >> 20} MiB"], hint)
    except OSError as error:
        raise BundleError([f"{name}: cannot read {path}: {error.strerror}"], hint) from error
    finally:
        os.close(fd)
    return text


def _quoted(key: str) -> str:
    return describe(key).removeprefix("the string ")


class _DuplicateKeyError(Exception):
    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _DuplicateKeyError(key)
            seen.add(key)
    return found


def _refuse_constant(name: str) -> float:
    message = f"{name} is not JSON"
    raise ValueError(message)


class _ScannerContext:
    """The attributes `_json.make_scanner` reads, as in `substrate.jsontext` but for the keys."""

    strict = True
    object_hook = None
    object_pairs_hook = staticmethod(_unique)
    parse_float = float
    parse_int = int
    parse_constant = staticmethod(_refuse_constant)
    memo: dict[str, str] = {}  # noqa: RUF012 -- read by C code, emptied by it after each scan


_scan = make_scanner(_ScannerContext)  # type: ignore[arg-type]


def _explain(text: str, name: str) -> NoReturn:
    """Raise the error for a text that is no JSON; the exact words cost the import of json."""
    import json

    where = ""
    try:
        json.loads(text, parse_constant=_refuse_constant)
        reason = "not JSON"
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}: "
        reason = error.msg[:1].lower() + error.msg[1:]
    except ValueError as error:
        # A number of more digits than int() takes, or NaN.
        reason = str(error)
    hint = "" if where else "numbers are plain decimal numbers in JSON"
    if not text.strip():
        reason = "the file is empty"
    raise BundleError([f"{name}: {where}{reason}"], hint)
