"""The edge `search` by keywords: what is found, in which order, and what is refused."""

from typing import Any

import pytest

from flowq.blocks.edges.search import check, keyword
from flowq.blocks.errors import EdgeFailed

DOCUMENTS = [
    "The quick brown fox jumps over the lazy dog.",
    "A fast brown animal jumps over a sleeping dog.",
    "The sky is blue.",
    {"content": "Blue skies and bright sun."},
    "Über den Wolken",
]


def run(query: str, **more: Any) -> list[str]:
    config = {"inputs": {"1": "q", "2": "d"}, "query_id": {"1": "q"}, "doc_ids": ["2"], **more}
    return keyword(config, {"q": query, "d": DOCUMENTS})


@pytest.mark.parametrize(
    "query, found",
    [
        ("fox", [0]),
        ("blue sky", [2, 3]),
        ("uber", [4]),
        ("nothing of this", []),
        ("", []),
        ('dog" OR 1=1 --', [1, 0]),
        ("NEAR AND fox", [0, 3]),
    ],
)
def test_search(query: str, found: list[int]) -> None:
    texts = [one["content"] if isinstance(one, dict) else one for one in DOCUMENTS]
    assert set(run(query)) == {texts[place] for place in found}


def test_the_best_come_first_and_no_more_than_asked_for() -> None:
    assert run("blue sky", top_k=1) == ["The sky is blue."]
    assert len(run("the", extra_configs={"top_k": 1})) == 1


def test_one_text_is_a_document_too() -> None:
    config = {"inputs": {"1": "q", "2": "d"}, "query_id": "1", "doc_ids": ["2"]}
    assert keyword(config, {"q": "a", "d": "a b"}) == ["a b"]


@pytest.mark.parametrize("most", [0, "5", True])
def test_a_number_of_documents_that_is_none(most: Any) -> None:
    with pytest.raises(EdgeFailed):
        run("fox", top_k=most)


def test_settings_are_checked_beforehand() -> None:
    wrong = {"inputs": {"1": ""}, "query_id": {"9": ""}, "doc_ids": ["1", "8"]}
    assert [flaw.place for flaw in check(wrong)] == [("query_id",), ("doc_ids", 1)]
    assert [flaw.place for flaw in check({"inputs": {"1": ""}, "query_id": "1"})] == [("doc_ids",)]
