"""The edge `search` by keywords: the best documents for a query, by BM25 in SQLite.

Words are split by the tokeniser `unicode61` of SQLite: without case and accents. A document without
any word of the query is not found.
"""

import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any, Final

from flowq.blocks.errors import Code, EdgeFailed
from flowq.blocks.placeholders import as_text

_WORDS: Final = re.compile(r"\w+")
_MOST_WORDS: Final = 200
_Flaw = tuple[tuple[str | int, ...], str]


def keyword(config: dict[str, Any], contents: dict[str, Any]) -> list[str]:
    """Return the documents that fit a query best, the best one first.

    Raises:
        EdgeFailed: `top_k` is no number of documents.
    """
    labels = config["inputs"]
    query = as_text(contents[labels[_query_of(config)]])
    documents = [
        as_text(one["content"] if isinstance(one, dict) and "content" in one else one)
        for block in config["doc_ids"]
        for one in _listed(contents[labels[block]])
    ]
    extra = config.get("extra_configs") or {}
    most = config.get("top_k", extra.get("top_k", 5))
    if type(most) is not int or most < 1:
        raise EdgeFailed(Code.CONVERSION, f"top_k is {most!r}, not a number of documents")
    words = list(dict.fromkeys(_WORDS.findall(query)))[:_MOST_WORDS]
    return _best(documents, words, most) if words else []


def check(config: Mapping[str, Any]) -> Iterator[_Flaw]:
    """Yield what is wrong with the settings of an edge."""
    if _query_of(config) not in config["inputs"]:
        yield ("query_id",), f"{_query_of(config)!r} is no input of this edge"
    documents = config.get("doc_ids")
    if not isinstance(documents, list) or not documents:
        yield ("doc_ids",), "it names no blocks of documents"
        return
    for place, block in enumerate(documents):
        if block not in config["inputs"]:
            yield ("doc_ids", place), f"{block!r} is no input of this edge"


def _query_of(config: Mapping[str, Any]) -> str:
    """Return the block of the query: editors write a dict of it and its label."""
    query = config.get("query_id")
    return str(next(iter(query), "")) if isinstance(query, dict | list) else str(query)


def _listed(content: Any) -> list[Any]:
    return content if isinstance(content, list) else [content]


def _best(documents: list[str], words: list[str], most: int) -> list[str]:
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute("CREATE VIRTUAL TABLE documents USING fts5(text)")
        database.executemany(
            "INSERT INTO documents (rowid, text) VALUES (?, ?)", enumerate(documents)
        )
        asked = " OR ".join(f'"{word}"' for word in words)
        found = database.execute(
            "SELECT rowid FROM documents WHERE documents MATCH ? "
            "ORDER BY bm25(documents), rowid LIMIT ?",
            (asked, most),
        )
        return [documents[row[0]] for row in found]
