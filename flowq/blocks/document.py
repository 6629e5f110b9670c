"""The model of a document: blocks of data, and edges that make blocks from blocks.

    {"version": "0.2",
     "blocks": {"1": {"label": "name", "type": "text", "data": {"content": "Ada"}}, …},
     "edges": {"greet": {"type": "modify", "data": {"inputs": {"1": "name"}, …}}, …}}

Documents come from editors and are not trusted. `read` refuses a document that cannot run, and
reports all problems at once, each with its path. Unknown keys belong to the editor and are kept.
Older names of settings are read as the present ones, with a warning. The settings of an edge are
checked by its type (`flowq.blocks.edges.settings`).
"""

import json
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from hashlib import sha256
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from flowq.blocks import names
from flowq.blocks.edge_types import EdgeType, Unsupported, edge_type_of
from flowq.blocks.edges.settings import text_of
from flowq.blocks.errors import Code, DocumentInvalid, Problem
from flowq.blocks.older_names import modern
from flowq.blocks.planner import ExecutionPlanner
from flowq.blocks.storage.layout import content_size
from flowq.core.text.json_values import JsonPath, flaw

MAX_BLOCKS: Final = 20_000
MAX_EDGES: Final = 10_000
#: Characters of an id; the key of a step adds to them.
MAX_ID: Final = 180


class _Part(BaseModel):
    """A part of a document; unknown keys are kept."""

    model_config = ConfigDict(frozen=True, extra="allow")


class Block(_Part):
    """A piece of data."""

    label: str | None = Field(None, description="What people and placeholders call it; else its id")
    type: str = Field("text", description="text, structured, file, weblink, …")
    storage_class: Literal["internal", "external"] = "internal"
    looped: bool = Field(False, description="An edge runs once for each item of the content")
    data: dict[str, Any] = Field(
        {}, description="`content`, or `external_metadata` that says where the content is stored"
    )

    @property
    def content(self) -> Any:
        """Its initial content."""
        return self.data.get("content")

    @property
    def external(self) -> Any:
        """Where its content is stored, if that is outside of the document."""
        return self.data.get("external_metadata")

    @property
    def is_looped(self) -> bool:
        """Whether edges loop over its content; editors use either of two places."""
        return self.looped or self.data.get("looped") is True


class EdgeData(_Part):
    """The settings of an edge; the others depend on its type."""

    inputs: dict[str, str | None] = Field({}, description="From block to its label")
    outputs: dict[str, str | None] = Field({}, description="From block to its label")


class Edge(_Part):
    """A transformation of blocks into blocks."""

    type: str
    data: EdgeData

    @property
    def config(self) -> dict[str, Any]:
        """Its settings, without inputs and outputs."""
        return dict(self.data.model_extra or {})


class Document(_Part):
    """A workflow."""

    version: str | None = None
    name: str | None = None
    blocks: dict[str, Block]
    edges: dict[str, Edge]

    @cached_property
    def planner(self) -> ExecutionPlanner:
        """The planner of this document, which knows its graph."""
        return ExecutionPlanner(self.blocks, self.edges)

    def labels(self, edge: str) -> dict[str, str]:
        """Return the labels of an edge's inputs by block, in their order."""
        inputs = self.edges[edge].data.inputs
        return {
            key: (label or self.blocks[key].label or key).strip() for key, label in inputs.items()
        }

    def edge_type(self, edge: str) -> EdgeType:
        """Return the edge type that runs an edge.

        Raises:
            Unsupported: nothing does.
        """
        one = self.edges[edge]
        first = next((self.blocks.get(key) for key in one.data.inputs), None)
        return edge_type_of(one.type, one.config, first.type if first else None)

    def sketch(self) -> dict[str, Any]:
        """Return the graph of the document, with the sizes of its contents, for readers."""
        whole = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        edges = {
            key: {
                "type": edge.type,
                "data": {"inputs": edge.data.inputs, "outputs": edge.data.outputs},
            }
            for key, edge in self.edges.items()
        }
        known = {"version": self.version, "name": self.name}
        # Two documents with one idempotency key are one only if their contents are, too.
        digest = sha256(whole.encode()).hexdigest()
        blocks = {key: _sketched(block) for key, block in self.blocks.items()}
        return {**known, "sha256": digest, "blocks": blocks, "edges": edges}


def _sketched(block: Block) -> dict[str, Any]:
    """Return a block without its content and without defaults."""
    found: dict[str, Any] = {"type": block.type}
    if block.label:
        found["label"] = block.label
    if block.storage_class != "internal":
        found["storage_class"] = block.storage_class
    if block.is_looped:
        found["looped"] = True
    if block.external:
        found["data"] = {"external_metadata": block.external}
    elif block.content is not None:
        found["bytes"] = content_size(block.content)
    return found


# --- reading -------------------------------------------------------------------------------------


def parse(text: str | bytes) -> tuple[Document, list[str]]:
    """Read a document from JSON text; as `read`."""
    repeated: list[_Repeated] = []

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) == len(items):
            return found
        counts = Counter(name for name, _ in items)
        repeated.append(_Repeated(found, [name for name, count in counts.items() if count > 1]))
        return repeated[-1]

    if not text.strip():
        _refuse(iter([Problem(Code.NO_WORKFLOW, "", "there is no document: the text is empty")]))
    try:
        data = json.loads(text, object_pairs_hook=pairs)  # NaN is found by `read`, with its place
    except (ValueError, RecursionError) as error:
        why = "it nests too deep" if isinstance(error, RecursionError) else str(error)
        raise DocumentInvalid([Problem(Code.NO_WORKFLOW, "", f"it is not JSON: {why}")]) from None
    if repeated:
        _refuse(_repetitions(data))
    return read(data)


class _Repeated(dict[str, Any]):
    """An object of JSON that has keys more than once: with the last value of each."""

    def __init__(self, data: dict[str, Any], keys: list[str]) -> None:
        super().__init__(data)
        self.keys_of_several = keys


def _repetitions(data: Any) -> Iterator[Problem]:
    """Yield the keys that an object has more than once; not those below a value that is lost."""
    waiting: list[tuple[JsonPath, Any]] = [((), data)]
    while waiting:
        place, value = waiting.pop()
        if isinstance(value, _Repeated):
            for key in value.keys_of_several:
                text = f"the key {key!r} is there more than once in one object"
                yield Problem(Code.LIMIT, _path((*place, key)), text)
        parts = value.items() if isinstance(value, dict) else enumerate(value)
        waiting += [((*place, key), one) for key, one in parts if isinstance(one, dict | list)]


def read(data: Any) -> tuple[Document, list[str]]:
    """Read a document, and check that it can run.

    Returns:
        The document, and warnings: what was written in an older way, and settings that are ignored.

    Raises:
        DocumentInvalid: it cannot run; has all problems.
    """
    _refuse(_shape(data))
    warnings: list[str] = []
    edges = {key: modern(key, edge, warnings) for key, edge in data["edges"].items()}
    try:
        document = Document.model_validate({**data, "edges": edges})
    except ValidationError as error:
        _refuse(
            Problem(Code.NO_WORKFLOW, _path(one["loc"]), text_of(one))
            for one in error.errors(include_url=False)
        )
        raise
    _refuse(_unsound(document, warnings))
    return document, warnings


def _refuse(problems: Iterator[Problem]) -> None:
    found = list(problems)
    if found:
        raise DocumentInvalid(found)


def _shape(data: Any) -> Iterator[Problem]:
    """Yield the problems that prevent a look at the parts of a document."""
    if not isinstance(data, dict):
        yield Problem(Code.NO_WORKFLOW, "", "the document is not an object")
        return
    for name in ("blocks", "edges"):
        if name not in data:
            yield Problem(Code.NO_WORKFLOW, "", f"the document lacks {name!r}")
        elif not isinstance(data[name], dict):
            yield Problem(Code.NO_WORKFLOW, name, "it is not an object")
        else:
            yield from _of_ids(name, data[name])
    if data.get("blocks") == {}:
        yield Problem(Code.EMPTY, "blocks", "the document has no blocks")
    wrong = flaw(data)
    if wrong is not None:
        yield Problem(Code.LIMIT, _path(wrong[0][:8]), wrong[1])


def _of_ids(name: str, parts: dict[str, Any]) -> Iterator[Problem]:
    most = MAX_BLOCKS if name == "blocks" else MAX_EDGES
    if len(parts) > most:
        yield Problem(Code.LIMIT, name, f"it has {len(parts):,} entries, the limit is {most:,}")
    for key in parts:
        if not 0 < len(key) <= MAX_ID or "\0" in key:
            text = f"an id has 1 to {MAX_ID} characters and no NUL"
            yield Problem(Code.LIMIT, _path((name, key[:MAX_ID])), text)


def _unsound(document: Document, warnings: list[str]) -> Iterator[Problem]:
    """Yield the problems of a document whose shape is right; add what is only suspicious."""
    for key in document.edges:
        yield from _of_edge(document, key, warnings)
    yield from _clashes(document)
    cycle = document.planner.cycle()
    if len(set(cycle)) > 1:
        yield Problem(Code.CYCLE, "edges", f"cycle: {' → '.join(cycle)}")
    needed = {block for edge in document.edges.values() for block in edge.data.inputs}
    for key, block in document.blocks.items():
        is_source = key in needed and key not in document.planner.producers
        if is_source and block.content is None and not block.external:
            text = "an edge needs its content, and nothing makes it"
            yield Problem(Code.NO_CONTENT, _path(("blocks", key, "data", "content")), text)


def _clashes(document: Document) -> Iterator[Problem]:
    """Yield the edges whose ids are keys of steps that flowq adds for other parts."""
    taken = {names.of_block(block): f"block {block!r}" for block in document.blocks}
    for edge in document.edges:
        text = f"the loop of edge {edge!r}"
        taken |= {names.of_items(edge): text, names.of_result(edge): text}
    for edge in (edge for edge in document.edges if edge in taken):
        text = f"the id {edge!r} is that of a step which flowq adds for {taken[edge]}; rename it"
        yield Problem(Code.LIMIT, _path(("edges", edge)), text)


def _of_edge(document: Document, key: str, warnings: list[str]) -> Iterator[Problem]:
    data, place = document.edges[key].data, ("edges", key, "data")
    if not data.outputs:
        yield Problem(Code.UNKNOWN_BLOCK, _path((*place, "outputs")), f"edge {key!r} makes nothing")
    for block in data.inputs:
        if block in data.outputs:
            text = f"edge {key!r}: block {block!r} is its input and its output"
            yield Problem(Code.CYCLE, _path((*place, "outputs", block)), text)
    unknown = [
        (end, block)
        for end, blocks in (("inputs", data.inputs), ("outputs", data.outputs))
        for block in blocks
        if block not in document.blocks
    ]
    for end, block in unknown:
        text = f"edge {key!r}: {end} names block {block!r}, which is not in the document"
        yield Problem(Code.UNKNOWN_BLOCK, _path((*place, end, block)), text)
    if not unknown:
        yield from _of_settings(document, key, warnings)


def _of_settings(document: Document, key: str, warnings: list[str]) -> Iterator[Problem]:
    """Yield the problems of an edge whose blocks are known."""
    data, place = document.edges[key].data, ("edges", key, "data")
    for label, count in Counter(document.labels(key).values()).items():
        if count > 1:
            text = f"edge {key!r}: two inputs have the label {label!r}"
            yield Problem(Code.LIMIT, _path((*place, "inputs")), text)
    try:
        kind = document.edge_type(key)
    except Unsupported as error:
        yield Problem(error.code, _path(("edges", key, "type")), f"edge {key!r}: {error.cause}")
        return
    ends = {"inputs": document.labels(key), "outputs": data.outputs}
    for found in kind.check({**document.edges[key].config, **ends}):
        at = _path((*place, *found.place))
        if found.warns:
            warnings.append(f"{at}: {found.text}")
        else:
            yield Problem(Code.NO_WORKFLOW, at, f"edge {key!r}: {found.text}")


def _path(place: JsonPath) -> str:
    """Return a JSON path in the syntax of JavaScript: `edges.greet.data.inputs['9']`."""
    parts = [
        f".{part}" if isinstance(part, str) and part.isidentifier() else f"[{part!r}]"
        for part in place
    ]
    return "".join(parts).removeprefix(".")
