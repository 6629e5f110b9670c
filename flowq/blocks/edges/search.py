"""The edge `search` by keywords: the best documents for a query, by BM25 in SQLite.

Words are split by the tokeniser `unicode61` of SQLite: without case and accents. A document without
any word of the query is not found.
"""

import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Annotated, Any, Final

from pydantic import Field, PositiveInt

from flowq.blocks.edges.settings import EdgeSettings, Flaw, Settings, flaws, of, own
from flowq.blocks.placeholders import as_text

_WORDS: Final = re.compile(r"\w+")
_MOST_WORDS: Final = 200


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
    extra = config.get("extra_configs")
    most = of(Most, config if "top_k" in config else extra).top_k
    words = list(dict.fromkeys(_WORDS.findall(query)))[:_MOST_WORDS]
    return _best(documents, words, most) if words else []


class Most(Settings):
    """How many documents are found; at the top of an edge or in `extra_configs`."""

    top_k: PositiveInt = 5


class Keyword(EdgeSettings, Most):
    """Settings of the edge."""

    search_type: str = "keyword"
    query_id: Any
    doc_ids: Annotated[list[str], Field(min_length=1)]


def check(config: Mapping[str, Any]) -> Iterator[Flaw]:
    """Yield what is wrong with the settings of an edge."""
    yield from flaws(Keyword, own(config))
    yield from flaws(Most, config.get("extra_configs") or {}, ("extra_configs",))
    if "query_id" in config and _query_of(config) not in config["inputs"]:
        yield Flaw(("query_id",), f"{_query_of(config)!r} is no input of this edge")
    documents = config.get("doc_ids")
    for place, block in enumerate(documents if isinstance(documents, list) else ()):
        if isinstance(block, str) and block not in config["inputs"]:
            yield Flaw(("doc_ids", place), f"{block!r} is no input of this edge")


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
