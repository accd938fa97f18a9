"""`features`: what the OCI features document says of this runtime, on this machine."""

from __future__ import annotations

from substrate import __version__, jsontext
from substrate.bundle.mount_options import MOUNT_OPTIONS
from substrate.cli.terminal import write
from substrate.isolation.steps.namespaces import NAMESPACES
from substrate.kernel.capabilities import CAPABILITIES
from substrate.seccomp.policy import ACTIONS, OPERATORS
from substrate.seccomp.profiles import profile_names
from substrate.world.state import OCI_VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from substrate.cli.parse import Arguments

HOOKS = (
    "prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop",
)  # fmt: skip


def run(_arguments: Arguments) -> int:
    """Carry out the verb."""
    write(jsontext.dumps(features(), 2) + "\n")
    return 0


def features() -> dict[str, Any]:
    """Return the features document (OCI runtime-spec, features.md)."""
    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": OCI_VERSION,
        "hooks": list(HOOKS),
        "mountOptions": sorted(MOUNT_OPTIONS),
        "linux": {
            "namespaces": sorted(NAMESPACES),
            "capabilities": list(CAPABILITIES),
            "cgroup": {"v1": False, "v2": True, "systemd": True, "systemdUser": True},
            "seccomp": {
                "enabled": True,
                "actions": sorted(ACTIONS),
                "operators": sorted(OPERATORS),
            },
            "apparmor": {"enabled": False},
            "selinux": {"enabled": False},
            "intelRdt": {"enabled": False},
            "mountExtensions": {"idmap": {"enabled": False}},
        },
        "annotations": {
            "dev.substrate.version": __version__,
            "dev.substrate.features": "diff-hash,span-layers",
            "dev.substrate.seccomp.profiles": ",".join(profile_names()),
        },
    }
