"""A record for people: lines of text without anything that could drive a terminal."""

from __future__ import annotations

from substrate.jsontext import dumps_line
from substrate.printable import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

# What stands in the first line, or says nothing to people.
_LEFT_OUT = frozenset(("v", "ts", "event_type", "argv", "cmd", "argv_sha256", "request_sha256"))
_SAFE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789@%+=:,./_-[]{}~^")
_LONGEST_LIST = 20


def span_lines(records: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Yield the lines that show the records of a span, a blank line between two of them."""
    for number, data in enumerate(records):
        if number:
            yield ""
        yield from record_lines(data)


def record_lines(data: dict[str, Any]) -> Iterator[str]:
    """Yield the lines that show one record: when and what, the command, then field by field."""
    yield f"{_text(data.get('ts', '?'))}  {_text(data.get('event_type', '?'))}"
    command = command_text(data)
    if command:
        yield f"  {command}"
    shown = {key: value for key, value in data.items() if key not in _LEFT_OUT}
    width = max(map(len, shown), default=0)
    for key, value in shown.items():
        lines = list(_value_lines(value))
        yield f"  {_text(key):<{width}}  {lines[0]}"
        for line in lines[1:]:
            yield f"  {'':<{width}}  {line}"


def command_text(data: dict[str, Any]) -> str:
    """Return the command of a record on one line: as typed, else its words as a shell has them."""
    if isinstance(data.get("cmd"), str):
        return f"$ {quote(data['cmd'])}"
    argv = data.get("argv")
    if not isinstance(argv, list) or not argv:
        return ""
    omitted = data.get("argv_omitted", 0)
    more = f" … and {omitted} more words" if omitted else ""
    return f"$ {' '.join(_word(_text(word)) for word in argv)}{more}"


def _word(text: str) -> str:
    """Return an escaped word in quotes if it has to have some to be told from its neighbours."""
    if text and _SAFE.issuperset(text):
        return text
    escaped = text.replace("'", "\\'")
    return f"'{escaped}'"


def _value_lines(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if not value:
            yield "none"
        for key, item in value.items():
            lines = list(_value_lines(item))
            yield f"{_text(key)}: {lines[0]}"
            yield from (f"  {line}" for line in lines[1:])
    elif isinstance(value, list):
        if not value:
            yield "none"
        for item in value[:_LONGEST_LIST]:
            yield " -> ".join(map(_text, item)) if isinstance(item, list) else _text(item)
        if len(value) > _LONGEST_LIST:
            yield f"… and {len(value) - _LONGEST_LIST} more"
    else:
        yield _text(value)


def _text(value: Any) -> str:
    return quote(value if isinstance(value, str) else dumps_line(value))
