"""A PNG of one colour, which depends on the prompt, in the size that was asked for."""

import hashlib
import struct
import zlib


def png(prompt: str, size: str) -> bytes:
    """Return a picture; `size` is `1024x512`, or anything else for 1024x1024."""
    wide, _, high = size.partition("x")
    known = wide.isdigit() and high.isdigit()
    width, height = (int(wide), int(high)) if known else (1024, 1024)
    colour = hashlib.sha256(prompt.encode()).digest()[:3]
    # One bit for each pixel and a palette of one colour: a few hundred bytes, made at once.
    row = b"\0" * (1 + (width + 7) // 8)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 3, 0, 0, 0)),
            _chunk(b"PLTE", colour),
            _chunk(b"IDAT", zlib.compress(row * height)),
            _chunk(b"IEND", b""),
        ]
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))
