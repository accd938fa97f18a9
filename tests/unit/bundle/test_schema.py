from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator

from ci import docs_reference
from substrate.bundle import extension, model
from substrate.bundle.annotations import KEYS
from substrate.record import as_dict
from substrate.resources import schema_path
from tests.unit.bundle.examples import example

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMAS = ("config", "state")
STATE: dict[str, Any] = {
    "ociVersion": "1.2.0",
    "id": "wld_1",
    "status": "running",
    "pid": 7,
    "bundle": "/b",
    "annotations": {"a": "b"},
    "rootfs": "/b/rootfs",
    "created": "2026-01-01T00:00:00Z",
    "owner": "root",
    "substrate": {
        "startTime": 2**40,
        "namespaces": ["pid", "mount"],
        "maySetGroups": True,
        "data": "/d/wld_1",
        "cgroup": "",
        "unit": "",
        "wallTime": 1.5,
        "project": {"path": "/p", "at": "/p", "layer": "/d/wld_1/layer", "userxattr": False},
        "degraded": [{"name": "host-uid-0", "reason": "asked for"}],
    },
}


def read(name: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(Path(schema_path(name)).read_text(encoding="utf-8"))
    return schema


def keys_of_ours() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, value in read("config")["properties"]["substrate"]["properties"].items():
        if value.get("type") == "object":
            yield from ((f"{name}.{key}", inner) for key, inner in value["properties"].items())
        else:
            yield name, value


@pytest.mark.parametrize("name", SCHEMAS)
def test_schemas_are_valid_and_versioned(name: str) -> None:
    schema = read(name)
    Draft202012Validator.check_schema(schema)
    assert schema["$id"] == f"https://schemas.substrate-worlds.dev/0.1/{name}.schema.json"


def test_every_key_of_ours_is_described_and_has_an_annotation_form() -> None:
    found = dict(keys_of_ours())
    assert set(found) == set(KEYS)
    assert all(value["description"].endswith((".", ")")) for value in found.values())


def test_our_objects_refuse_unknown_keys() -> None:
    ours = read("config")["properties"]["substrate"]
    objects = [ours, *(v for v in ours["properties"].values() if v.get("type") == "object")]
    assert len(objects) == 7
    assert all(value["additionalProperties"] is False for value in objects)


def test_the_defaults_of_the_schema_are_those_of_the_parser() -> None:
    data = example("minimal")
    data["linux"]["namespaces"].append({"type": "network"})
    groups = ("project", "rootfs", "network", "limits", "diff", "seccomp")
    data["substrate"] = {name: {} for name in groups}
    config = model.parse_config(data).substrate
    assert config is not None
    # The mode decides what an absent list means; None records that there is none.
    known = {"network.allowedDomains": None}
    names = {
        "wallTime": "wall_time_s",
        "output": "output_bytes",
        "memory": "memory_bytes",
        "disk": "disk_bytes",
    }
    for path, value in keys_of_ours():
        group, _, key = path.rpartition(".")
        record = getattr(config, group) if group else config
        snake = names.get(key) or "".join(f"_{c.lower()}" if c.isupper() else c for c in key)
        parsed = as_dict(record)[snake]
        expected = known.get(path, value.get("default"))
        assert (list(parsed) if isinstance(parsed, tuple) else parsed) == expected, path


def test_the_words_of_the_schema_are_those_of_the_parser() -> None:
    properties = read("config")["properties"]
    linux = properties["linux"]["properties"]
    ours = properties["substrate"]["properties"]

    def words(schema: dict[str, Any]) -> tuple[str, ...]:
        return tuple(schema["enum"])

    assert words(linux["namespaces"]["items"]["properties"]["type"]) == model.NAMESPACE_TYPES
    assert set(words(linux["devices"]["items"]["properties"]["type"])) == set(model.DEVICE_TYPES)
    assert words(ours["project"]["properties"]["write"]) == extension.WRITE_MODES
    assert words(ours["rootfs"]["properties"]["kind"]) == extension.ROOTFS_KINDS
    assert words(ours["network"]["properties"]["mode"]) == extension.NETWORK_MODES
    assert words(ours["diff"]["properties"]["hash"]) == extension.HASH_MODES
    assert words(ours["seccomp"]["properties"]["mode"]) == extension.SECCOMP_MODES


def test_a_state_validates() -> None:
    validator = Draft202012Validator(read("state"))
    assert validator.is_valid(STATE)
    assert not validator.is_valid({**STATE, "status": "asleep"})
    assert not validator.is_valid({**STATE, "id": "a b"})


def test_the_reference_pages_are_up_to_date() -> None:
    stale = [
        name
        for name, text in docs_reference.pages().items()
        if (docs_reference.FOLDER / name).read_text(encoding="utf-8") != text
    ]
    assert stale == [], "run: python ci/docs_reference.py"
