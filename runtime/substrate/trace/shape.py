"""Whether a record has the shape that `schemas/span.schema.json` says.

The schema is compiled into functions, once. A check then takes microseconds where a general
validator takes a third of a millisecond, and a trace has a million lines; besides, only `bundle`
may load one. It knows the part of JSON Schema that this schema uses and refuses any other word.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from substrate.jsontext import loads
from substrate.resources import schema_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Schema = dict[str, Any]
    Check = Callable[[Any, str], Iterator[str]]

_PASSIVE = {"$schema", "$id", "$defs", "$ref", "title", "description", "default"}
_TYPES: dict[str, Callable[[Any], bool]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: type(value) is int,
    "number": lambda value: type(value) in (int, float),
    "string": lambda value: isinstance(value, str),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}
_loaded: dict[str, Check] = {}


def faults(record: Any) -> list[str]:
    """Return what is wrong with a record, each as `<JSON path>: expected ...`; empty when sound."""
    if not isinstance(record, dict):
        return ["$: expected an object"]
    if not _loaded:
        _loaded.update(_kinds(load_schema()))
    kind = record.get("event_type")
    check = _loaded.get(kind) if isinstance(kind, str) else None
    if check is None:
        return [f"$.event_type: expected one of {', '.join(_loaded)}"]
    return list(check(record, "$"))


def load_schema() -> Schema:
    """Return the schema of a record."""
    with open(schema_path("span"), encoding="utf-8") as file:
        schema: Schema = loads(file.read())
    return schema


def _kinds(schema: Schema) -> dict[str, Check]:
    """Compile one check for each kind: what tells them apart is the constant `event_type`."""
    kinds: dict[str, Check] = {}
    for choice in schema["oneOf"]:
        part = _resolved(schema, choice)
        kinds[part["properties"]["event_type"]["const"]] = compile_schema(part, schema)
    return kinds


def compile_schema(part: Schema, root: Schema) -> Check:
    """Return a function that yields the faults of a value; `root` is where references lead.

    Raises `ValueError` for a word of JSON Schema that is not known here.
    """
    part = _resolved(root, part)
    checks: list[Check] = []
    known = set(_PASSIVE)
    for words, make in _MAKERS:
        known.update(words)
        if any(word in part for word in words):
            checks.append(make(part, root))
    if unknown := part.keys() - known:
        message = f"schema words that are not checked: {', '.join(sorted(unknown))}"
        raise ValueError(message)
    if len(checks) == 1:
        return checks[0]
    return lambda value, path: (fault for check in checks for fault in check(value, path))


def _resolved(root: Schema, part: Schema) -> Schema:
    """Return a schema with its reference followed and what `allOf` names merged into it."""
    if "$ref" in part:
        part = _resolved(root, root["$defs"][part["$ref"].removeprefix("#/$defs/")])
    if "allOf" not in part:
        return part
    merged = {key: value for key, value in part.items() if key != "allOf"}
    for other in part["allOf"]:
        base = _resolved(root, other)
        merged["properties"] = base["properties"] | merged["properties"]
        merged["required"] = [*base["required"], *merged["required"]]
    if not merged.pop("unevaluatedProperties", True):
        merged["additionalProperties"] = False
    return merged


def _type(part: Schema, _root: Schema) -> Check:
    names = part["type"] if isinstance(part["type"], list) else [part["type"]]
    tests = [_TYPES[name] for name in names]
    told = f"expected {' or '.join(names)}"

    def check(value: Any, path: str) -> Iterator[str]:
        if not any(test(value) for test in tests):
            yield f"{path}: {told}"

    return check


def _choice(part: Schema, _root: Schema) -> Check:
    allowed = part["enum"] if "enum" in part else [part["const"]]
    told = "expected " + " or ".join(map(str, allowed))

    def check(value: Any, path: str) -> Iterator[str]:
        # 1 == True in Python, and not in JSON.
        if not any(value == one and type(value) is type(one) for one in allowed):
            yield f"{path}: {told}"

    return check


def _pattern(part: Schema, _root: Schema) -> Check:
    search = re.compile(part["pattern"].removesuffix("$") + r"\Z").search

    def check(value: Any, path: str) -> Iterator[str]:
        if isinstance(value, str) and not search(value):
            yield f"{path}: expected {part['pattern']}"

    return check


def _range(part: Schema, _root: Schema) -> Check:
    low, high = part.get("minimum", float("-inf")), part.get("maximum", float("inf"))

    def check(value: Any, path: str) -> Iterator[str]:
        if type(value) in (int, float) and not low <= value <= high:
            yield f"{path}: expected a number from {low} to {high}"

    return check


def _array(part: Schema, root: Schema) -> Check:
    low, high = part.get("minItems", 0), part.get("maxItems", float("inf"))
    each = compile_schema(part.get("items", {}), root)

    def check(value: Any, path: str) -> Iterator[str]:
        if not isinstance(value, list):
            return
        if not low <= len(value) <= high:
            yield f"{path}: expected {low} to {high} items"
        for number, item in enumerate(value):
            yield from each(item, f"{path}[{number}]")

    return check


def _object(part: Schema, root: Schema) -> Check:
    required = part.get("required", [])
    members = {
        name: compile_schema(inner, root) for name, inner in part.get("properties", {}).items()
    }
    rest = part.get("additionalProperties", True)
    other = compile_schema(rest, root) if isinstance(rest, dict) else None

    def check(value: Any, path: str) -> Iterator[str]:
        if not isinstance(value, dict):
            return
        for name in required:
            if name not in value:
                yield f"{path}.{name}: missing"
        for name, item in value.items():
            known = members.get(name, other)
            if known is not None:
                yield from known(item, f"{path}.{name}")
            elif rest is False:
                yield f"{path}.{name}: unknown"

    return check


_MAKERS: tuple[tuple[tuple[str, ...], Callable[[Schema, Schema], Check]], ...] = (
    (("type",), _type),
    (("enum", "const"), _choice),
    (("pattern",), _pattern),
    (("minimum", "maximum"), _range),
    (("items", "minItems", "maxItems"), _array),
    (("properties", "required", "additionalProperties"), _object),
)
