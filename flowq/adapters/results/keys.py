"""Keys of objects: what every store accepts, and nothing that could lead out of its folder."""

import re
from typing import Final

_KEY: Final = re.compile(r"(?!.*(?:^|/)\.{1,2}(?:/|$))[A-Za-z0-9._=-]+(?:/[A-Za-z0-9._=-]+)*")
_MAX_LENGTH: Final = 800  #: S3 allows 1024 bytes, the prefix included.


def is_key(text: str) -> bool:
    """Return whether a text can be a key."""
    return len(text) <= _MAX_LENGTH and _KEY.fullmatch(text) is not None


def checked_key(key: str) -> str:
    """Return a key that is valid.

    Raises:
        ValueError: it is not: parts of letters, digits and `._=-`, joined by single slashes.
    """
    if not is_key(key):
        raise ValueError(f"{key[:80]!r} is not a key of an object: use letters, digits, ._=- and /")
    return key
