"""Starting the runtime as the ordinary user of the rootless tests.

A clone may lie where that user cannot go (/root, or a mkdtemp of mode 0700). Then the call gets a
mount namespace in which the first closed folder on the way is covered by an open one that holds
nothing but the clone.
"""

from __future__ import annotations

import os
import shlex
import stat
from typing import TYPE_CHECKING

from tests.support.features import TEST_USER

if TYPE_CHECKING:
    from pathlib import Path

# Without --no-new-privs: newuidmap is a set-uid program.
_STEP_DOWN = ("setpriv", f"--reuid={TEST_USER}", f"--regid={TEST_USER}", "--init-groups")


def prefix(root: Path) -> list[str]:
    """Return the words to put before a program below `root` to run it as the test user."""
    closed = first_closed_folder(root)
    if closed is None:
        return list(_STEP_DOWN)
    # The clone is held by a bind mount on /mnt while its folder is covered.
    script = " && ".join(
        (
            f"mount --rbind {shlex.quote(str(root))} /mnt",
            f"mount -t tmpfs -o mode=0755 cover {shlex.quote(str(closed))}",
            f"mkdir -p {shlex.quote(str(root))}",
            f"mount --rbind /mnt {shlex.quote(str(root))}",
            "umount -l /mnt",
            'exec "$@"',
        )
    )
    unshare = ["unshare", "--mount", "--propagation=private"]
    return [*unshare, "sh", "-c", f"umask 022 && {script}", "sh", *_STEP_DOWN]


def first_closed_folder(path: Path) -> Path | None:
    """Return the topmost folder on the way to `path` that others may not pass, or None."""
    for folder in (*reversed(path.parents), path):
        if not stat.S_IMODE(os.stat(folder).st_mode) & stat.S_IXOTH:
            return folder
    return None
