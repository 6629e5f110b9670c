"""The edge `chunk`: a table for each mode, and what holds of any text."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowq.blocks.edges.chunk import check, chunk
from flowq.blocks.errors import EdgeFailed


def run(mode: str, content: Any, **extra: Any) -> list[str]:
    return chunk({"chunking_mode": mode, "extra_configs": extra}, {"x": content})


@pytest.mark.parametrize(
    "content, extra, expected",
    [
        ("short", {}, ["short"]),
        ("", {}, []),
        ("one two three", {"chunk_size": 8, "overlap": 0}, ["one two ", "three"]),
        (
            "one.\n\ntwo.\n\nthree.",
            {"chunk_size": 12, "overlap": 0},
            ["one.\n\ntwo.\n\n", "three."],
        ),
        ("abcdefgh", {"chunk_size": 3, "overlap": 0}, ["abc", "def", "gh"]),
        ("abcdefgh", {"chunk_size": 4, "chunk_overlap": 2}, ["ab", "abcd", "cdef", "efgh"]),
        ("a|b|c", {"chunk_size": 2, "overlap": 0, "separators": ["|"]}, ["a|", "b|", "c"]),
        (["a", {"b": 1}], {}, ["a", '{"b": 1}']),
    ],
)
def test_auto(content: Any, extra: Any, expected: list[str]) -> None:
    assert run("auto", content, **extra) == expected


@given(st.text(alphabet="ab .,\n", max_size=200), st.integers(1, 20))
def test_chunks_without_overlap_are_the_text_and_none_is_too_long(content: str, size: int) -> None:
    found = run("auto", content, chunk_size=size, overlap=0)
    assert "".join(found) == content
    assert all(0 < len(one) <= size for one in found)


@given(st.text(alphabet="ab .,\n", max_size=200), st.integers(2, 20), st.integers(1, 10))
def test_chunks_with_overlap_are_no_longer_than_others(content: str, size: int, over: int) -> None:
    overlap = min(over, size - 1)
    found = run("auto", content, chunk_size=size, overlap=overlap)
    assert all(len(one) <= size for one in found)


@given(st.text(alphabet="aé。.!\n ", max_size=100))
def test_sentences_are_the_text(content: str) -> None:
    assert "".join(run("simple", content)) == content


def test_simple() -> None:
    assert run("simple", "One. Two!\nThree") == ["One.", " Two!", "\n", "Three"]


@pytest.mark.parametrize(
    "content, extra, expected",
    [
        ("a" * 150, {}, ["a" * 100, "a" * 50]),
        ("one two three", {"chunk_size": 6}, ["one tw", "o thre", "e"]),
        ("one two three", {"chunk_size": 6, "handle_half_word": True}, ["one", "two", "three"]),
        ("abcdef", {"chunk_size": 2, "overlap": 1}, ["ab", "bcd", "def"]),
        ("abcdef", {"chunk_size": 4, "handle_half_word": True}, ["abcd", "ef"]),
    ],
)
def test_length(content: str, extra: Any, expected: list[str]) -> None:
    assert run("length", content, **extra) == expected


@pytest.mark.parametrize(
    "content, extra, expected",
    [
        ("a, b;c,,", {}, ["a", "b", "c"]),
        ("a.b|c", {"delimiters": [".", "|"]}, ["a", "b", "c"]),
        ("a,b", {"delimiters": []}, ["a,b"]),
    ],
)
def test_character(content: str, extra: Any, expected: list[str]) -> None:
    assert run("character", content, **extra) == expected


@pytest.mark.parametrize(
    "mode, extra",
    [
        ("auto", {"chunk_size": 0}),
        ("auto", {"chunk_size": "10"}),
        ("auto", {"chunk_size": 5, "overlap": 5}),
        ("auto", {"separators": [""]}),
        ("length", {"chunk_size": -1}),
        ("length", {"overlap": True}),
        ("character", {"delimiters": "x"}),
    ],
)
def test_settings_that_make_no_sense(mode: str, extra: Any) -> None:
    with pytest.raises(EdgeFailed):
        run(mode, "some text", **extra)


def test_settings_are_checked_beforehand() -> None:
    two = {"chunking_mode": "length", "sub_chunking_mode": "token", "inputs": {"1": "", "2": ""}}
    assert [flaw.place for flaw in check(two)] == [("inputs",), ("sub_chunking_mode",)]
    assert list(check({"chunking_mode": "length", "inputs": {"1": ""}})) == []
