"""The reference page of policies, from the schema and the tables; written by docs_reference.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from substrate.policy.defaults import ENVIRONMENT
from substrate.policy.keys import KEYS
from substrate.policy.wrappers import PREFIXES, SHELLS

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEAD = "| key | type | default | |\n|---|---|---|---|"
_TYPES = {
    "list": "list",
    "commands": "list of patterns",
    "project_patterns": "list of patterns",
    "host_paths": "list of paths",
    "variables": "list of names",
    "digests": "list of digests",
    "size": "bytes, or with K, M, G, T",
    "size_above_0": "bytes, or with K, M, G, T",
    "count": "whole number",
}
_MAY = {
    "more": "add entries",
    "fewer": "name fewer of the entries there are, or narrower ones",
    "later": "choose the stricter word",
    "smaller": "lower it",
    None: "nothing",
}


def render(path: str) -> str:
    """Return the page; `path` is the schema's."""
    schema = json.loads(Path(path).read_text(encoding="utf-8"))
    followed = sorted({*PREFIXES, *SHELLS, "find", "eval", "trap"})
    may = [f"| `{name}` | {_MAY[key.tighter]} |" for name, key in KEYS.items()]
    parts = [
        "# Policy reference",
        "<!-- Made by ci/docs_reference.py from schemas/policy.schema.json: edit that. -->",
        schema["description"],
        f"Schema: `{schema['$id']}` (an identifier; the file is `schemas/policy.schema.json`). "
        "How to [write one](../howto/write-a-policy.md), and "
        "[what it promises](../explanation/policy.md).",
        "## Keys",
        *_keys(schema["properties"]),
        "## What a project's file can do",
        "Only tighten, unless its digest is in `trusted_projects` of a file of your own.",
        "\n".join(["| key | may |\n|---|---|", *may]),
        "## Variables a world gets without `env.allow`",
        ", ".join(f"`{name}`" for name in ENVIRONMENT),
        "## Programs that are followed to the command they run",
        ", ".join(f"`{name}`" for name in followed),
    ]
    return "\n\n".join(parts) + "\n"


def _keys(properties: dict[str, Any]) -> Iterator[str]:
    groups = {name: value for name, value in properties.items() if "properties" in value}
    yield _table({name: value for name, value in properties.items() if name not in groups})
    for name, value in groups.items():
        yield f"### `{name}`"
        yield value["description"]
        yield _table(value["properties"])


def _table(properties: dict[str, Any]) -> str:
    rows = [
        f"| `{name}` | {_type(value)} | {_default(value)} | {value['description']} |"
        for name, value in properties.items()
    ]
    return "\n".join([_HEAD, *rows])


def _default(value: dict[str, Any]) -> str:
    return f"`{json.dumps(value['default'])}`" if "default" in value else ""


def _type(value: dict[str, Any]) -> str:
    if "enum" in value:
        return ", ".join(f"`{word}`" for word in value["enum"])
    if "oneOf" in value:
        return " or ".join(str(one["type"]) for one in value["oneOf"])
    reference = value.get("$ref", "").removeprefix("#/$defs/")
    return _TYPES.get(reference, str(value.get("type", "")))
