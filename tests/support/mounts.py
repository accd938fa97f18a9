"""File systems in memory, for as long as a test needs them."""

from __future__ import annotations

import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator


@contextmanager
def tmpfs(options: str) -> Generator[Path]:
    """Mount a tmpfs with these options, for the time of the `with` statement."""
    place = Path(tempfile.mkdtemp(prefix="sw-tmpfs-", dir="/tmp"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], check=True)
    try:
        place.chmod(0o755)
        yield place
    finally:
        subprocess.run(["umount", place], check=True)
        place.rmdir()
