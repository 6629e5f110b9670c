"""Chooses the codec: by the value's type, once its annotation has accepted it.

    None                          none             no bytes at all
    bytes                         bytes            as they are
    str                           text             UTF-8
    Path of a file that exists    file             the file's content, see `files`
    DataFrame, Table, ndarray     parquet-…, arrow, npy
    everything else               json             see `json_text`

The name of the codec is in the result's reference, so reading never guesses. Nothing is pickled.
Bytes that the value already has are passed on, not copied.
"""

from collections.abc import AsyncIterator, Awaitable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from flowq.core.errors import NotSerializable
from flowq.engine.results.codecs import files, json_text, tables
from flowq.engine.results.codecs.annotations import adapter_for, check_output
from flowq.engine.results.codecs.read_back import check_result

NONE: Final = "none"
BYTES: Final = "bytes"
TEXT: Final = "text"
FILE: Final = "file"

_SIZED: Final = (list, tuple, set, frozenset)


@dataclass(frozen=True, slots=True)
class Encoded:
    """A value as bytes.

    Attributes:
        codec: Name of the codec that reads it.
        media_type: What the bytes are, for people and downloads.
        data: The bytes, or the file that holds them.
        length: Number of items, when the value is a list or a table: a map expands by it.
    """

    codec: str
    media_type: str
    data: bytes | Path
    length: int | None = None

    @property
    def size(self) -> int:
        """Number of bytes."""
        return self.data.stat().st_size if isinstance(self.data, Path) else len(self.data)


def encode(value: Any, annotation: Any = Any, *, where: str = "the step") -> Encoded:
    """Return a value as bytes.

    Args:
        value: What a step returned.
        annotation: Its return annotation.
        where: Name of the step, for errors.

    Raises:
        InvalidOutput: the annotation forbids the value.
        NotSerializable: no codec can store it.
        InvalidFlow: pydantic does not support the annotation.
    """
    _refuse_running(value, where)
    value = check_output(value, annotation, where=where)
    bare = _bare(value, where)
    if bare is not None:
        if annotation is not Any:  # a union may read the bare value as another of its types
            assert isinstance(bare.data, bytes)
            plain = decode(bare.codec, bare.data)
            check_result(value, plain, adapter_for(annotation), where=where)
        return bare
    if isinstance(value, Path) and value.is_file():
        return Encoded(FILE, files.media_type(value), value)
    form = tables.format_of(value)
    if form is not None:
        data = tables.dump(value, form, where=where)
        return Encoded(form.codec, form.media_type, data, tables.rows(value))
    codec, data = json_text.dump(value, annotation, where=where)
    length = len(value) if isinstance(value, _SIZED) and data.startswith(b"[") else None
    return Encoded(codec, json_text.MEDIA_TYPE, data, length)


def _bare(value: Any, where: str) -> Encoded | None:
    """Return a value as bytes that need no JSON: None, bytes and text."""
    if value is None:
        return Encoded(NONE, "", b"")
    if isinstance(value, bytes | bytearray | memoryview):
        return Encoded(BYTES, "application/octet-stream", _as_bytes(value))
    if isinstance(value, str):
        return Encoded(TEXT, "text/plain; charset=utf-8", _as_utf8(value, where))
    return None


def decode(codec: str, data: bytes, *, media_type: str = "") -> Any:
    """Return the value of encoded bytes: plain data, or an instance for tables, arrays and files.

    Args:
        codec: Name of the codec that wrote them.
        media_type: Of a file: holds its name.

    Raises:
        StepError: the codec is unknown here, or its library is not installed.
    """
    if codec in {json_text.JSON, json_text.JSON_FLOATS}:
        return json_text.load(codec, data)
    if codec == TEXT:
        return data.decode()
    if codec == BYTES:
        return data
    if codec == FILE:
        return files.keep([data], media_type, sha256(data).hexdigest())
    return None if codec == NONE else tables.load(codec, data)


def _refuse_running(value: Any, where: str) -> None:
    """Refuse generators and the like: reading them here would hide where they fail."""
    if isinstance(value, Iterator | AsyncIterator | Awaitable):
        raise NotSerializable(
            f"{where} returned a {type(value).__qualname__}, which cannot be stored",
            hint="await it" if isinstance(value, Awaitable) else "return a list: list(…)",
        )


def _as_bytes(value: bytes | bytearray | memoryview) -> bytes:
    return value if type(value) is bytes else bytes(value)


def _as_utf8(value: str, where: str) -> bytes:
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        raise NotSerializable(
            f"{where} returned text that cannot be stored as UTF-8: {error.reason} "
            f"at character {error.start}",
            hint="return bytes, or clean the text: text.encode(errors='replace').decode()",
        ) from error
