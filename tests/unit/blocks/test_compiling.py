"""From documents to specs: which steps there are, and what they wait for."""

import json
import os
import subprocess
import sys
from typing import Any

from flowq.blocks.compiling import Compiled, compile_document
from flowq.blocks.document import read
from flowq.core.graph import Graph
from tests.tools.documents import HELLO, document, modify, text


def compiled(data: dict[str, Any]) -> Compiled:
    return compile_document(read(data)[0])


def graph_of(found: Compiled) -> Graph:
    return Graph.of(found.spec)


def test_an_edge_is_a_step_and_a_source_block_is_a_given_value() -> None:
    found = compiled(HELLO)
    assert [(step.key, step.name) for step in found.spec.steps] == [
        ("greet", "flowq.edge.modify"),
        ("split", "flowq.edge.modify"),
        ("pick", "flowq.edge.modify"),
    ]
    assert found.values == {"block:1": "Ada", "block:2": "red, green,,blue"}
    assert graph_of(found).dependencies == {"greet": (), "split": (), "pick": ("split",)}
    assert all(step.when is None for step in found.spec.steps)


def test_a_source_block_that_nobody_needs_becomes_nothing() -> None:
    found = compiled(
        document({"e": modify("copy", {"1": ""}, {"2": ""})}, {"1": 1, "2": 2, "3": 3})
    )
    assert found.values == {"block:1": 1}


def test_a_block_in_the_store_is_loaded_by_a_step_of_its_own() -> None:
    stored = {"data": {"external_metadata": {"resource_key": "ann/1/v"}}}
    found = compiled(document({"e": modify("copy", {"1": ""}, {"2": ""})}, {"1": stored, "2": ""}))
    assert [(step.key, step.name) for step in found.spec.steps] == [
        ("block:1", "flowq.block.resolve"),
        ("e", "flowq.edge.modify"),
    ]
    assert graph_of(found).dependencies["e"] == ("block:1",)


def test_a_block_that_two_edges_make_is_merged_also_when_nobody_reads_it() -> None:
    edges = {"a": modify("copy", {"1": ""}, {"2": ""}), "b": modify("copy", {"1": ""}, {"2": ""})}
    found = compiled(document(edges, {"1": "x", "2": ""}))
    assert [step.key for step in found.spec.steps] == ["a", "b", "block:2"]
    assert found.spec.by_key["block:2"].accept_skipped
    assert graph_of(found).dependencies["block:2"] == ("a", "b")


def test_contents_that_look_like_templates_stay_data() -> None:
    evil = {"$ref": "e", "$literal": {"$op": "in"}}
    settings = {"content": {"$ref": "nowhere"}}
    found = compiled(
        document(
            {"e": modify("copy", {"1": ""}, {"2": ""}, **settings)}, {"1": text(evil), "2": evil}
        )
    )
    assert graph_of(found).dependencies == {"e": ()}


def test_one_document_gives_one_spec_in_every_process() -> None:
    code = (
        "import json, sys\n"
        "from flowq.blocks.compiling import compile_document\n"
        "from flowq.blocks.document import read\n"
        "print(compile_document(read(json.load(sys.stdin))[0]).spec.model_dump_json())\n"
    )
    edges = {
        f"e{n}": modify("copy", {f"b{one}": "" for one in (n, n + 1, n + 2)}, {f"c{n}": ""})
        for n in range(5)
    }
    contents = {f"{kind}{n}": "" for kind in "bc" for n in range(7)}
    data = json.dumps(document(edges, contents))
    specs = {
        subprocess.run(
            [sys.executable, "-c", code],
            input=data,
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in range(3)
    }
    assert len(specs) == 1
