"""Reading a bundle on the hot path: the file, its JSON, the checks, the records.

Nothing here imports `jsonschema`. When something is wrong, `load.py` is called after all: it
takes its time and lists every problem.
"""

from __future__ import annotations

import os

from substrate.bundle.annotations import merge_annotations
from substrate.bundle.checks import check_config
from substrate.bundle.jsonfile import CONFIG_FILE, read_json
from substrate.bundle.model import Config, parse_config
from substrate.errors import BundleError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def read_bundle(directory: str, file: str = CONFIG_FILE) -> tuple[dict[str, Any], Config]:
    """Return the configuration of a bundle, annotations merged, as JSON and as records.

    `file` is relative to the directory, or absolute. Raises `BundleError` with every problem.
    """
    try:
        return digest(read_json(os.path.join(directory, file)), file)
    except BundleError:
        from substrate.bundle.load import load_bundle

        return load_bundle(directory, file)


def digest(data: Any, file: str = CONFIG_FILE) -> tuple[dict[str, Any], Config]:
    """Return a parsed configuration, annotations merged, and its records; the file is named only.

    Raises `BundleError` with the faults found first, not with all of them.
    """
    if isinstance(data, dict):
        data = merge_annotations(data, file)
    config = parse_config(data, file)
    problems = check_config(data)
    if problems:
        raise BundleError([f"{file}: {problem}" for problem in problems])
    return data, config
