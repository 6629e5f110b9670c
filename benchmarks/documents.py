"""Documents of blocks and edges, beside the same graph as a flow in Python."""

import json
import time
from collections.abc import Iterator
from typing import Any

from benchmarks import flows, servers
from benchmarks.timing import p95, seconds
from flowq.blocks import submit
from flowq.blocks.compiling import compile_document
from flowq.blocks.document import parse

Document = dict[str, Any]
Row = tuple[str, str, str, str, str]


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


def rows() -> Iterator[Row]:
    """Yield one row for each measure."""
    with servers.worker("benchmarks.flows", "prefork", 2):
        small = chains(40, 5)
        flows.chains.enqueue(count=40, length=5).result(timeout=120)
        run(small)
        python = seconds(lambda: flows.chains.enqueue(count=40, length=5).result(timeout=120))
        document = seconds(lambda: run(small))
        heavy = large(8_000_000, 50)
        steps = seconds(lambda: flows.large.enqueue(n=50, size_each=8_000_000).result(timeout=300))
        copies = seconds(lambda: run(heavy))
    yield (
        "document of 40 chains of 5, against a flow",
        f"{python:.2f} s",
        f"{document:.2f} s",
        f"{document / python:.2f}x",
        "<= 1.15x",
    )
    yield (
        "8 MB block through 50 copies, against steps",
        f"{steps:.2f} s",
        f"{copies:.2f} s",
        f"{copies / steps:.2f}x",
        "<= 1.3x",
    )
    few = chains(4, 5)
    enqueued = p95(lambda: flows.chains.enqueue(count=4, length=5))
    submitted = p95(lambda: submit(few))
    yield (
        "submission of 20 edges, p95, against a flow",
        f"{enqueued * 1000:.1f} ms",
        f"{submitted * 1000:.1f} ms",
        f"{submitted / enqueued:.2f}x",
        "<= 3x",
    )
    for count, target in ((200, "<= 20 ms"), (10_000, "<= 1 s, linear")):
        checked, compiled = compile_seconds(chains(count // 5, 5))
        times = f"{checked * 1000:.0f} ms", f"{compiled * 1000:.0f} ms"
        yield (f"check and compile {count:,} edges", *times, "", target)
