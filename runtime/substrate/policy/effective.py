"""The effective policy: what all files together say, and from where."""

from __future__ import annotations

import fnmatch
import os

from substrate.digests import sha256_of
from substrate.jsontext import dumps
from substrate.policy.checks import Setting, check_policy
from substrate.policy.defaults import default_settings
from substrate.policy.files import PolicyFile, read_policy_files
from substrate.policy.keys import GROUPS, KEYS, LIST
from substrate.policy.merge import ALSO_ALLOWED, Merge
from substrate.policy.provenance import PROJECT, Refused, Sourced
from substrate.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

# Checked files by layer, path and content: a file that has not changed is not read as YAML again.
_checked: dict[tuple[str, str, str], dict[str, Setting]] = {}
_MOST_CHECKED = 64


@record
class ReadFile:
    """One file that made the policy; `trusted`: it may also loosen."""

    layer: str
    path: str
    digest: str
    trusted: bool

    def to_json(self) -> dict[str, Any]:
        """Return the file as JSON."""
        return {
            "layer": self.layer,
            "file": self.path,
            "digest": self.digest,
            "trusted": self.trusted,
        }


@record
class Policy:
    """What holds: by key a `Sourced` scalar, or a tuple of `Sourced` for a list.

    A key that nobody set is not there. `policy_id` is the digest of the values alone: equal
    policies have one id, wherever they were written.
    """

    values: dict[str, Any]
    refused: tuple[Refused, ...]
    files: tuple[ReadFile, ...]
    policy_id: str

    def list(self, key: str) -> tuple[Sourced, ...]:
        """Return the entries of a list, none when nobody set it."""
        entries: tuple[Sourced, ...] = self.values.get(key) or ()
        return entries

    def word(self, key: str) -> str:
        """Return a scalar that the shipped default has."""
        value: str = self.values[key].value
        return value

    def limit(self, name: str) -> Any:
        """Return a limit in its unit (seconds, bytes, CPUs, a count), None when there is none."""
        found = self.values.get(f"limits.{name}")
        return None if found is None else found.value

    def allowed_domains(self) -> tuple[str, ...] | None:
        """Return `allowedDomains` for a world, None when the policy asks for no network.

        Names are lower case and in their IDNA form, each is there once.
        """
        if "net_allowed" not in self.values:
            return None
        from substrate.policy.idna_names import ascii_entry

        entries = [ascii_entry(entry.value) for entry in self.list("net_allowed")]
        # `*` beside others would be an error of the bundle, and says all of it.
        return ("*",) if "*" in entries else tuple(dict.fromkeys(entries))

    def environment(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Return of the environment what the policy lets into a world."""
        names = [entry.value for entry in self.list("env.allow")]
        return {
            name: value
            for name, value in environment.items()
            if any(fnmatch.fnmatchcase(name, allowed) for allowed in names)
        }


def load_policy(
    project: str | None, environment: Mapping[str, str], given: str | None = None
) -> Policy:
    """Return the policy that holds for a project directory, None being no project.

    Files are read anew by every call, so a change reaches the next world. Raises `PolicyError`
    with every fault of the first file that has some, and `RefusedError`.
    """
    return merge_policy(read_policy_files(project, environment, given))


def merge_policy(files: Sequence[PolicyFile]) -> Policy:
    """Return the policy that these files make, weakest first, over the shipped default."""
    merge = Merge()
    merge.add(default_settings())
    read: list[ReadFile] = []
    for file in files:
        trusted = file.layer != PROJECT or file.digest in {
            entry.value for entry in merge.values.get("trusted_projects") or ()
        }
        merge.add(_settings(file), tighten_only=not trusted)
        read.append(ReadFile(file.layer, file.path, file.digest, trusted))
    return Policy(merge.values, tuple(merge.refused), tuple(read), _policy_id(merge.values))


def plain_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the effective values in the shape of a policy file, without their sources."""
    found: dict[str, Any] = {}
    for path in (*KEYS, ALSO_ALLOWED):
        if path not in values:
            continue
        held = values[path]
        is_list = path == ALSO_ALLOWED or KEYS[path].kind == LIST
        plain = [entry.value for entry in held] if is_list else held.value
        group, dot, name = path.partition(".")
        if dot and group in GROUPS:
            found.setdefault(group, {})[name] = plain
        else:
            found[path] = plain
    return found


def _policy_id(values: Mapping[str, Any]) -> str:
    return "sha256:" + sha256_of(dumps(plain_values(values)).encode())


def _settings(file: PolicyFile) -> dict[str, Setting]:
    key = (file.layer, file.path, file.digest)
    found = _checked.get(key)
    if found is None:
        found = check_policy(file.text, file.layer, os.fspath(file.path))
        if len(_checked) >= _MOST_CHECKED:
            _checked.clear()
        _checked[key] = found
    return found
