"""Both strategies keep a content as it was, on every object store."""

import asyncio
import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from flowq.adapters.results.memory import MemoryObjects
from flowq.adapters.results.objects import open_store
from flowq.blocks.storage.blocks import GenericBlock
from flowq.blocks.storage.external import BlockStorage, read
from flowq.blocks.storage.layout import Manifest
from flowq.core.errors import ResultCorrupt, ResultMissing, StoreUnavailable
from flowq.engine.ports import ObjectStore
from tests.unit.blocks.storage.storing import NOON

MIB = 1024 * 1024


@pytest.fixture(params=["dict", "memory", "file", "s3"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "dict":
        return MemoryObjects()
    if request.param == "memory":
        return open_store("memory://")
    if request.param == "file":
        return open_store(f"file://{tmp_path}/blocks")
    return open_store(request.getfixturevalue("s3_url"))


@pytest.fixture
def storage(objects: ObjectStore) -> BlockStorage:
    return BlockStorage(lambda: objects, MIB, lambda: str(uuid4()), lambda: NOON)


def stored(storage: BlockStorage, content: Any, **data: Any) -> dict[str, Any]:
    """Persist a content and return the data of its block, as JSON would carry it."""

    async def persist() -> dict[str, Any]:
        block = GenericBlock("7", {"data": {"content": content}, **data})
        async for _ in block.persist(storage, "ann"):
            pass
        assert block.is_persisted
        return block.data

    data = asyncio.run(persist())
    return (
        data if isinstance(content, bytes) and "external_metadata" not in data else _as_json(data)
    )


def _as_json(data: dict[str, Any]) -> dict[str, Any]:
    back: dict[str, Any] = json.loads(json.dumps(data))
    return back


def resolved(storage: BlockStorage, data: dict[str, Any]) -> Any:
    block = GenericBlock("7", {"data": data})
    asyncio.run(block.resolve(storage))
    return block.get_content()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "語" * 400_000,
        [],
        [None, {"a": [None]}],
        [{"a": 1}],
        {"a": {}},
        0,
        1.5,
        True,
        b"\xff\x00",
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("storage_class", ["internal", "external"])
def test_a_content_comes_back_as_it_was(
    storage: BlockStorage, content: Any, storage_class: str
) -> None:
    data = stored(storage, content, storage_class=storage_class)
    back = resolved(storage, data)
    assert content == back
    assert type(content) is type(back)


def test_the_manifest_lists_what_is_there(storage: BlockStorage, objects: ObjectStore) -> None:
    metadata = stored(storage, "x" * (2 * MIB + 5))["external_metadata"]
    key = f"blocks/{metadata['resource_key']}"
    manifest = Manifest.model_validate_json(objects.get(f"{key}/manifest.json"))

    assert ("text", "text", True) == (
        metadata["content_type"],
        metadata["container"],
        metadata["chunked"],
    )
    assert ("1.0", "7", "completed", NOON) == (
        manifest.version,
        manifest.block_id,
        manifest.status,
        manifest.created_at,
    )
    sizes = {chunk.name: chunk.size for chunk in manifest.chunks}
    expected = {"chunk_000000.txt": MIB, "chunk_000001.txt": MIB, "chunk_000002.txt": 5}
    assert expected == sizes
    assert (2 * MIB + 5, 3) == (manifest.metadata.total_size, manifest.metadata.chunk_count)
    assert sizes == {name: objects.size(f"{key}/{name}") for name in sizes}


def test_a_missing_or_changed_chunk_is_an_error(
    storage: BlockStorage, objects: ObjectStore
) -> None:
    metadata = stored(storage, [1, 2], storage_class="external")["external_metadata"]
    chunk = f"blocks/{metadata['resource_key']}/chunk_000000.jsonl"
    objects.put(chunk, b"1\n3\n")
    with pytest.raises(ResultCorrupt, match="chunk_000000"):
        read(objects, metadata)
    objects.delete([chunk])
    with pytest.raises(ResultMissing, match="chunk_000000"):
        read(objects, metadata)


def test_a_manifest_of_others_is_read_by_its_content_type(objects: ObjectStore) -> None:
    """That of PuppyEngine's storage says neither what it holds nor any digest."""
    key = f"ann/7/{uuid4()}"
    chunk = {"name": "chunk_000000.jsonl", "size": 2, "etag": "e", "state": "done"}
    manifest = {
        "version": "1.0",
        "block_id": "7",
        "status": "completed",
        "created_at": NOON.isoformat(),
        "chunks": [chunk | {"uploaded_at": NOON.isoformat()}],
        "metadata": {"total_size": 2, "chunk_count": 1},
    }
    objects.put(f"blocks/{key}/manifest.json", json.dumps(manifest).encode())
    objects.put(f"blocks/{key}/chunk_000000.jsonl", b"1\n")
    metadata = {"resource_key": key, "content_type": "structured"}
    assert [1] == read(objects, metadata)

    objects.put(
        f"blocks/{key}/manifest.json", json.dumps(manifest | {"status": "generating"}).encode()
    )
    with pytest.raises(StoreUnavailable, match="still being written"):
        read(objects, metadata)


def test_an_invalid_manifest_is_an_error(objects: ObjectStore) -> None:
    key = f"ann/7/{uuid4()}"
    objects.put(f"blocks/{key}/manifest.json", b"{}")
    with pytest.raises(ResultCorrupt, match="manifest"):
        read(objects, {"resource_key": key})


@pytest.mark.parametrize("key", ["../results/x", "ann/../../x", "/etc", ""])
def test_a_key_that_leads_elsewhere_is_refused(objects: ObjectStore, key: str) -> None:
    with pytest.raises(ValueError, match="key"):
        read(objects, {"resource_key": key})
