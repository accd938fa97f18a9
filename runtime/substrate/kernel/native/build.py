"""Compile our programs: `python build.py [DIRECTORY]`, or `build()` from the build hook.

Needs nothing but the standard library, because it runs before Substrate is installed.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys

# Source -> program.
PROGRAMS = {"world_init.c": "world-init", "look_ahead.c": "look-ahead"}
# No libc, one loadable segment, no page of padding: a sleeping world costs 8 to 12 KB.
FLAGS = (
    "-std=gnu11",
    "-Os",
    "-static",
    "-nostdlib",
    "-nostartfiles",
    "-ffreestanding",
    "-fno-stack-protector",
    "-fno-strict-aliasing",
    "-fno-asynchronous-unwind-tables",
    "-fcf-protection=none",
    # No loop becomes a call of memcpy(3), which is not there.
    "-fno-tree-loop-distribute-patterns",
    "-Wl,--build-id=none",
    "-Wl,-z,noseparate-code",
    "-Wl,-z,norelro",
    "-s",
)


def build(source_dir: str) -> list[str]:
    """Compile the programs in `source_dir` with $CC (default gcc) and return their paths.

    Each replaces an older one in one step. Raises `subprocess.CalledProcessError` when the
    compiler refuses, `FileNotFoundError` when there is none.
    """
    return [_build(source_dir, source, program) for source, program in PROGRAMS.items()]


def _build(source_dir: str, source: str, name: str) -> str:
    compiler = shlex.split(os.environ.get("CC") or "gcc")
    program = os.path.join(source_dir, name)
    unfinished = f"{program}.{os.getpid()}"
    try:
        words = [*compiler, *FLAGS, "-o", unfinished, os.path.join(source_dir, source)]
        subprocess.run(words, check=True)
        os.chmod(unfinished, 0o755)  # noqa: S103 -- worlds of other users execute it
        os.replace(unfinished, program)
    finally:
        if os.path.exists(unfinished):
            os.unlink(unfinished)
    return program


if __name__ == "__main__":
    directory = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.abspath(__file__))
    sys.stdout.writelines(f"{program}\n" for program in build(directory))
