"""The outline of a document: levels, and which step ends what."""

from typing import Any

from flowq.blocks.reports.outline import Level, Outline


def edge(inputs: str, outputs: str, kind: str = "modify") -> dict[str, Any]:
    return {
        "type": kind,
        "data": {"inputs": dict.fromkeys(inputs, ""), "outputs": dict.fromkeys(outputs, "")},
    }


def block(content: Any = "") -> dict[str, Any]:
    return {"type": "text", "data": {"content": content}}


def document(contents: dict[str, Any], **edges: dict[str, Any]) -> dict[str, Any]:
    return {"blocks": {key: block(one) for key, one in contents.items()}, "edges": edges}


def test_levels_follow_the_longest_way() -> None:
    found = Outline.of(
        document(dict.fromkeys("1234", "x"), c=edge("23", "4"), a=edge("1", "2"), b=edge("2", "3")),
        {"a", "b", "c"},
    )
    assert (
        Level(("a",), {"a": ("2",)}),
        Level(("b",), {"b": ("3",)}),
        Level(("c",), {"c": ("4",)}),
    ) == found.levels


def test_a_looped_edge_ends_with_its_result() -> None:
    keys = {"e::items", "e", "e::result"}
    found = Outline.of(document({"1": [1], "2": ""}, e=edge("1", "2", "llm")), keys)
    only = found.edges["e"]
    assert ("e::items", "e::result", "llm") == (only.first, only.last, only.type)
    assert keys == set(only.keys)
    assert (Level(("e",), {"e::result": ("2",)}),) == found.levels


def test_a_block_of_several_edges_is_reported_by_its_merge_at_the_last_level() -> None:
    found = Outline.of(
        document(dict.fromkeys("1234", "x"), a=edge("1", "23"), b=edge("2", "3"), c=edge("3", "4")),
        {"a", "b", "c", "block:3"},
    )
    assert (
        Level(("a",), {"a": ("2",)}),
        Level(("b",), {"b": (), "block:3": ("3",)}),
        Level(("c",), {"c": ("4",)}),
    ) == found.levels


def test_blocks_count_when_their_content_is_there() -> None:
    given = document({"1": "", "2": None, "3": {"bytes": 0}, "4": "of an edge"}, a=edge("1", "4"))
    given["blocks"]["5"] = {"data": {"external_metadata": {"resource_key": "k"}}}
    found = Outline.of(given, {"a"})
    assert (3, 4) == (found.processed(()), found.processed({"a"}))
