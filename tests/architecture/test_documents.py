"""Documents say only what is there."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from substrate.cli.front.table import PROGRAM
from substrate.cli.runtime import VERBS
from tests.support import source

if TYPE_CHECKING:
    from pathlib import Path

_BUNDLES = sorted(path for path in (source.ROOT / "bundles").iterdir() if path.is_dir())
_SCHEMAS = sorted((source.ROOT / "schemas").glob("*.json"))
_LINK = re.compile(r"\]\((?!https?://|mailto:|#)([^)#\s]+)")
_VERB = re.compile(r"\bsubstrate-runtime ([a-z]+)\b")
_FRONT_VERB = re.compile(r"^(?:\$ )?(?:sudo )?substrate ([a-z]+)\b", re.MULTILINE)
_SCRIPT = re.compile(r"(?<![\w/.])ci/[a-z_/-]+(?:\.\w+)?")
_CODE = re.compile(r"```.*?\n(.*?)```|`([^`\n]+)`", re.DOTALL)


def test_there_are_bundles_and_schemas_to_look_at() -> None:
    assert _BUNDLES
    assert _SCHEMAS


@pytest.mark.parametrize("bundle", _BUNDLES, ids=lambda path: path.name)
def test_every_bundle_explains_itself(bundle: Path) -> None:
    assert (bundle / "config.json").is_file()
    assert (bundle / "README.md").read_text(encoding="utf-8").strip()


@pytest.mark.parametrize("schema", _SCHEMAS, ids=lambda path: path.name)
def test_every_schema_has_an_identity_with_a_version(schema: Path) -> None:
    identity = json.loads(schema.read_text(encoding="utf-8"))["$id"]
    assert re.search(r"/v?\d+(\.\d+)*/", identity), identity


def test_no_two_schemas_share_an_identity() -> None:
    identities = [json.loads(path.read_text(encoding="utf-8"))["$id"] for path in _SCHEMAS]
    assert len(identities) == len(set(identities))


def test_decisions_are_numbered_without_gaps() -> None:
    names = sorted(path.name for path in (source.ROOT / "docs/decisions").glob("*.md"))
    numbers = [name[:4] for name in names if re.match(r"\d{4}-[a-z0-9-]+\.md$", name)]
    assert len(numbers) == len(names), names
    assert numbers == [f"{number:04}" for number in range(1, len(names) + 1)]


@pytest.mark.parametrize("document", source.documents(), ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    broken = [link for link in _LINK.findall(text) if not (document.parent / link).exists()]
    assert broken == []


@pytest.mark.parametrize("document", source.documents(), ids=lambda path: path.name)
def test_commands_in_documents_exist(document: Path) -> None:
    lines = _code_lines(document)
    verbs = {verb for line in lines for verb in _VERB.findall(line)}
    scripts = {script for line in lines for script in _SCRIPT.findall(line)}
    assert verbs <= {*VERBS, "help", "version"}
    own = {verb for line in lines for verb in _FRONT_VERB.findall(line)}
    assert own <= {verb.name for verb in PROGRAM.verbs}
    assert [script for script in scripts if not (source.ROOT / script).exists()] == []


@pytest.mark.parametrize("document", source.documents(), ids=lambda path: path.name)
def test_no_document_installs_the_product_of_somebody_else(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    assert not re.search(r"pip3? install (--\S+ )*substrate(-runtime)?\s", text)


def _code_lines(document: Path) -> list[str]:
    text = document.read_text(encoding="utf-8")
    blocks = ["".join(groups) for groups in _CODE.findall(text)]
    return [line for block in blocks for line in block.splitlines()]
