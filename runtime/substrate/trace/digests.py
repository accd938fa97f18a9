"""SHA-256 of short things without OpenSSL, whose import costs more than it ever saves there."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

try:
    from _sha2 import sha256  # type: ignore[import-not-found]  # Python 3.12 and later
except ImportError:
    try:
        from _sha256 import sha256  # type: ignore[import-not-found]
    except ImportError:
        from hashlib import sha256  # a build without Python's own implementation


def sha256_of(content: bytes) -> str:
    """Return the SHA-256 of bytes, 64 hexadecimal digits."""
    digits: str = sha256(content).hexdigest()
    return digits


def argv_sha256(argv: Iterable[bytes], salt: str = "") -> str:
    """Return the digest of exact words: the salt's text, then each word and a NUL byte.

    A word cannot contain NUL, so no two lists have one digest.
    """
    return sha256_of(salt.encode() + b"".join(word + b"\0" for word in argv))
