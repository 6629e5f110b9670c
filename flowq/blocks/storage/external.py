"""Contents in the object store: written in chunks, named by a manifest, read back checked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, Final, Self

from pydantic import ValidationError

from flowq.blocks.storage import layout
from flowq.blocks.storage.chunks import join, split
from flowq.blocks.storage.layout import Chunk, Manifest, ManifestTotals
from flowq.core.errors import ResultCorrupt, StoreUnavailable
from flowq.engine.engine import Engine
from flowq.engine.ports import ObjectStore

INTERNAL: Final = "internal"
EXTERNAL: Final = "external"
_AGAIN: Final = "run the document that has made it again"


@dataclass(frozen=True)
class BlockStorage:
    """What storing the contents of blocks needs.

    Attributes:
        objects: Gives the object store; called when it is needed, in the process that uses it.
        threshold_bytes: The largest content that stays inside its block.
        new_version: Makes the last part of a resource key.
        now: The clock.
    """

    objects: Callable[[], ObjectStore]
    threshold_bytes: int
    new_version: Callable[[], str]
    now: Callable[[], datetime]

    @classmethod
    def of(cls, engine: Engine) -> Self:
        """Return the storage of an engine, under versions that no step makes."""
        return cls(
            lambda: engine.results.objects,
            engine.results.threshold_bytes,
            lambda: str(engine.new_id()),
            engine.events.now,
        )

    def is_external(self, value: Any, storage_class: str = INTERNAL) -> bool:
        """Return whether a content is stored outside its block.

        Args:
            value: The content; bytes have no place in JSON.
            storage_class: That of the block; `external` is so whatever its size.
        """
        is_bytes = isinstance(value, bytes)
        return (
            is_bytes
            or storage_class == EXTERNAL
            or layout.content_size(value) > self.threshold_bytes
        )


@dataclass(frozen=True)
class Version:
    """A version of the content of a block that is about to be written."""

    block_id: str
    key: str  #: Its resource key.
    kind: layout.Container

    @classmethod
    def new(cls, storage: BlockStorage, block_id: str, value: Any, user_id: str | None) -> Self:
        """Return a version that nobody else writes."""
        key = layout.resource_key(user_id, block_id, storage.new_version())
        return cls(block_id, key, layout.container_of(value))

    @property
    def id(self) -> str:
        """What the version is called in events; the end of its key."""
        return self.key.rpartition("/")[2].rpartition(".")[2]

    @property
    def content_type(self) -> str:
        """The content type: `structured`, `text` or `binary`."""
        return layout.CONTENT_TYPES[self.kind][0]


def write(storage: BlockStorage, version: Version, value: Any) -> dict[str, Any]:
    """Write a content, its manifest last.

    Returns:
        Its `external_metadata`.

    Raises:
        NotSerializable: it is no JSON data, text or bytes.
        StoreUnavailable: the store refuses or does not answer.
    """
    objects, chunks, began = storage.objects(), [], storage.now()
    suffix = layout.CONTENT_TYPES[version.kind][1]
    for number, data in enumerate(split(value)):
        name = f"chunk_{number:06d}.{suffix}"
        objects.put(layout.object_key(version.key, name), data)
        digest = sha256(data).hexdigest()
        chunks.append(
            Chunk(name=name, size=len(data), etag=digest, uploaded_at=storage.now(), sha256=digest)
        )
    manifest = Manifest(
        block_id=version.block_id,
        created_at=began,
        content_type=version.content_type,
        container=version.kind,
        chunks=tuple(chunks),
        metadata=ManifestTotals(
            total_size=sum(chunk.size for chunk in chunks), chunk_count=len(chunks)
        ),
    )
    key = layout.object_key(version.key, layout.MANIFEST)
    objects.put(key, manifest.model_dump_json().encode(errors="surrogatepass"))
    return {
        "resource_key": version.key,
        "content_type": version.content_type,
        "container": str(version.kind),
        "chunked": True,
        "uploaded_at": storage.now().isoformat(),
        "version_id": version.id,
    }


def read(objects: ObjectStore, metadata: Mapping[str, Any]) -> Any:
    """Return the content that `external_metadata` names.

    Raises:
        ValueError: it has no `resource_key`, or one that cannot be.
        ResultMissing: the manifest, or a chunk, is gone.
        ResultCorrupt: it is not what was written.
        StoreUnavailable: the store refuses or does not answer, or the content is still written.
    """
    key = metadata.get("resource_key")
    if not isinstance(key, str) or not key:
        raise ValueError("external_metadata has no resource_key: give that of a stored block")
    try:
        manifest = Manifest.model_validate_json(
            objects.get(layout.object_key(key, layout.MANIFEST))
        )
    except ValidationError as error:
        raise ResultCorrupt(f"the manifest of {key} cannot be read: {error}", hint=_AGAIN) from None
    if manifest.status != "completed":
        raise StoreUnavailable(f"the content of {key} is still being written", hint="try it later")
    parts = (_chunk(objects, key, chunk) for chunk in manifest.chunks)
    try:
        return join(manifest.holds(str(metadata.get("content_type", ""))), parts)
    except ValueError as error:
        raise ResultCorrupt(f"the content of {key} cannot be read: {error}", hint=_AGAIN) from error


def _chunk(objects: ObjectStore, key: str, chunk: Chunk) -> bytes:
    data = objects.get(layout.object_key(key, chunk.name))
    if chunk.sha256 is not None and sha256(data).hexdigest() != chunk.sha256:
        raise ResultCorrupt(f"{chunk.name} of {key} differs from what was written", hint=_AGAIN)
    return data
