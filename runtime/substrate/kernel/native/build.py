"""Compile world_init.c: `python build.py [DIRECTORY]`, or `build()` from the build hook.

Needs nothing but the standard library, because it runs before Substrate is installed.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys

SOURCE = "world_init.c"
PROGRAM = "world-init"
# No libc, one loadable segment, no page of padding: a sleeping world costs 8 to 12 KB.
FLAGS = (
    "-std=gnu11",
    "-Os",
    "-static",
    "-nostdlib",
    "-nostartfiles",
    "-ffreestanding",
    "-fno-stack-protector",
    "-fno-asynchronous-unwind-tables",
    "-fcf-protection=none",
    "-Wl,--build-id=none",
    "-Wl,-z,noseparate-code",
    "-Wl,-z,norelro",
    "-s",
)


def build(source_dir: str) -> str:
    """Compile world_init.c in `source_dir` with $CC (default gcc) and return the program's path.

    The program replaces an older one in one step. Raises `subprocess.CalledProcessError` when
    the compiler refuses, `FileNotFoundError` when there is none.
    """
    compiler = shlex.split(os.environ.get("CC") or "gcc")
    source = os.path.join(source_dir, SOURCE)
    program = os.path.join(source_dir, PROGRAM)
    unfinished = f"{program}.{os.getpid()}"
    try:
        subprocess.run([*compiler, *FLAGS, "-o", unfinished, source], check=True)
        os.chmod(unfinished, 0o755)  # noqa: S103 -- worlds of other users execute it
        os.replace(unfinished, program)
    finally:
        if os.path.exists(unfinished):
            os.unlink(unfinished)
    return program


if __name__ == "__main__":
    directory = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.abspath(__file__))
    sys.stdout.write(build(directory) + "\n")
