"""What a project denies cannot be read in any span, by whatever name; what is beside it can."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.attack import ATTACK, UNCONFINED, with_capabilities
from tests.support.features import requires
from tests.support.spans import AT, Session

if TYPE_CHECKING:
    from tests.support.runtime import Runtime

pytestmark = requires(*ATTACK, "overlayfs.stacked")

CONTENT = "what is denied"
FILES = {
    ".env": f"{CONTENT}\n", "d/inner/.env": f"{CONTENT}\n", "secrets/key": f"{CONTENT}\n",
    "secrets/deep/key": f"{CONTENT}\n", "d/plain": "plain\n", "plain": "plain\n",
}  # fmt: skip
DENY = ["**/.env", "secrets/**"]
ADMIN: dict[str, Any] = UNCONFINED | {
    "process": with_capabilities("CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH")
}
# Everything that can be read, through every name there is; twice, through another root too.
READ_ALL = (
    f"cat plain; find {AT} . /proc/self/root{AT} /proc/1/root{AT} -type f 2>/dev/null"
    ' | while read -r f; do cat "$f" 2>/dev/null; done; grep -r . . 2>/dev/null; true'
)

ATTACKS = {
    "by its name": "cat .env d/inner/.env secrets/key secrets/deep/key",
    "through another root": f"cat /proc/self/root{AT}/.env /proc/self/cwd/.env d/../.env",
    "by a hard link": "ln .env x; ln d/inner/.env y; ln secrets/key z; cat x y z",
    "by a link": "ln -s .env x; ln -s secrets y; cat x y/key",
    "under another name": "mv .env x; mv secrets y; cat x y/key y/deep/key; ls y",
    "below a directory that moved": "mv d/inner d/other; mv d e; cat e/other/.env d/inner/.env",
    "after its cover is removed": "rm -rf .env secrets d/inner; cat .env secrets/key; mkdir -p"
    " secrets/deep d/inner; cat secrets/key secrets/deep/key d/inner/.env; ls secrets",
    "after its mode is changed": "chmod -R 777 .env secrets d; cat .env secrets/key d/inner/.env",
    "by copying a directory": "cp -a secrets s2; cp -a d d2; tar c . | tar x -O; cat s2/key",
    "in a user namespace": "unshare -Urm sh -c 'cat .env secrets/key; umount .env; umount -l .;"
    f" cat .env; mount --bind {AT} /mnt; cat /mnt/.env /mnt/secrets/key'",
    "after a mount inside": "mkdir m; unshare -m sh -c 'mount --bind . m; cat m/.env;"
    " mount -t overlay o -o lowerdir=.:m m; cat m/.env m/secrets/key; umount -l .; cat .env'",
    "by exchanging directories": "mkdir n; mv secrets n/; mv n/secrets d/; mv d/secrets/deep .;"
    " cat d/secrets/key deep/key",
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
def test_denied_files_cannot_be_read(any_runtime: Runtime, name: str) -> None:
    session = Session(any_runtime, FILES, deny=DENY)
    assert_hidden(session, ATTACKS[name])


@requires("root")
@pytest.mark.parametrize("name", ATTACKS)
def test_denied_files_cannot_be_read_with_capabilities(runtime: Runtime, name: str) -> None:
    session = Session(runtime, FILES, bundle=ADMIN, deny=DENY)
    assert_hidden(session, ATTACKS[name])


def assert_hidden(session: Session, attack: str) -> None:
    """Attack in one span and look in the next, in one that joins, and in a fork."""
    results = [
        session.span("s1", f"{{ {attack}; }} 2>&1; {READ_ALL}"),
        session.span("s2", f"{attack}; {READ_ALL}"),
        session.span("s3", f"{attack}; (sleep 2) >/dev/null 2>&1 & {READ_ALL}"),
        session.span("s4", f"{attack}; {READ_ALL}"),
        session.runtime("exec", "--cwd", AT, "w", "sh", "-c", READ_ALL),
    ]
    session.runtime("kill", "w", "KILL")
    other = session.fork()
    results.append(other.span("s5", f"{attack}; {READ_ALL}"))
    for result in results:
        assert CONTENT not in result.stdout + result.stderr, result
    # The positive control: what is not denied was read each time.
    assert all("plain" in result.stdout for result in results), results
    for world in ("w", "f"):
        told = session.runtime("diff", "--patch", world)
        assert CONTENT not in told.stdout + told.stderr
    assert session.files() == FILES


def test_whoever_replaces_or_moves_what_is_denied_needs_a_yes(any_runtime: Runtime) -> None:
    session = Session(any_runtime, FILES, deny=DENY)
    session.span("s1", "rm -f .env; echo x >.env; mv d e; rm -rf secrets; echo y >>plain").ok()
    told = {
        entry["path"]: entry["risky"] for entry in session.diff()["entries"]
        if entry["change"] != "touched"
    }  # fmt: skip
    risky = {path for path, reasons in told.items() if "denied-to-the-world" in reasons}
    assert {".env", "secrets"} <= risky
    assert "plain" not in risky
    refused = session.runtime("accept", "w")
    assert refused.status == 5
    assert "denied-to-the-world" in refused.stderr
    assert session.files() == FILES
    session.runtime("accept", "w", "plain").ok()
    assert session.files() == FILES | {"plain": "plain\ny\n"}


def test_no_digest_of_what_is_denied_is_told(runtime: Runtime) -> None:
    session = Session(runtime, FILES, deny=DENY)
    session.span("s1", "rm .env; chmod 600 d/inner/.env; mv secrets/key k; echo x >>plain").ok()
    entries = session.diff()["entries"]
    sizes = {entry.get("size_before", 0) for entry in entries if entry["path"] == ".env"}
    assert sizes <= {0}
    digest = "sha256:" + hashlib.sha256(f"{CONTENT}\n".encode()).hexdigest()
    assert digest not in str(entries)
    assert any(entry.get("hash") for entry in entries)


def test_metadata_of_a_directory_above_what_is_denied_are_exact(any_runtime: Runtime) -> None:
    session = Session(any_runtime, FILES, deny=DENY)
    mode = f"{(session.project / 'd').stat().st_mode & 0o777:o}"
    assert session.span("s1", "stat -c %a d; ls d").ok().stdout == f"{mode}\ninner\nplain\n"
    assert session.lines() == []
    session.span("s2", "chmod 700 d; echo more >>d/plain").ok()
    assert session.lines() == ["m d/", "~ d/plain"]
    session.runtime("accept", "w").ok()
    assert (session.project / "d").stat().st_mode & 0o777 == 0o700
    assert session.lines() == []
