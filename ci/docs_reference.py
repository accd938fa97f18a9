"""Write the pages of docs/reference that are made of schemas and tables.

Usage: python ci/docs_reference.py [--check]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "runtime"), str(ROOT)]

from ci import docs_policy, docs_trace  # noqa: E402 -- after the path is set
from substrate.bundle.annotations import KEYS, PREFIX  # noqa: E402
from substrate.bundle.mount_options import MOUNT_OPTIONS  # noqa: E402
from substrate.bundle.sysctl import OWNERS  # noqa: E402
from substrate.resources import bundle_names, bundle_path, schema_path  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = ROOT / "docs" / "reference"

AREAS = {
    "mount": "the mount",
    "tree": "the mount and every mount below it",
    "superblock": "the file system",
    "propagation": "propagation",
    "bind": "makes it a bind mount",
    "remount": "changes a mount that is there",
    "copy-up": "fills a new tmpfs with what it covers",
    "idmap": "maps the ids of the mount's files",
    "nothing": "nothing",
}


def pages() -> dict[str, str]:
    """Return every generated page by its file's name."""
    return {
        "bundle.md": bundle(),
        "policy.md": docs_policy.render(schema_path("policy")),
        "trace.md": docs_trace.render(schema_path("span")),
    }


def bundle() -> str:
    """Return the reference page of bundles."""
    schema = json.loads(Path(schema_path("config")).read_text(encoding="utf-8"))
    parts = [
        "# Bundle reference",
        "<!-- Made by ci/docs_reference.py from schemas/config.schema.json: edit that. -->",
        "A bundle is a directory with `config.json`. " + schema["description"],
        f"Schema: `{schema['$id']}` (an identifier; the file is `schemas/config.schema.json`).",
        "## The object `substrate`",
        *_extension(schema["properties"]["substrate"]),
        "## Annotation forms",
        "\n".join(_annotations()),
        "## OCI properties",
        "As in the OCI runtime specification. What Substrate has to say about them:",
        "\n".join(_oci(schema)),
        "## Mount options",
        "A word that is not here is an error on a bind mount, and a parameter of the file system "
        "on any other. `mode=`, `size=`, `nr_inodes=`, `uid=` and `gid=` on a bind mount are "
        "ignored.",
        "\n".join(_mount_options()),
        "## Sysctls",
        "A sysctl must belong to a namespace of the world.",
        "\n".join(_sysctls()),
        "## Shipped bundles",
        "\n\n".join(_bundles()),
    ]
    return "\n\n".join(parts) + "\n"


def _extension(schema: dict[str, Any]) -> Iterator[str]:
    yield schema["description"]
    plain = ["| key | type | default | |", "|---|---|---|---|"]
    groups: list[str] = []
    for name, value in schema["properties"].items():
        if value.get("type") != "object":
            plain.append(_row(name, value))
            continue
        groups += [f"### `{name}`", value["description"]]
        rows = ["| key | type | default | |", "|---|---|---|---|"]
        rows += [_row(key, inner) for key, inner in value["properties"].items()]
        groups.append("\n".join(rows))
    yield "\n".join(plain)
    yield from groups


def _row(name: str, value: dict[str, Any]) -> str:
    default = f"`{json.dumps(value['default'])}`" if "default" in value else ""
    text = value["description"].replace("|", "\\|")
    return f"| `{name}` | {_type(value)} | {default} | {text} |"


def _type(value: dict[str, Any]) -> str:
    if "enum" in value:
        return ", ".join(f"`{word}`" for word in value["enum"])
    return {"#/$defs/strings": "strings"}.get(value.get("$ref", ""), str(value.get("type", "")))


def _annotations() -> Iterator[str]:
    yield (
        "Engines pass annotations through, so each key can be given as one. An explicit key of "
        "`substrate` wins; an unknown one is an error."
    )
    yield "\n| annotation | value |\n|---|---|"
    for key, type_ in KEYS.items():
        yield f"| `{PREFIX}{key}` | {type_} |"


def _oci(schema: dict[str, Any]) -> Iterator[str]:
    yield "\n| property | |\n|---|---|"
    for path, value in _described(schema, ""):
        yield f"| `{path}` | {value} |"


def _described(schema: dict[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for name, value in schema.get("properties", {}).items():
        if name == "substrate":
            continue
        path = f"{prefix}{name}"
        if "description" in value:
            yield path, value["description"]
        yield from _described(value, f"{path}.")


def _mount_options() -> Iterator[str]:
    yield "| option | acts on |\n|---|---|"
    for name, option in MOUNT_OPTIONS.items():
        yield f"| `{name}` | {AREAS[option.area]} |"


def _sysctls() -> Iterator[str]:
    yield "| sysctl | needs the namespace |\n|---|---|"
    for path, namespace in OWNERS:
        name = path.replace("/", ".")
        yield (
            f"| `{name}*` | {namespace} |" if path.endswith("/") else f"| `{name}` | {namespace} |"
        )


def _bundles() -> Iterator[str]:
    for name in bundle_names():
        directory = bundle_path(name)
        if directory is not None:
            text = (Path(directory) / "README.md").read_text(encoding="utf-8")
            yield "#" * 2 + text.strip()


def main(arguments: list[str]) -> int:
    """Write the pages, or with --check say whether they are up to date."""
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    stale = 0
    for name, text in pages().items():
        target = FOLDER / name
        if not arguments:
            target.write_text(text, encoding="utf-8")
        elif not target.exists() or target.read_text(encoding="utf-8") != text:
            print(f"docs/reference/{name} is out of date", file=sys.stderr)
            stale = 1
    if stale:
        print("hint: python ci/docs_reference.py", file=sys.stderr)
    return stale


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
