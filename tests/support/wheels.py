"""A Python package to be installed without a network."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def make_wheel(directory: Path) -> Path:
    """Write a wheel of one module, `greeting`, with a command of the same name."""
    files = {
        "greeting.py": "def main():\n    print('hello from a wheel')\n",
        "greeting-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: greeting\nVersion: 1.0\n",
        "greeting-1.0.dist-info/WHEEL": (
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        ),
        "greeting-1.0.dist-info/entry_points.txt": (
            "[console_scripts]\ngreeting = greeting:main\n"
        ),
    }
    record = "greeting-1.0.dist-info/RECORD"
    lines = [
        f"{name},sha256={_digest(text)},{len(text.encode())}\n" for name, text in files.items()
    ]
    path = directory / "greeting-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in {**files, record: "".join([*lines, f"{record},,\n"])}.items():
            wheel.writestr(name, text)
    return path


def _digest(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
