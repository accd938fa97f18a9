"""Run a program as the adoptive parent of whatever it leaves behind.

`python reaper.py COMMAND…` becomes a child subreaper: processes whose parents ended are ours, not
init's, so the leak check can tell them from the machine's other processes. It reaps them at once,
as init does, ends with COMMAND's status, and kills what is left then.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

from substrate.kernel.linux import syscall

PR_SET_CHILD_SUBREAPER = 36
VARIABLE = "SUBSTRATE_TESTS_REAPER"


def main(command: list[str]) -> int:
    """Run `command`, reaping everything, and return its exit status."""
    syscall("prctl", PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    os.environ[VARIABLE] = str(os.getpid())
    pid = os.fork()
    if pid == 0:
        os.execvp(command[0], command)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _frame: os.kill(pid, received))
    while True:
        ended, status = os.wait()
        if ended == pid:
            break
    for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text("ascii").split():
        with suppress(ProcessLookupError):
            os.kill(int(child), signal.SIGKILL)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
