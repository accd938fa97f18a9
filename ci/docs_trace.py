"""The reference page of the trace, from schemas/span.schema.json; written by docs_reference.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEAD = "| field | type | |\n|---|---|---|"


_WORDS = {"ts": "time", "session_id": "32 digits", "span_id": "16 digits", "sha256": "64 digits"}


def render(path: str) -> str:
    """Return the page; `path` is the schema's."""
    schema = json.loads(Path(path).read_text(encoding="utf-8"))
    kinds = [choice["$ref"].rpartition("/")[2] for choice in schema["oneOf"]]
    parts = [
        "# Trace reference",
        "<!-- Made by ci/docs_reference.py from schemas/span.schema.json: edit that. -->",
        schema["description"] + " The [explanation](../explanation/trace.md) says why it is so.",
        f"Schema: `{schema['$id']}` (an identifier; the file is `schemas/span.schema.json`).",
        'Every line begins with the bytes `{"v":1,"ts":`. Fields in bold are always there.',
        "## In every event",
        _table(schema["$defs"]["origin"]),
    ]
    for kind in kinds:
        part = schema["$defs"][kind]
        parts += [f"## `{kind}`", part["description"], _table(part)]
        for name, inner in _objects(part, schema):
            parts += [f"### `{name}`", _table(inner)]
    return "\n\n".join(_without_repeats(parts)) + "\n"


def _table(part: dict[str, Any]) -> str:
    required = set(part.get("required", ()))
    rows = [_HEAD]
    for name, value in part.get("properties", {}).items():
        if name == "event_type":
            continue
        shown = f"**`{name}`**" if name in required else f"`{name}`"
        text = value.get("description", "").replace("|", "\\|")
        rows.append(f"| {shown} | {_type(value)} | {text} |")
    return "\n".join(rows)


def _type(value: dict[str, Any]) -> str:
    if "enum" in value:
        return ", ".join(f"`{word}`" for word in value["enum"])
    if "const" in value:
        return f"`{json.dumps(value['const'])}`"
    if "$ref" in value:
        name = value["$ref"].rpartition("/")[2]
        return _WORDS.get(name, f"[{name}](#{name})")
    if value.get("type") == "array":
        return f"list of {_type(value['items'])}"
    kinds: str | list[str] = value.get("type", "object")
    return kinds if isinstance(kinds, str) else " or ".join(kinds)


def _objects(part: dict[str, Any], schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the objects inside a kind by name, as they are referred to."""
    for name, value in part["properties"].items():
        referred = value.get("$ref", "").rpartition("/")[2]
        inner = schema["$defs"].get(referred, value)
        if "properties" in inner:
            yield referred or name, inner


def _without_repeats(parts: list[str]) -> list[str]:
    """Drop objects that were described for an earlier kind, heading and table."""
    kept: list[str] = []
    for number, text in enumerate(parts):
        heading = text if text.startswith("###") else parts[number - 1]
        if heading.startswith("###") and heading in kept and text in (heading, *kept):
            continue
        kept.append(text)
    return kept
