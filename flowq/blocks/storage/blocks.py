"""Blocks as objects, for who embeds flowq: `resolve` loads a content, `persist` stores it.

A block picks its strategy when it is made, and again at each `persist`. It is external when its
document says so, when it is external already, or when its content is larger than the threshold;
so a content that shrinks stays where the block has content outside. Both methods may wait for the
object store, and do so in a thread.

    blocks = BlockFactory.create_blocks_from_workflow(document)
    await blocks["1"].resolve(storage)
    async for event in blocks["1"].persist(storage, "ann"): …
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from typing_extensions import override

from flowq.blocks.storage.external import EXTERNAL, INTERNAL, BlockStorage, Version, read, write

#: An event: `event_type`, `timestamp`, and what it says.
StorageEvent = dict[str, Any]


class BaseBlock(ABC):
    """A block of a document.

    Attributes:
        id: Its key in the document.
        label: What placeholders name; its id when the document gives none.
        type: `text`, `structured`, …
        data: Its `data` in the document: `content`, `external_metadata` and more.
        storage_class: `internal` or `external`.
        is_resolved: Whether its content is loaded.
        is_persisted: Whether its content, as it is now, is stored.
    """

    def __init__(self, block_id: str, data: Mapping[str, Any]) -> None:
        self.id = block_id
        self.label = str(data.get("label") or block_id)
        self.type = str(data.get("type", "text"))
        self.data: dict[str, Any] = dict(data.get("data") or {})
        self.storage_class = str(data.get("storage_class", INTERNAL))
        self.is_resolved = False
        self.is_persisted = False

    @abstractmethod
    async def resolve(self, storage: BlockStorage) -> None:
        """Load the content."""

    @abstractmethod
    def persist(
        self, storage: BlockStorage, user_id: str | None = None
    ) -> AsyncIterator[StorageEvent]:
        """Store the content; yields what happens."""

    def get_content(self) -> Any:
        """Return the content; None when there is none, or it is not loaded."""
        return self.data.get("content")

    def set_content(self, content: Any) -> None:
        """Replace the content."""
        self.data["content"] = content
        self.is_resolved, self.is_persisted = True, False

    def get_metadata(self) -> dict[str, Any]:
        """Return what `data` holds beside the content."""
        return {key: value for key, value in self.data.items() if key != "content"}

    def has_external_data(self) -> bool:
        """Return whether some content of it is in the object store."""
        return bool(self.data.get("external_metadata"))


class MemoryStrategy:
    """Keeps the content inside the block."""

    async def resolve(self, block: BaseBlock, _storage: BlockStorage) -> None:
        """Do nothing: the content is there."""
        block.is_resolved = True

    async def persist(
        self, block: BaseBlock, _storage: BlockStorage, _user_id: str | None
    ) -> AsyncIterator[StorageEvent]:
        """Do nothing; yields no event."""
        block.is_persisted = True
        return
        yield


class ExternalStorageStrategy:
    """Keeps the content in the object store, in chunks."""

    async def resolve(self, block: BaseBlock, storage: BlockStorage) -> None:
        """Load the content; nothing when none is stored. Raises what `external.read` raises."""
        if block.has_external_data():
            metadata = block.data["external_metadata"]
            block.data["content"] = await asyncio.to_thread(
                lambda: read(storage.objects(), metadata)
            )
        block.is_resolved = True

    async def persist(
        self, block: BaseBlock, storage: BlockStorage, user_id: str | None
    ) -> AsyncIterator[StorageEvent]:
        """Store the content as a new version, and take it out of the block.

        Yields:
            STREAM_STARTED, then STREAM_ENDED; nothing when the block has no content.

        Raises:
            StoreUnavailable: the store refuses; STREAM_ERROR was yielded before. Likewise the
                others of `external.write`.
        """
        content = block.get_content()
        if content is None:
            return
        version = Version.new(storage, block.id, content, user_id)
        named = {"block_id": block.id, "version_id": version.id}
        kind = {"content_type": version.content_type}
        yield _event(storage, "STREAM_STARTED", **named, **kind)
        try:
            metadata = await asyncio.to_thread(write, storage, version, content)
        except Exception as error:
            yield _event(storage, "STREAM_ERROR", **named, error=str(error))
            raise
        block.data |= {"external_metadata": metadata, "content": None}
        block.storage_class, block.is_persisted = EXTERNAL, True
        yield _event(storage, "STREAM_ENDED", **named, resource_key=version.key)


_MEMORY: Final = MemoryStrategy()
_EXTERNAL: Final = ExternalStorageStrategy()


class GenericBlock(BaseBlock):
    """A block of any type."""

    def __init__(self, block_id: str, data: Mapping[str, Any]) -> None:
        super().__init__(block_id, data)
        is_external = self.storage_class == EXTERNAL or self.has_external_data()
        self.strategy: MemoryStrategy | ExternalStorageStrategy = (
            _EXTERNAL if is_external else _MEMORY
        )

    @override
    async def resolve(self, storage: BlockStorage) -> None:
        await self.strategy.resolve(self, storage)

    @override
    async def persist(
        self, storage: BlockStorage, user_id: str | None = None
    ) -> AsyncIterator[StorageEvent]:
        if self.has_external_data() or storage.is_external(self.get_content(), self.storage_class):
            self.strategy = _EXTERNAL
        else:
            self.strategy = _MEMORY
        async for event in self.strategy.persist(self, storage, user_id):
            yield event


class BlockFactory:
    """Makes the blocks of a document."""

    @staticmethod
    def create_block(block_id: str, data: Mapping[str, Any]) -> BaseBlock:
        """Return a block from its entry in a document."""
        return GenericBlock(block_id, data)

    @classmethod
    def create_blocks_from_workflow(cls, document: Mapping[str, Any]) -> dict[str, BaseBlock]:
        """Return the blocks of a document, by their ids."""
        return {key: cls.create_block(key, data) for key, data in document["blocks"].items()}


def _event(storage: BlockStorage, kind: str, **fields: Any) -> StorageEvent:
    return {"event_type": kind, **fields, "timestamp": storage.now().isoformat()}
