"""JSON text in and out without importing `json`, which costs 6 ms (it loads `re`).

The scanner and the string encoder are the C ones that the standard library's `json` itself uses.
On malformed text `json` is imported after all, for its error message.
"""

from __future__ import annotations

from _json import encode_basestring_ascii, make_encoder, make_scanner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class _ScannerContext:
    """The attributes `_json.make_scanner` reads, at their standard values."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    memo: dict[str, str] = {}  # noqa: RUF012 -- read by C code, emptied by it after each scan

    @staticmethod
    def parse_constant(name: str) -> float:
        """Refuse NaN and Infinity, which RFC 8259 does not have."""
        message = f"{name} is not JSON"
        raise ValueError(message)


_scan = make_scanner(_ScannerContext)  # type: ignore[arg-type]  # typeshed wants a decoder
_SPACE = " \t\n\r"


def loads(text: str | bytes) -> Any:
    """Return the value of a JSON document.

    Raises `ValueError` (a `json.JSONDecodeError` with line and column) when it is malformed.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8")
    start = len(text) - len(text.lstrip(_SPACE))
    try:
        value, end = _scan(text, start)
    except (StopIteration, ValueError, SystemError):
        # SystemError: to raise its own error the scanner of 3.11 needs json.decoder loaded.
        return _explain(text)
    if text[end:].strip(_SPACE):
        return _explain(text)
    return value


def dumps(value: Any, indent: int | None = None) -> str:
    """Return `value` as JSON; `indent` is the number of spaces per level, None one line.

    Takes dict (string keys), list, tuple, str, int, float, bool and None; anything else is a
    `TypeError`.
    """
    parts: list[str] = []
    _write(value, parts, indent, "\n")
    return "".join(parts)


def dumps_line(value: Any) -> str:
    """Return `value` as JSON on one line without spaces, by the C encoder: no indent, but fast.

    Takes what `dumps` takes. Everything but ASCII is escaped, so no line end is in it.
    """
    return "".join(_encode(value, 0))


def _refuse_type(value: object) -> str:
    message = f"{type(value).__name__} is not a JSON type"
    raise TypeError(message)


# As json.JSONEncoder calls it: no reference check, no indent, keys in their order, no NaN.
_encode = make_encoder(
    None, _refuse_type, encode_basestring_ascii, None, ":", ",", False, False, False
)


def _explain(text: str) -> Any:
    # Only reached for text the C scanner refused: the error deserves its line and column.
    import json

    return json.loads(text, parse_constant=_ScannerContext.parse_constant)


def _write(value: Any, parts: list[str], indent: int | None, newline: str) -> None:
    if value is None or value is True or value is False:
        parts.append({None: "null", True: "true", False: "false"}[value])
    elif isinstance(value, str):
        parts.append(encode_basestring_ascii(value))
    elif isinstance(value, int):
        parts.append(int.__repr__(value))
    elif isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):  # noqa: PLR0124 -- NaN
            message = f"{value} is not JSON"
            raise ValueError(message)
        parts.append(float.__repr__(value))
    elif isinstance(value, dict):
        items = [(encode_basestring_ascii(key) + ": ", item) for key, item in value.items()]
        _write_sequence("{}", items, parts, indent, newline)
    elif isinstance(value, (list, tuple)):
        _write_sequence("[]", [("", item) for item in value], parts, indent, newline)
    else:
        message = f"{type(value).__name__} is not a JSON type"
        raise TypeError(message)


def _write_sequence(
    brackets: str,
    items: list[tuple[str, Any]],
    parts: list[str],
    indent: int | None,
    newline: str,
) -> None:
    deeper = newline if indent is None else newline + " " * indent
    parts.append(brackets[0])
    for number, (prefix, item) in enumerate(items):
        if number:
            parts.append(", " if indent is None else ",")
        if indent is not None:
            parts.append(deeper)
        parts.append(prefix)
        _write(item, parts, indent, deeper)
    if items and indent is not None:
        parts.append(newline)
    parts.append(brackets[1])
