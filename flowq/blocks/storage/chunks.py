"""A content as chunks of bytes, and back. Pure.

An item of a list is one line of JSON and is never split, so one that is larger than a chunk is a
chunk of its own. A dict, or a scalar, is one chunk. Text is split between two characters. Joined
again, each is what it was: a dict a dict, a list of one a list, None in a list None.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final

from flowq.blocks.storage.layout import Container, container_of, to_json
from flowq.core.errors import NotSerializable

#: Bytes of a chunk, at most, unless one item is larger.
CHUNK_BYTES: Final = 1024 * 1024
#: The two highest bits of a byte of UTF-8, and those of one within a character.
_HIGH, _WITHIN = 0xC0, 0x80


def split(value: Any, limit: int = CHUNK_BYTES) -> Iterator[bytes]:
    """Yield a content in chunks.

    Args:
        value: Text, bytes, or JSON data.
        limit: Bytes of a chunk.

    Raises:
        NotSerializable: JSON would not bring the value back as it is.
    """
    kind = container_of(value)
    if kind is Container.LIST:
        yield from _lines(value, limit)
    elif kind is Container.BINARY:
        yield from (value[start : start + limit] for start in range(0, len(value), limit))
    elif kind is Container.TEXT:
        yield from _text(value.encode(errors="surrogatepass"), limit)
    else:
        yield _line(value)


def join(kind: Container, parts: Iterable[bytes]) -> Any:
    """Return the content whose chunks these are.

    Raises:
        ValueError: they are no chunks of such a content.
    """
    if kind is Container.LIST:
        lines = (line for part in parts for line in part.split(b"\n") if line)
        return [_read(line) for line in lines]
    data = b"".join(parts)
    if kind is Container.BINARY:
        return data
    return data.decode(errors="surrogatepass") if kind is Container.TEXT else _read(data)


def _lines(items: list[Any], limit: int) -> Iterator[bytes]:
    chunk: list[bytes] = []
    size = 0
    for item in items:
        line = _line(item)
        if chunk and size + len(line) > limit:
            yield b"".join(chunk)
            chunk, size = [], 0
        chunk.append(line)
        size += len(line)
    if chunk:
        yield b"".join(chunk)


def _line(item: Any) -> bytes:
    text = to_json(item)
    if json.loads(text) != item:
        raise NotSerializable(
            "the content of a block cannot be stored: JSON has no tuples, and only texts as keys",
            hint="return lists, and dicts with texts as keys",
        )
    return f"{text}\n".encode(errors="surrogatepass")


def _read(line: bytes) -> Any:
    return json.loads(line.decode(errors="surrogatepass"))


def _text(data: bytes, limit: int) -> Iterator[bytes]:
    start = 0
    while start < len(data):
        end = min(start + limit, len(data))
        while end < len(data) and end > start and data[end] & _HIGH == _WITHIN:
            end -= 1
        end = end if end > start else min(start + limit, len(data))
        yield data[start:end]
        start = end
