"""What frames have to know of a document: its edges by level, and which step ends which of them.

Runs have no levels: the engine starts an edge when its own inputs are there. Reports have levels,
so that they are the same for every reader and every timing. The level of an edge is one more than
the largest of those that make its inputs. An outline is computed from what is stored with the run,
so every process has the same.

An edge is one step, with its own id as key. One that runs once for each item of a loop is three:
`<edge>::items`, the map, and `<edge>::result`, which ends it. A block that several edges make has a
step of its own, `block:<id>`, which chooses; its content is reported when that has ended.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from flowq.blocks.names import of_block, of_items, of_result
from flowq.blocks.planner import ExecutionPlanner


@dataclass(frozen=True, slots=True)
class Edge:
    """An edge as reports know it.

    Attributes:
        first: Key of the step with which it begins.
        last: Key of the step with which it ends, and that returns its outputs.
        keys: Keys of all its steps.
        reports: The blocks whose contents it reports; not those that other edges make too.
    """

    id: str
    type: str
    first: str
    last: str
    keys: tuple[str, ...]
    reports: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Level:
    """What is reported together.

    Attributes:
        edges: Ids of edges, in the order of the document.
        steps: From the key of each step that ends something here to the blocks that it reports.
    """

    edges: tuple[str, ...]
    steps: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Outline:
    """A document as reports know it.

    Attributes:
        blocks: By id, as in the document; contents may be missing.
        edges: By id.
        levels: In the order in which they are reported.
        sources: How many blocks have a content that no edge makes.
        warnings: What the document says in an older way, and settings that are ignored.
    """

    blocks: Mapping[str, Mapping[str, Any]]
    edges: Mapping[str, Edge]
    levels: tuple[Level, ...]
    sources: int
    warnings: tuple[str, ...] = ()

    @classmethod
    def of(cls, document: Mapping[str, Any], keys: Collection[str]) -> "Outline":
        """Return the outline of a document.

        Args:
            document: Its blocks and edges, or the sketch of it that is stored with its run.
            keys: Keys of the steps that it was compiled to.
        """
        blocks = document["blocks"]
        planner = ExecutionPlanner(blocks, document["edges"])
        merged = [block for block in planner.producers if of_block(block) in keys]
        edges = {key: _edge(key, edge, keys, merged) for key, edge in document["edges"].items()}
        levels = planner.levels()
        level_of = {edge: number for number, level in enumerate(levels) for edge in level}
        steps = [{edges[key].last: edges[key].reports for key in level} for level in levels]
        for block in merged:
            number = max(level_of[edge] for edge in planner.producers[block])
            steps[number][of_block(block)] = (block,)
        sources = sum(
            block not in planner.producers and _has_content(data) for block, data in blocks.items()
        )
        found = (Level(tuple(level), of) for level, of in zip(levels, steps, strict=True))
        return cls(blocks, edges, tuple(found), sources, tuple(document.get("warnings", ())))

    def processed(self, ended: Collection[str]) -> int:
        """Return how many blocks have their content, given the keys of the steps that have ended.

        A block counts too when the branch that would have made it was not taken.
        """
        steps = (step for level in self.levels for step in level.steps.items())
        return self.sources + sum(len(blocks) for key, blocks in steps if key in ended)


def _edge(key: str, edge: Mapping[str, Any], keys: Collection[str], merged: list[str]) -> Edge:
    is_looped = of_result(key) in keys
    outputs = edge["data"].get("outputs") or {}
    return Edge(
        key,
        edge["type"],
        first=of_items(key) if is_looped else key,
        last=of_result(key) if is_looped else key,
        keys=(of_items(key), key, of_result(key)) if is_looped else (key,),
        reports=tuple(block for block in outputs if block not in merged),
    )


def _has_content(block: Mapping[str, Any]) -> bool:
    """Return whether a block has a content from the start; in a sketch `bytes` says so."""
    data = block.get("data") or {}
    given = block.get("bytes") if "bytes" in block else data.get("content")
    return given is not None or bool(data.get("external_metadata"))
