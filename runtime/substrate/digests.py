"""SHA-256 of short things without OpenSSL, whose import costs more than it ever saves there."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hashlib import sha256
else:
    try:
        from _sha2 import sha256  # Python 3.12 and later
    except ImportError:
        try:
            from _sha256 import sha256
        except ImportError:
            from hashlib import sha256  # a build without Python's own implementation


def sha256_of(content: bytes) -> str:
    """Return the SHA-256 of bytes, 64 hexadecimal digits."""
    return sha256(content).hexdigest()
