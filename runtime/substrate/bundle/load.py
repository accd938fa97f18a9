"""Loading a bundle with every problem listed: the schema, then the rules between values.

Takes 0.1 s, most of it the import of `jsonschema`; the runtime itself reads bundles with
`read.py` and comes here for `validate`, and to explain what is wrong.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from jsonschema import Draft202012Validator
from jsonschema.validators import extend

from substrate.bundle.annotations import merge_annotations
from substrate.bundle.checks import check_config
from substrate.bundle.explain import explain
from substrate.bundle.jsonfile import CONFIG_FILE, read_json
from substrate.bundle.model import Config, parse_config
from substrate.errors import BundleError
from substrate.jsontext import loads
from substrate.resources import schema_path

if TYPE_CHECKING:
    from jsonschema import TypeChecker

MANY_PROBLEMS = 100


def load_bundle(directory: str, file: str = CONFIG_FILE) -> tuple[dict[str, Any], Config]:
    """Return the configuration of a bundle, annotations merged, as JSON and as records.

    Raises `BundleError` with every problem.
    """
    return load_config(read_json(os.path.join(directory, file)), os.path.basename(file))


def validate_bundle(directory: str, file: str = CONFIG_FILE) -> list[str]:
    """Return every problem of a bundle, an empty list when it is valid."""
    try:
        load_bundle(directory, file)
    except BundleError as error:
        return list(error.problems)
    return []


def load_config(data: Any, file: str = CONFIG_FILE) -> tuple[dict[str, Any], Config]:
    """Return a configuration that is already parsed JSON, annotations merged, and its records.

    Raises `BundleError` with every problem; `file` is named in them.
    """
    problems: list[str] = []
    if isinstance(data, dict):
        try:
            data = merge_annotations(data, file)
        except BundleError as error:
            problems.extend(error.problems)
    faults = [*schema_problems(data), *check_config(data)]
    problems.extend(f"{file}: {fault}" for fault in faults)
    if problems:
        raise BundleError(_without_repeats(problems))
    return data, parse_config(data, file)


def schema_problems(data: Any, schema_name: str = "config") -> list[str]:
    """Return the faults the schema finds, each as `<JSON path>: expected ...`."""
    validator = _Validator(loads(_read_text(schema_path(schema_name))))
    found = [
        problem
        for error in validator.iter_errors(without_nulls(data))
        for problem in explain(error)
    ]
    return sorted(found)


def without_nulls(data: Any) -> Any:
    """Return the value without null members, except in the `substrate` object.

    Go's encoder writes an absent slice or pointer as null, and every OCI engine is written in
    Go: null means absent.
    """
    if isinstance(data, dict):
        return {
            key: value if key == "substrate" else without_nulls(value)
            for key, value in data.items()
            if value is not None or key == "substrate"
        }
    if isinstance(data, list):
        return [without_nulls(value) for value in data]
    return data


def _is_integer(_checker: TypeChecker, instance: object) -> bool:
    # JSON Schema counts 1.0 as an integer; Go and this runtime's parser do not.
    return type(instance) is int


_Validator = extend(  # type: ignore[no-untyped-call]
    Draft202012Validator,
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_integer),
)


def _read_text(path: str) -> str:
    with open(path, encoding="utf-8") as stream:
        return stream.read()


def _without_repeats(problems: list[str]) -> list[str]:
    """Drop repeats, and what a schema fault and a check say twice about one path."""
    kept = list(dict.fromkeys(problems))
    if len(kept) > MANY_PROBLEMS:
        kept[MANY_PROBLEMS:] = [f"... and {len(kept) - MANY_PROBLEMS} more problems"]
    return kept
