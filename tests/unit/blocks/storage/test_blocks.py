"""Blocks as objects: which strategy they pick, what persisting and resolving leave behind."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowq.adapters.results.memory import MemoryObjects
from flowq.blocks.storage.blocks import (
    BaseBlock,
    BlockFactory,
    ExternalStorageStrategy,
    GenericBlock,
    MemoryStrategy,
)
from flowq.blocks.storage.external import BlockStorage
from flowq.core.errors import StoreUnavailable
from tests.unit.blocks.storage.storing import JSON, storage

LARGE, SMALL = "x" * 11, "x" * 10


def block(content: Any, **data: Any) -> BaseBlock:
    return GenericBlock("7", {"type": "text", "data": {"content": content}, **data})


def persist(one: BaseBlock, where: BlockStorage) -> list[dict[str, Any]]:
    async def emitted() -> list[dict[str, Any]]:
        return [event async for event in one.persist(where, "ann")]

    return asyncio.run(emitted())


def resolve(one: BaseBlock, where: BlockStorage) -> Any:
    asyncio.run(one.resolve(where))
    return one.get_content()


def test_a_block_has_what_its_document_says() -> None:
    made = BlockFactory.create_blocks_from_workflow(
        {
            "blocks": {
                "1": {"label": "name", "type": "structured", "data": {"content": [1], "k": 2}},
                "2": {"data": {}},
                "3": {"storage_class": "external", "position": {"x": 1}},
            }
        }
    )
    one, two, three = made["1"], made["2"], made["3"]
    assert ("1", "name", "structured") == (one.id, one.label, one.type)
    assert ([1], {"k": 2}) == (one.get_content(), one.get_metadata())
    assert ("2", "text", None) == (two.label, two.type, two.get_content())
    assert ("internal", "external") == (two.storage_class, three.storage_class)
    assert (False, False, False) == (one.is_resolved, one.is_persisted, one.has_external_data())


def test_a_small_block_stays_in_memory_and_emits_nothing() -> None:
    objects = MemoryObjects()
    one = block(SMALL)
    assert [] == persist(one, storage(objects, 10))
    assert one.is_persisted
    assert SMALL == resolve(one, storage(objects))
    assert one.is_resolved
    assert [] == objects.keys()


def test_a_large_block_goes_out_and_comes_back() -> None:
    objects = MemoryObjects()
    where = storage(objects, 10)
    one = block(LARGE)
    assert [
        {
            "event_type": "STREAM_STARTED",
            "block_id": "7",
            "version_id": "v0",
            "content_type": "text",
            "timestamp": "2030-01-01T12:00:00+00:00",
        },
        {
            "event_type": "STREAM_ENDED",
            "block_id": "7",
            "version_id": "v0",
            "resource_key": "ann/7/v0",
            "timestamp": "2030-01-01T12:00:00+00:00",
        },
    ] == persist(one, where)
    assert (None, "external", True) == (one.get_content(), one.storage_class, one.is_persisted)
    assert one.has_external_data()
    assert ["blocks/ann/7/v0/chunk_000000.txt", "blocks/ann/7/v0/manifest.json"] == objects.keys()
    assert LARGE == resolve(one, where)


def test_a_block_picks_its_strategy_again_at_each_persist() -> None:
    where = storage(threshold=10)
    grows = block(SMALL)
    assert isinstance(grows.strategy, MemoryStrategy)  # type: ignore[attr-defined]
    grows.set_content(LARGE)
    assert 2 == len(persist(grows, where))
    grows.set_content("")
    assert not grows.is_persisted
    assert "ann/7/v1" == persist(grows, where)[1]["resource_key"]  # it has content outside
    shrinks = block(LARGE)
    shrinks.set_content(SMALL)
    assert [] == persist(shrinks, where)


@pytest.mark.parametrize(
    "given",
    [
        {"storage_class": "external"},
        {"data": {"content": "", "external_metadata": {"resource_key": "ann/7/old"}}},
    ],
)
def test_an_external_block_is_external_whatever_its_size(given: dict[str, Any]) -> None:
    one = block("", **given)
    assert isinstance(one.strategy, ExternalStorageStrategy)  # type: ignore[attr-defined]
    assert 2 == len(persist(one, storage()))
    assert "ann/7/v0" == one.data["external_metadata"]["resource_key"]


def test_a_block_without_content_is_not_stored() -> None:
    one = block(None, storage_class="external")
    assert [] == persist(one, storage())
    assert not one.has_external_data()
    assert resolve(one, storage()) is None
    assert one.is_resolved


@given(JSON | st.binary())
def test_any_content_is_resolved_as_it_was_persisted(content: Any) -> None:
    where = storage(threshold=20)
    one = block(content)
    emitted = persist(one, where)
    data = json.loads(json.dumps(one.data)) if emitted else one.data
    again = GenericBlock("7", {"data": data, "storage_class": one.storage_class})
    back = resolve(again, where)
    assert content == back
    assert type(content) is type(back)


def test_metadata_without_a_key_is_refused() -> None:
    one = GenericBlock("7", {"data": {"external_metadata": {"content_type": "text"}}})
    with pytest.raises(ValueError, match="no resource_key"):
        resolve(one, storage())


class Broken(MemoryObjects):
    """Refuses the third object."""

    def put(self, key: str, data: Any) -> None:
        if key.endswith("_000002.txt"):
            raise StoreUnavailable("the disk is full")
        super().put(key, data)


def test_a_failure_is_an_event_and_leaves_no_manifest() -> None:
    objects = Broken()
    one = block("x" * (3 * 1024 * 1024))
    emitted: list[dict[str, Any]] = []

    async def collect() -> None:
        async for event in one.persist(storage(objects), "ann"):
            emitted.append(event)  # noqa: PERF401 - what was emitted before the error matters

    with pytest.raises(StoreUnavailable, match="disk is full"):
        asyncio.run(collect())
    assert ["STREAM_STARTED", "STREAM_ERROR"] == [event["event_type"] for event in emitted]
    assert "disk is full" in emitted[1]["error"]
    assert not one.is_persisted
    assert not one.has_external_data()
    assert not any(key.endswith("manifest.json") for key in objects.keys())  # noqa: SIM118
