"""What a running plan tells the runtime: one table, one diagram.

Every message is eight bytes, {tag, value}, on a SOCK_SEQPACKET pair, so none is ever torn.

    runtime                                   plan (intermediate, then pid 1)
       │ spawn                                  │ leave the caller's user namespace
       │ ◄───────────────────────────── USER ── │
       │ write id maps, prepare mounts          │
       │ ── GO + descriptors of mounts ───────► │ the other namespaces; fork
       │ ◄────────────────────── PID (host's) ─ │ the intermediate exits
       │ store the pid (kill -9 safe from here) │
       │ ── GO ───────────────────────────────► │ root, mounts, devices
       │ ◄── CONSOLE + pty master (terminal) ── │
       │ ◄──────────────── MOUNTED (hooks) ──── │
       │ createRuntime, createContainer         │
       │ ── GO ───────────────────────────────► │ pivot_root, privileges
       │ ◄──────────────────────────── READY ── │ waits at the gate
       │ ── GO (run), or `start` connects ────► │ seccomp, execve
       │ ◄─── end of file: execve succeeded ─── │

`ERROR` may come in place of any of them; its value is the op's index and errno. The plan waits
with plain reads: a runtime that died is an end of file, on which the plan ends too.
"""

from __future__ import annotations

import struct

MESSAGE = struct.Struct("=4si")
SIZE = MESSAGE.size

ERROR = b"ERR!"
PID = b"PID "
USER = b"USER"
CONSOLE = b"CONS"
MOUNTED = b"MNTD"
READY = b"REDY"
UNMAPPED = b"UNMP"
GO = b"GO  "

# Long enough for any host under load; a plan silent for so long hangs in the kernel.
ANSWER_TIMEOUT_S = 120.0


def pack(tag: bytes, value: int = 0) -> bytes:
    """Return the message as bytes."""
    return MESSAGE.pack(tag, value)


def unpack(raw: bytes) -> tuple[bytes, int]:
    """Return (tag, value) of a message."""
    tag, value = MESSAGE.unpack(raw)
    return tag, value


def error_parts(value: int) -> tuple[int, int]:
    """Return (op index, errno) of an ERROR message's value."""
    return value >> 12, value & 0xFFF
