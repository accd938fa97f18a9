"""What a world is given of the host is what the bundle names, whatever its image holds."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.support.features import requires

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.runtime import Runtime

_LINKED = "/etc/os-release"  # ../usr/lib/os-release


def _hostile_image(runtime: Runtime) -> Path:
    """Return an image in which the target of the host's link leads to a secret of the host."""
    image = runtime.folder / "image"
    shutil.copytree(runtime.rootfs, image, symlinks=True)
    (image / "usr/lib").mkdir()
    (image / "usr/lib/os-release").symlink_to("/etc/shadow")
    return image


@requires("root", "userns")
@pytest.mark.parametrize("executor", ["native", "python"])
def test_a_link_of_the_host_is_not_followed_through_the_image(
    runtime: Runtime, executor: str
) -> None:
    assert os.readlink(_LINKED).startswith("..")
    everything = [{"containerID": 0, "hostID": 0, "size": 65536}]
    bundle = runtime.bundle(
        "cat", "/data",
        root={"path": str(_hostile_image(runtime))},
        # The host's own ids: this payload could read the secret, were it given it.
        linux={"uidMappings": everything, "gidMappings": everything},
    )  # fmt: skip
    config = bundle / "config.json"
    config.write_text(
        config.read_text("utf-8").replace(
            '"mounts": [',
            f'"mounts": [{{"destination": "/data", "source": "{_LINKED}",'
            ' "options": ["bind", "ro"]},',
        ),
        "utf-8",
    )
    done = runtime("run", "--bundle", bundle, "--executor", executor, "w").ok()
    assert "ID=" in done.stdout
    assert "root:" not in done.stdout


@requires("root", "userns")
def test_a_descriptor_the_caller_never_opened_is_not_preserved(runtime: Runtime) -> None:
    bundle = runtime.bundle("ls", "-l", "/proc/self/fd")
    refused = runtime("run", "--bundle", bundle, "--preserve-fds", "9", "w")
    assert refused.status == 2
    assert "is not open" in refused.stderr
    # Where it is the caller's, the payload has it, and nothing else of the runtime.
    assert str(runtime.home) not in runtime("run", "--bundle", bundle, "w").ok().stdout
