"""Annotation forms of the `substrate` object: `dev.substrate.<key>` with the value as text.

Engines that know nothing of Substrate (podman, containerd, Kubernetes) pass annotations through,
so each key of the extension can be given as one. An explicit key of the object wins.
"""

from __future__ import annotations

from substrate.bundle.fields import child, describe
from substrate.errors import BundleError
from substrate.jsontext import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PREFIX = "dev.substrate."

TEXT = "text"
FLAG = "true or false"
INTEGER = "an integer"
NUMBER = "a number"
TEXTS = "a comma list, or a JSON array of strings"

# Every key of the extension and the type its text is read as.
KEYS: dict[str, str] = {
    "project.path": TEXT,
    "project.at": TEXT,
    "project.write": TEXT,
    "project.deny": TEXTS,
    "project.readonly": TEXTS,
    "project.risky": TEXTS,
    "project.enter": FLAG,
    "rootfs.kind": TEXT,
    "rootfs.expose": TEXTS,
    "rootfs.hide": TEXTS,
    "network.mode": TEXT,
    "network.allowedDomains": TEXTS,
    "network.denied": TEXTS,
    "network.kernelLog": FLAG,
    "limits.wallTime": NUMBER,
    "limits.egressBytes": INTEGER,
    "limits.output": INTEGER,
    "limits.memory": INTEGER,
    "limits.cpus": NUMBER,
    "limits.pids": INTEGER,
    "limits.openFiles": INTEGER,
    "limits.disk": INTEGER,
    "diff.hash": TEXT,
    "diff.smallFileLimit": INTEGER,
    "diff.maxEntries": INTEGER,
    "seccomp.profile": TEXT,
    "seccomp.mode": TEXT,
    "init": FLAG,
    "allowDegraded": TEXTS,
}


def merge_annotations(data: dict[str, Any], file: str = "config.json") -> dict[str, Any]:
    """Return the configuration with its annotations merged into `substrate`.

    `data` itself is left alone, and is returned when there is nothing to merge. Raises
    `BundleError` with every annotation that is wrong.
    """
    annotations = data.get("annotations")
    if not isinstance(annotations, dict):
        return data
    # `"dev.substrate"` alone, or `dev.substrates.x`, is someone else's.
    ours = {key: value for key, value in annotations.items() if key.startswith(PREFIX)}
    if not ours or not isinstance(data.get("substrate") or {}, dict):
        return data
    merged: dict[str, Any] = dict(data.get("substrate") or {})
    problems: list[str] = []
    for key, text in ours.items():
        name = key.removeprefix(PREFIX)
        where = f"{file}: {child('$.annotations', key)}"
        type_ = KEYS.get(name)
        if type_ is None:
            problems.append(f"{where}: unknown key; expected one of {', '.join(KEYS)}")
        elif isinstance(text, str):
            value = _convert(text, type_)
            if value is None:
                problems.append(f"{where}: expected {type_}, got {describe(text)}")
            else:
                _put(merged, name, value)
    if problems:
        raise BundleError(problems)
    return {**data, "substrate": merged}


def _put(merged: dict[str, Any], name: str, value: object) -> None:
    group, dot, key = name.partition(".")
    if not dot:
        if merged.get(group) is None:
            merged[group] = value
        return
    inner = merged.get(group)
    if inner is None:
        merged[group] = {key: value}
    elif isinstance(inner, dict) and inner.get(key) is None:
        # A new object: the file's own must stay as it is.
        merged[group] = {**inner, key: value}


def _convert(text: str, type_: str) -> object:
    if type_ == TEXT:
        return text
    if type_ == FLAG:
        return {"true": True, "false": False}.get(text)
    if type_ == TEXTS:
        return _texts(text)
    try:
        return int(text) if type_ == INTEGER else _number(text)
    except ValueError:
        return None


def _number(text: str) -> float:
    number = float(text)
    if number != number or number in {float("inf"), float("-inf")}:  # noqa: PLR0124 -- NaN
        raise ValueError(text)
    return number


def _texts(text: str) -> list[str] | None:
    if text.lstrip().startswith("["):
        try:
            values = loads(text)
        except ValueError:
            return None
        if all(isinstance(value, str) for value in values):
            return list(values)
        return None
    return [part.strip() for part in text.split(",") if part.strip()]
