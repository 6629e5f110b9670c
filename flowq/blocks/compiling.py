"""Compiles a document to a `FlowSpec`: one step for each edge. Pure.

    source block                   a given value, without a task
    source block in the store      a step that loads it at once; only the edges that read it wait
    edge                           a step
    looped edge with `waits`       three steps: the combinations, a map over them, the result
    block with several producers   a step that takes the last content that was set

The result of an edge's step has `outputs`, from block to cell, and `set`, the blocks that were set.
A cell is `{"content": …}`, or also says where a large content is stored. An edge with branches
(`ifelse`) may leave outputs unset; an edge that reads one of those has a condition on `set`, and is
skipped if it is false. Blocks and edges keep the order of the document, so the spec is always the
same.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from flowq.blocks import names
from flowq.blocks.document import Block, Document
from flowq.blocks.edge_types import EdgeType
from flowq.core.references import LITERAL, OP, Reference, Template
from flowq.core.results import NO_RESULT
from flowq.core.retries import RetryPolicy
from flowq.core.spec import FlowSpec, MapSpec, StepSpec

#: What does not wait for others fails in the same way again; an outage of a store is no failure.
_NETWORK: Final = RetryPolicy(
    max_attempts=3, retry_on=("ModelUnavailable", "FetchFailed", "StepTimeout")
)
_ONCE: Final = RetryPolicy()
#: Of one attempt of an edge: a document may ask for more than anybody waits for.
_TIMEOUT: Final = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Compiled:
    """A compiled document.

    Attributes:
        spec: The flow.
        values: Contents of source blocks, by the keys under which the spec names them.
    """

    spec: FlowSpec
    values: dict[str, Any]


def compile_document(document: Document) -> Compiled:
    """Return the flow of a document that `document.read` has accepted."""
    compiler = _Compiler(document, {edge: document.edge_type(edge) for edge in document.edges})
    for edge in document.edges:
        compiler.add_edge(edge)
    for block in document.planner.producers:
        compiler.cell(block)  # so that what several edges make is merged though nobody reads it
    output = {block: compiler.content(block) for block in document.planner.producers}
    spec = FlowSpec(
        name=names.of_flow(document.name),
        steps=tuple(compiler.steps),
        given=dict.fromkeys(compiler.values, NO_RESULT),  # until they are stored
        output=output,
    )
    return Compiled(spec, compiler.values)


@dataclass(frozen=True, slots=True)
class _Cell:
    """Where the content of a block is: in the result of a step, or in a given value.

    Attributes:
        step: The step that has it; of a given value its key.
        block: The block; None of a given value, which is the content itself.
        is_certain: Whether that step always sets it.
    """

    step: str
    block: str | None
    is_certain: bool = True

    def template(self) -> Template:
        """Return the template of the cell."""
        if self.block is None:
            return {"content": Reference(self.step).to_json()}
        return Reference(self.step, ("outputs", self.block)).to_json()

    def content(self, initial: Any) -> Template:
        """Return the template of the content of a block that an edge makes.

        Args:
            initial: Its initial content, which it keeps when its edge is skipped.
        """
        assert self.block is not None
        made = Reference(self.step, ("outputs", self.block, "content")).to_json()
        return made if initial is None else {**made, "default": {LITERAL: initial}}

    def condition(self) -> Template:
        """Return the condition that it was set."""
        return {OP: "in", "args": [self.block, Reference(self.step, ("set",)).to_json()]}


@dataclass
class _Compiler:
    document: Document
    types: Mapping[str, EdgeType]
    steps: list[StepSpec] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)
    _cells: dict[str, _Cell] = field(default_factory=dict)

    def add_edge(self, edge: str) -> None:
        """Add the steps of an edge, after those of the blocks that it reads."""
        kind, data = self.types[edge], self.document.edges[edge].data
        cells = [self.cell(block) for block in data.inputs]
        settings = {**self.document.edges[edge].config, "inputs": self.document.labels(edge)}
        inputs = [
            {
                "id": block,
                "label": label,
                "looped": self.document.blocks[block].is_looped,
                "cell": cell.template(),
            }
            for (block, label), cell in zip(settings["inputs"].items(), cells, strict=True)
        ]
        arguments = {
            "config": {LITERAL: settings},
            "inputs": inputs,
            "outputs": {LITERAL: [self._output(block) for block in data.outputs]},
        }
        when = _all([cell.condition() for cell in dict.fromkeys(cells) if not cell.is_certain])
        if self._is_map(edge):
            self.steps += _mapped(edge, kind, arguments, when)
        else:
            self.steps.append(
                StepSpec(
                    key=edge, name=kind.step_name, arguments=arguments, when=when, **_ways(kind)
                )
            )

    def cell(self, block: str) -> _Cell:
        """Return where the content of a block is, and add the step or value that provides it."""
        if block not in self._cells:
            producers = self.document.planner.producers.get(block, ())
            if not producers:
                self._cells[block] = self._source(block)
            elif len(producers) == 1:
                self._cells[block] = self._made_by(block, producers[0])
            else:
                self._cells[block] = self._merged(block, producers)
        return self._cells[block]

    def content(self, block: str) -> Template:
        """Return the template of what a block that edges make has in the end."""
        return self.cell(block).content(self.document.blocks[block].content)

    def _source(self, block: str) -> _Cell:
        key, source = names.of_block(block), self.document.blocks[block]
        if not source.external:
            self.values[key] = source.content
            return _Cell(key, None)
        arguments = {"block": block, "metadata": {LITERAL: source.external}}
        self.steps.append(StepSpec(key=key, name=names.RESOLVE, arguments=arguments))
        return _Cell(key, block)

    def _made_by(self, block: str, edge: str) -> _Cell:
        step = names.of_result(edge) if self._is_map(edge) else edge
        return _Cell(step, block, is_certain=not self.types[edge].branches)

    def _is_map(self, edge: str) -> bool:
        """Return whether an edge is mapped over the items of its looped inputs."""
        inputs, blocks = self.document.edges[edge].data.inputs, self.document.blocks
        return self.types[edge].waits and any(blocks[one].is_looped for one in inputs)

    def _merged(self, block: str, producers: list[str]) -> _Cell:
        made = [self._made_by(block, edge) for edge in producers]
        candidates = [
            {"set": Reference(one.step, ("set",)).to_json(), "cell": one.template()} for one in made
        ]
        arguments = {"candidates": candidates, "output": {LITERAL: self._output(block)}}
        key = names.of_block(block)
        self.steps.append(
            StepSpec(key=key, name=names.MERGE, arguments=arguments, accept_skipped=True)
        )
        return _Cell(key, block, is_certain=False)

    def _output(self, block: str) -> Mapping[str, Any]:
        made: Block = self.document.blocks[block]
        return {"id": block, "storage_class": made.storage_class, "initial": made.content}


def _ways(kind: EdgeType) -> dict[str, Any]:
    return {"retry": _NETWORK if kind.waits else _ONCE, "timeout": _TIMEOUT}


def _all(conditions: list[Template]) -> Template:
    """Return the condition that all of these are true; None if there are none."""
    return {OP: "and", "args": conditions} if len(conditions) > 1 else next(iter(conditions), None)


def _mapped(
    edge: str, kind: EdgeType, arguments: Mapping[str, Template], when: Template
) -> Iterator[StepSpec]:
    """Yield the steps of a looped edge that is a map over the combinations of its inputs."""
    combinations = names.of_items(edge)
    given = {"inputs": arguments["inputs"], "as_texts": not kind.keeps_types}
    yield StepSpec(key=combinations, name=names.ITEMS, arguments=given, when=when)
    over = MapSpec(parameter="contents", items=Reference(combinations).to_json())
    config = {"config": arguments["config"]}
    yield StepSpec(key=edge, name=kind.step_name, arguments=config, map=over, **_ways(kind))
    results = {
        "name": kind.name,
        "results": Reference(edge).to_json(),
        "outputs": arguments["outputs"],
    }
    yield StepSpec(key=names.of_result(edge), name=names.RESULT, arguments=results)
