"""Documents of blocks and edges, beside the same graph as a flow in Python."""

import json
import time
from typing import Any

from flowq.blocks import submit
from flowq.blocks.compiling import compile_document
from flowq.blocks.document import parse

Document = dict[str, Any]


def chains(count: int, length: int) -> Document:
    """Return a document of chains of edges, each of which copies a block."""
    blocks, edges = {}, {}
    for chain in range(count):
        blocks[f"{chain}.0"] = {"label": "x", "data": {"content": "hello"}}
        for number in range(length):
            here, after = f"{chain}.{number}", f"{chain}.{number + 1}"
            blocks[after] = {"label": "x", "data": {"content": ""}}
            data = {"modify_type": "copy", "inputs": {here: "x"}, "outputs": {after: ""}}
            edges[f"e{here}"] = {"type": "modify", "data": data}
    return {"blocks": blocks, "edges": edges}


def large(size: int, copies: int) -> Document:
    """Return a document that copies a large text again and again."""
    document = chains(1, copies)
    document["blocks"]["0.0"]["data"]["content"] = "x" * size
    return document


def run(document: Document) -> Any:
    """Run a document on workers and wait for its result."""
    return submit(document).result(timeout=300)


def compile_seconds(document: Document) -> tuple[float, float]:
    """Return how long a document took to be read and checked, and to be compiled."""
    text = json.dumps(document)
    began = time.perf_counter()
    read, _ = parse(text)
    checked = time.perf_counter()
    compile_document(read)
    return checked - began, time.perf_counter() - checked
