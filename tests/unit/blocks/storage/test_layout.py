"""Sizes and keys of contents."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowq.adapters.results.keys import is_key
from flowq.blocks.storage import layout
from flowq.blocks.storage.external import BlockStorage
from flowq.core.errors import NotSerializable
from tests.unit.blocks.storage.storing import storage

T = 1024 * 1024


@pytest.mark.parametrize(
    "value,size",
    [
        ("", 0),
        ("abc", 3),
        ("é", 2),
        ("語", 3),
        ("\ud800", 3),
        (b"abc", 3),
        (5, 1),
        (True, 4),
        (1.5, 3),
        ([], 2),
        ({}, 2),
        ([None], 6),
        (["語"], 7),
        ({"a": 1}, 8),
    ],
)
def test_a_size_is_that_of_the_serialized_value(value: Any, size: int) -> None:
    assert size == layout.content_size(value)


def sized(kind: str, size: int) -> Any:
    """Return a content of a kind that has exactly so many bytes."""
    if kind == "text":
        return "x" * size
    if kind == "list":
        return ["x" * (size - 4)]
    if kind == "dict":
        return {"k": "x" * (size - 9)}
    full, rest = divmod(size, 3)
    return "語" * full + "x" * rest


@pytest.mark.parametrize("kind", ["text", "list", "dict", "multibyte"])
@pytest.mark.parametrize("over", [-1, 0, 1])
def test_a_content_is_external_above_the_threshold_alone(kind: str, over: int) -> None:
    value = sized(kind, T + over)
    assert T + over == layout.content_size(value)
    assert (over > 0) == storage().is_external(value)


def test_a_small_list_that_holds_a_large_text_is_external() -> None:
    assert storage().is_external(["x" * 5 * T])


def test_a_storage_class_or_bytes_make_any_size_external() -> None:
    kept: BlockStorage = storage()
    assert kept.is_external("", "external")
    assert kept.is_external(b"")
    assert not kept.is_external("", "internal")


@pytest.mark.parametrize("value", [math.nan, {"a": math.inf}, [object()], {1, 2}])
def test_what_is_no_json_has_no_size(value: Any) -> None:
    with pytest.raises(NotSerializable, match="cannot be stored"):
        layout.content_size(value)


@given(st.text(), st.text())
def test_any_text_has_a_part_of_a_key_of_its_own(one: str, other: str) -> None:
    parts = layout.key_part(one), layout.key_part(other)
    assert all(is_key(f"blocks/{part}/x") for part in parts)
    assert (one == other) == (parts[0] == parts[1])


@pytest.mark.parametrize("text", [".", "..", "...", "a/../b", "%2e%2e", "語" * 200, "a" * 500, ""])
def test_no_text_leads_out_of_its_folder(text: str) -> None:
    part = layout.key_part(text)
    assert "/" not in part
    assert is_key(f"blocks/{part}/{part}/x.y/chunk_000000.jsonl")


def test_a_key_is_in_the_folder_of_its_user_alone() -> None:
    key = layout.resource_key("ann", "7", "v")
    assert "ann/7/v" == key
    assert layout.is_users(key, "ann")
    assert not layout.is_users(key, "an")
    assert not layout.is_users(key, None)
    assert layout.is_users(layout.resource_key(None, "7", "v"), None)
