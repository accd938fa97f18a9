from __future__ import annotations

import json
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from substrate import resources
from substrate.bundle.defaults import (
    MASKED_PATHS,
    READONLY_PATHS,
    default_config,
    rootless_config,
)
from substrate.bundle.load import load_bundle, load_config, validate_bundle
from substrate.bundle.mount_options import parse_mount_options
from substrate.bundle.read import read_bundle
from substrate.kernel.constants import MountAttr

EXPECTED = ("busybox", "host-project", "locked-down", "readonly-review", "rootless")


def folder(name: str) -> Path:
    path = resources.bundle_path(name)
    assert path is not None
    return Path(path)


def test_the_shipped_bundles_are_found() -> None:
    assert set(EXPECTED) <= set(resources.bundle_names())
    for wrong in ("", ".", "..", "../bundles/busybox", "busybox/", "a\0b", "absent"):
        assert resources.bundle_path(wrong) is None


@pytest.mark.parametrize("name", resources.bundle_names())
def test_a_shipped_bundle_is_valid(name: str) -> None:
    assert validate_bundle(str(folder(name))) == []
    _, config = read_bundle(str(folder(name)))
    process = config.process
    assert process is not None
    assert process.no_new_privileges
    assert process.capabilities is not None
    assert not process.capabilities.bounding
    for type_ in ("user", "mount", "pid", "network", "ipc", "uts"):
        assert config.linux.namespace(type_) is not None, type_
    assert set(config.linux.readonly_paths) >= set(READONLY_PATHS)
    assert set(config.linux.masked_paths) >= {p for p in MASKED_PATHS if p.startswith("/proc")}
    assert config.substrate is not None
    assert config.substrate.seccomp.mode == "enforce"
    # Where a device node can be made, it must not be usable, /dev itself aside.
    for mount in config.mounts:
        if mount.type == "tmpfs" and mount.destination != "/dev":
            flags = parse_mount_options(mount.options, mount.type).flags_set
            assert flags & (MountAttr.NODEV | MountAttr.NOSUID)


@pytest.mark.parametrize("name", resources.bundle_names())
def test_a_shipped_bundle_says_in_a_few_lines_what_it_is_for(name: str) -> None:
    lines = (folder(name) / "README.md").read_text(encoding="utf-8").splitlines()
    assert lines[0] == f"# {name}"
    assert 1 <= len([line for line in lines[1:] if line]) <= 5


@pytest.mark.parametrize("name", ["host-project", "readonly-review", "locked-down", "rootless"])
def test_bundles_on_the_host_view_have_a_project_and_a_home(name: str) -> None:
    data, config = load_bundle(str(folder(name)))
    assert "root" not in data
    assert config.substrate is not None
    assert config.substrate.rootfs.kind == "host"
    assert config.substrate.project is not None
    assert config.substrate.project.enter
    readonly = name in {"readonly-review", "locked-down"}
    assert config.substrate.project.write == ("readonly" if readonly else "layers")
    assert config.process is not None
    homes = [entry for entry in config.process.env if entry.startswith("HOME=")]
    (home,) = [m for m in config.mounts if f"HOME={m.destination}" in homes]
    assert "mode=1777" in home.options


def test_the_strictest_bundle_names_its_own_filter() -> None:
    _, config = load_bundle(str(folder("locked-down")))
    assert config.substrate is not None
    assert config.substrate.seccomp.profile == "locked-down"


def test_the_tree_holds_no_binary() -> None:
    for name in resources.bundle_names():
        for path in folder(name).iterdir():
            if path.is_file():
                path.read_text(encoding="utf-8")


def test_the_busybox_root_is_made_and_made_again(tmp_path: Path) -> None:
    source = tmp_path / "busybox"
    source.write_text("#!/bin/sh\nprintf 'sh\\nls\\nbusybox\\n'\n", encoding="utf-8")
    source.chmod(0o755)
    target = tmp_path / "root file system"
    command = [str(folder("busybox") / "make-rootfs"), str(target)]
    environment = {"PATH": "/usr/bin:/bin", "BUSYBOX": str(source)}
    for _ in range(2):
        subprocess.run(command, env=environment, check=True, capture_output=True)
        assert (target / "bin" / "sh").readlink() == Path("busybox")
        assert stat.S_IMODE((target / "tmp").stat().st_mode) == 0o1777
        (target / "etc" / "mine").touch()
    assert (target / "etc" / "mine").exists()


def test_the_default_configuration_is_valid_json_and_valid() -> None:
    for data in (default_config(), rootless_config(), rootless_config(1000, 1001)):
        again: Any = json.loads(json.dumps(data))
        assert again == data
        load_config(data)
    assert rootless_config(1000, 1001)["linux"]["uidMappings"] == [
        {"containerID": 0, "hostID": 1000, "size": 1}
    ]


def test_the_default_configuration_may_be_changed_by_its_caller() -> None:
    default_config()["linux"]["namespaces"].clear()
    assert default_config()["linux"]["namespaces"]


def test_the_package_is_looked_in_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "schemas").mkdir()
    monkeypatch.setattr(resources, "_PACKAGE", str(tmp_path))
    assert resources.schema_path("config") == str(tmp_path / "schemas" / "config.schema.json")
    assert resources.bundle_names()
    monkeypatch.setattr(resources, "_CLONE", str(tmp_path / "absent"))
    assert resources.bundle_names() == ()
