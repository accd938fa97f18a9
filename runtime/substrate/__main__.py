"""`python -m substrate` is `substrate-runtime`."""

from __future__ import annotations

from substrate.cli.runtime import entry

if __name__ == "__main__":
    entry()
