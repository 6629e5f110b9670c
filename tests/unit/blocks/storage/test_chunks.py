"""Contents in chunks, and back."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowq.blocks.storage.chunks import CHUNK_BYTES, join, split
from flowq.blocks.storage.layout import container_of
from flowq.core.errors import NotSerializable
from tests.unit.blocks.storage.storing import JSON, TEXT


@given(JSON | st.binary(), st.integers(4, 30))
def test_what_was_split_is_joined_to_the_same(value: Any, limit: int) -> None:
    back = join(container_of(value), split(value, limit))
    assert value == back
    assert type(value) is type(back)


@given(TEXT, st.integers(4, 9))
def test_text_is_split_between_characters(text: str, limit: int) -> None:
    parts = [part.decode(errors="surrogatepass") for part in split(text, limit)]
    assert text == "".join(parts)
    assert all(0 < len(part.encode(errors="surrogatepass")) <= limit for part in parts)


def test_an_item_is_never_split() -> None:
    parts = list(split(["aaaa", "b" * 40, "c", None], 20))
    assert [b'"aaaa"\n', b'"' + b"b" * 40 + b'"\n', b'"c"\nnull\n'] == parts


@pytest.mark.parametrize("value", [[], "", b""])
def test_an_empty_content_has_no_chunks(value: Any) -> None:
    assert [] == list(split(value))
    assert value == join(container_of(value), [])


def test_a_chunk_has_a_mebibyte() -> None:
    sizes = [len(part) for part in split("x" * (2 * CHUNK_BYTES + 1))]
    assert [1024 * 1024, 1024 * 1024, 1] == sizes


def test_containers_of_one_stay_what_they_are() -> None:
    values: list[Any] = [[{"a": 1}], {"a": 1}, [None], [[]], ["[1]"], "[1]", 0, False]
    for value in values:
        assert value == join(container_of(value), split(value))


@pytest.mark.parametrize("value", [{1: "a"}, [(1, 2)], {"a": {None: 1}}])
def test_what_json_would_change_is_refused(value: Any) -> None:
    with pytest.raises(NotSerializable, match="JSON has no tuples"):
        list(split(value))
