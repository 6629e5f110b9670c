"""How the content of an external block is laid out in the object store.

    blocks/<user>/<block>/<version>/chunk_000000.txt …    1 MiB each, see `chunks`
    blocks/<user>/<block>/<version>/manifest.json         written last: what it names is whole

What follows `blocks/` is the `resource_key`, by which documents and frames name the content. An
edge writes under a version that holds its step run and its lease: an attempt that has lost its
lease overwrites nothing, and the collector deletes what no row names (`flowq.core.results`).
"""

import json
import re
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from flowq.core.errors import NotSerializable
from flowq.core.results import BLOCKS

MANIFEST: Final = "manifest.json"

#: Characters of a part of a key that are left as they are; its digest replaces the rest.
_LONGEST: Final = 150
_OTHERS: Final = re.compile(rb"[^A-Za-z0-9._-]")


class Container(StrEnum):
    """What a content is, so that it comes back as that."""

    LIST = "list"
    DICT = "dict"
    SCALAR = "scalar"  #: A number, true or false.
    TEXT = "text"
    BINARY = "binary"


#: The content types of PuppyEngine, and how the names of chunks end.
CONTENT_TYPES: Final = {
    Container.LIST: ("structured", "jsonl"),
    Container.DICT: ("structured", "jsonl"),
    Container.SCALAR: ("text", "txt"),
    Container.TEXT: ("text", "txt"),
    Container.BINARY: ("binary", "bin"),
}
#: What a manifest of others, which names no container, means by its content type.
_CONTAINER_OF: Final = {
    "structured": Container.LIST,
    "text": Container.TEXT,
    "binary": Container.BINARY,
}


class Chunk(BaseModel):
    """One object of a content."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    size: int
    etag: str
    uploaded_at: datetime
    state: str = "done"
    sha256: str | None = None  #: Hex digest; a manifest of others may have none.


class ManifestTotals(BaseModel):
    """The sums over the chunks of a manifest."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    total_size: int
    chunk_count: int


class Manifest(BaseModel):
    """The list of the chunks of a content; it is there when all of them are."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    version: str = "1.0"
    block_id: str
    status: str = "completed"
    created_at: datetime
    content_type: str = "text"
    container: Container | None = None
    chunks: tuple[Chunk, ...]
    metadata: ManifestTotals

    def holds(self, content_type: str) -> Container:
        """Return what the chunks are joined to.

        Args:
            content_type: What the block says; it counts when the manifest does not name it.
        """
        return self.container or _CONTAINER_OF.get(content_type, Container.BINARY)


def container_of(value: Any) -> Container:
    """Return what kind of content a value is."""
    if isinstance(value, str):
        return Container.TEXT
    if isinstance(value, bytes):
        return Container.BINARY
    if isinstance(value, dict):
        return Container.DICT
    return Container.LIST if isinstance(value, list) else Container.SCALAR


def to_json(value: Any) -> str:
    """Return JSON data as text.

    Raises:
        NotSerializable: it is no JSON data, or would not come back as it is.
    """
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise NotSerializable(
            f"the content of a block cannot be stored: {error}",
            hint="a block holds JSON data, text or bytes",
        ) from error


def content_size(value: Any) -> int:
    """Return how large a content is: the bytes of its text in UTF-8, or of its JSON.

    Raises:
        NotSerializable: it is no JSON data, text or bytes.
    """
    if isinstance(value, bytes):
        return len(value)
    text = value if isinstance(value, str) else to_json(value)
    return len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))


def key_part(text: str | None) -> str:
    """Return any text as one part of a key; texts that differ give parts that differ."""
    if not text:
        return "="
    data = text.encode(errors="surrogatepass")
    part = _OTHERS.sub(lambda found: b"=%02X" % found[0][0], data).decode()
    if not part.strip("."):
        part = part.replace(".", "=2E")
    return part if len(part) <= _LONGEST else f"{part[:100]}=={sha256(data).hexdigest()[:40]}"


def resource_key(user_id: str | None, block_id: str, version: str) -> str:
    """Return the key of one version of the content of a block."""
    return f"{key_part(user_id)}/{key_part(block_id)}/{version}"


def is_users(key: str, user_id: str | None) -> bool:
    """Return whether a resource key is in the folder of a user."""
    return key.startswith(f"{key_part(user_id)}/")


def object_key(key: str, name: str) -> str:
    """Return the key of an object: of a chunk, or of the manifest."""
    return f"{BLOCKS}/{key}/{name}"
