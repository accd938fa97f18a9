"""Where the files that are no Python are: `schemas/` and `bundles/`.

In a wheel they lie inside the package; in a clone or an editable install they are beside
`runtime/`. Found with `os.path`, because the hot path comes through here.
"""

from __future__ import annotations

import os

_PACKAGE = os.path.dirname(os.path.abspath(__file__))
_CLONE = os.path.dirname(os.path.dirname(_PACKAGE))


def schema_path(name: str) -> str:
    """Return the path of a schema: `config`, `state`, ... ."""
    return os.path.join(_directory("schemas"), f"{name}.schema.json")


def bundle_path(name: str) -> str | None:
    """Return the directory of a shipped bundle, None when there is none of that name."""
    path = os.path.join(_directory("bundles"), name)
    # A name, never a path: ".." must not lead out of the shipped bundles.
    if not name or "/" in name or "\0" in name or name.startswith("."):
        return None
    return path if os.path.isfile(os.path.join(path, "config.json")) else None


def bundle_names() -> tuple[str, ...]:
    """Return the names of the shipped bundles, sorted."""
    try:
        names = sorted(os.listdir(_directory("bundles")))
    except FileNotFoundError:
        return ()
    return tuple(name for name in names if bundle_path(name) is not None)


def _directory(name: str) -> str:
    inside = os.path.join(_PACKAGE, name)
    return inside if os.path.isdir(inside) else os.path.join(_CLONE, name)
