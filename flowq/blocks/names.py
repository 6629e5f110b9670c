"""The names in the run of a document: of its flow and step types, and the keys of its steps. Pure.

The flow is named after the document. An edge is the step that has the edge's id as key; other steps
provide blocks, or begin and end a looped edge. The check of documents, the compiler, tasks and
reports have to agree on these names.
"""

from typing import Final

from flowq.core.graph import MAX_NAME_LENGTH

#: Begins the name of each step type that runs edges.
EDGE: Final = "flowq.edge."
_BLOCK: Final = "flowq.block."
#: Takes the last content that was set of a block with several producers.
MERGE: Final = f"{_BLOCK}merge"
#: Loads the content of a block from the store.
RESOLVE: Final = f"{_BLOCK}resolve"
#: Makes the items of a looped edge.
ITEMS: Final = f"{_BLOCK}items"
#: Makes the result of a looped edge from those of its items.
RESULT: Final = f"{_BLOCK}result"
_FLOW: Final = "blocks"


def of_flow(title: str | None) -> str:
    """Return the name of the flow of a document with this title."""
    shown = "".join(one if one.isprintable() else " " for one in title or "").strip()
    return f"{_FLOW}:{shown}"[:MAX_NAME_LENGTH] if shown else _FLOW


def is_flow(name: str) -> bool:
    """Return whether the flows of documents have such a name; a flow in Python may have one too."""
    return name == _FLOW or name.startswith(f"{_FLOW}:")


def is_step(name: str) -> bool:
    """Return whether a step type of this name runs steps of documents."""
    return name.startswith((EDGE, _BLOCK))


def of_block(block: str) -> str:
    """Return the key of the given value, or of the step, that provides a block."""
    return f"block:{block}"


def of_items(edge: str) -> str:
    """Return the key of the step that makes the items of a looped edge."""
    return f"{edge}::items"


def of_result(edge: str) -> str:
    """Return the key of the step that ends a looped edge."""
    return f"{edge}::result"
