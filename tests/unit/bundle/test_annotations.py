from __future__ import annotations

import copy
from typing import Any

import pytest

from substrate.bundle.annotations import KEYS, merge_annotations
from substrate.errors import BundleError
from tests.unit.bundle.examples import OURS


def merged(substrate: Any = None, **annotations: str) -> Any:
    named = {f"dev.substrate.{key.replace('_', '.')}": text for key, text in annotations.items()}
    data: dict[str, Any] = {"annotations": named}
    if substrate is not None:
        data["substrate"] = substrate
    return merge_annotations(data).get("substrate")


def test_text_takes_the_type_of_its_key() -> None:
    assert merged(init="true") == {"init": True}
    assert merged(project_path="/p", project_enter="false") == {
        "project": {"path": "/p", "enter": False}
    }
    assert merged(limits_wallTime="1.5", limits_pids="10") == {
        "limits": {"wallTime": 1.5, "pids": 10}
    }
    assert merged(network_allowedDomains="a.b, c.d:1") == {
        "network": {"allowedDomains": ["a.b", "c.d:1"]}
    }
    assert merged(network_allowedDomains='["a.b:1,2", "c.d"]') == {
        "network": {"allowedDomains": ["a.b:1,2", "c.d"]}
    }
    assert merged(allowDegraded="") == {"allowDegraded": []}


def test_an_explicit_key_wins() -> None:
    given = {"project": {"write": "live"}, "init": False}
    assert merged(given, project_write="layers", project_at="/w", init="true") == {
        "project": {"write": "live", "at": "/w"},
        "init": False,
    }


def test_the_file_itself_is_left_alone() -> None:
    data = {"annotations": {"dev.substrate.project.at": "/w"}, "substrate": {"project": {}}}
    before = copy.deepcopy(data)
    merge_annotations(data)
    assert data == before


def test_annotations_of_others_are_none_of_ours() -> None:
    data = {"annotations": {"dev.substrates.x": "1", "io.podman": "2", "dev.substrate": "3"}}
    assert merge_annotations(data) is data


@pytest.mark.parametrize(
    ("key", "text", "problem"),
    [
        ("nonsense", "1", "unknown key; expected one of project.path, "),
        ("init", "yes", 'expected true or false, got the string "yes"'),
        ("limits_pids", "many", "expected an integer"),
        ("limits_wallTime", "nan", "expected a number"),
        ("limits_cpus", "inf", "expected a number"),
        ("project_deny", "[1]", "expected a comma list, or a JSON array of strings"),
        ("project_deny", "[", "expected a comma list, or a JSON array of strings"),
    ],
)
def test_wrong_annotations_are_errors(key: str, text: str, problem: str) -> None:
    with pytest.raises(BundleError) as caught:
        merged(**{key: text})
    name = f"dev.substrate.{key.replace('_', '.')}"
    assert str(caught.value).startswith(f'config.json: $.annotations["{name}"]: {problem}')


def test_every_key_of_the_extension_has_a_form() -> None:
    keys: set[str] = set()
    for name, value in OURS["substrate"].items():
        keys |= {f"{name}.{key}" for key in value} if isinstance(value, dict) else {name}
    assert keys == set(KEYS)
