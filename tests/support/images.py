"""File systems in files: of any kind the kernel has, of any size, for the time of a test."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

# The least that mkfs takes, MiB; the file is sparse. XFS below 300 MiB is refused.
KINDS = {"ext4": 64, "xfs": 300, "btrfs": 128, "vfat": 64}
_QUIET = {"vfat": (), "ext4": ("-q",), "xfs": ("-q",), "btrfs": ("-q",)}


def make(image: str | Path, kind: str, *options: str) -> None:
    """Make the file system; raises `OSError` where its mkfs is not installed."""
    with open(image, "wb") as file:
        file.truncate(KINDS[kind] << 20)
    words = [f"mkfs.{kind}", *_QUIET[kind], *options, str(image)]
    subprocess.run(words, check=True, capture_output=True)


@contextmanager
def mounted(
    folder: Path, kind: str, point: Path, how: str = "rw", options: tuple[str, ...] = ()
) -> Generator[Path]:
    """Mount a new file system at an existing directory; its image is in `folder`."""
    image = folder / f"{kind}-{point.name}.image"
    make(image, kind, *options)
    subprocess.run(["mount", "-o", f"loop,{how}", image, point], check=True)
    try:
        if (point / "lost+found").is_dir():
            os.rmdir(point / "lost+found")
        yield point
    finally:
        subprocess.run(["umount", point], check=True)
        image.unlink()
