"""One sentence for each fault `jsonschema` finds: where, what was expected, what is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from substrate.bundle.fields import child, describe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jsonschema import ValidationError

TYPE_NAMES = {
    "array": "an array",
    "boolean": "a boolean",
    "integer": "an integer",
    "null": "null",
    "number": "a number",
    "object": "an object",
    "string": "a string",
}


def explain(error: ValidationError) -> Iterator[str]:
    """Yield `<JSON path>: expected ..., got ...` for one fault of the schema."""
    if error.context:
        # anyOf and oneOf: the branch that came furthest says more than "none of them".
        yield from explain(max(error.context, key=_depth))
        return
    path = "$"
    for key in error.absolute_path:
        path = child(path, key)
    if error.validator == "required":
        # jsonschema reports each missing key on its own; its name is only in the message.
        instance: Any = error.instance
        missing = [key for key in _words(error.validator_value) if key not in instance]
        named = [key for key in missing if error.message.startswith(f"{key!r} ")]
        yield from (f"{path}: {key} is missing" for key in named)
    elif error.validator == "additionalProperties":
        yield from _unknown_keys(error, path)
    else:
        wording = WORDINGS.get(str(error.validator), _fallback)
        expected = wording(error.validator_value, error)
        yield f"{path}: expected {expected}, got {describe(error.instance)}"


def _depth(error: ValidationError) -> int:
    return len(error.absolute_path)


def _unknown_keys(error: ValidationError, path: str) -> Iterator[str]:
    known = list(error.schema.get("properties", {})) if isinstance(error.schema, dict) else []
    instance: Any = error.instance
    for key in instance:
        if key not in known:
            words = ", ".join(known)
            yield f"{child(path, key)}: unknown key; expected one of {words}"


def _words(value: Any) -> list[str]:
    return list(value)


def _type(value: Any, _error: ValidationError) -> str:
    names = [value] if isinstance(value, str) else value
    return " or ".join(TYPE_NAMES.get(name, str(name)) for name in names)


def _enum(value: Any, _error: ValidationError) -> str:
    return "one of " + ", ".join(str(word) for word in value)


def _pattern(value: Any, error: ValidationError) -> str:
    # A schema that has a pattern says in its description what the pattern is for.
    described = error.schema.get("$comment") if isinstance(error.schema, dict) else None
    return str(described or f"a string that matches {value}")


def _fallback(value: Any, error: ValidationError) -> str:
    return f"{error.validator} {value}"


WORDINGS: dict[str, Callable[[Any, ValidationError], str]] = {
    "type": _type,
    "enum": _enum,
    "pattern": _pattern,
    "const": lambda value, _error: describe(value),
    "minimum": lambda value, _error: f"at least {value}",
    "maximum": lambda value, _error: f"at most {value}",
    "exclusiveMinimum": lambda value, _error: f"more than {value}",
    "minItems": lambda value, _error: f"at least {value} element{'s' * (value > 1)}",
    "minLength": lambda _value, _error: "a string that is not empty",
    "maxLength": lambda value, _error: f"at most {value} characters",
    "uniqueItems": lambda _value, _error: "no element twice",
}
