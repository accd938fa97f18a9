"""The digest of exact words."""

from __future__ import annotations

from substrate.digests import sha256_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def argv_sha256(argv: Iterable[bytes], salt: str = "") -> str:
    """Return the digest of exact words: the salt's text, then each word and a NUL byte.

    A word cannot contain NUL, so no two lists have one digest.
    """
    return sha256_of(salt.encode() + b"".join(word + b"\0" for word in argv))
