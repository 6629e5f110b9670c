"""The types of edges by name, and the steps that run them.

An edge type is a function of the settings of an edge and of the contents of its inputs by label.
Each edge type is a step type, `flowq.edge.<name>`, so `task_routes` and limits apply to each. A
name may have a variant: `search.web` runs the edges of type `search` with `search_type` `web`.

    @edge_type("search.web", waits=True)
    async def web(config: dict[str, Any], contents: dict[str, Any]) -> list[str]: …

The functions of flowq's own types are imported when an edge runs, so every worker can know them.
"""

import asyncio
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final, TypeVar

from flowq.blocks import loops, names
from flowq.blocks.edges.settings import Flaw
from flowq.blocks.errors import Code, PuppyException
from flowq.blocks.plugins import checked
from flowq.blocks.storage.external import EXTERNAL
from flowq.blocks.storage.steps import ELSEWHERE, load, store
from flowq.engine.registry.origins import Origin
from flowq.engine.registry.registry import RegisteredStep, registry

#: The setting that says the variant of a type.
_VARIANTS: Final = {
    "chunk": "chunking_mode",
    "modify": "modify_type",
    "search": "search_type",
}
_DISABLED: Final = frozenset({"code", "save", "rerank", "query_rewrite"})
#: Known, and nothing that ships carries them out: the code and what they are called.
_UNAVAILABLE: Final = {
    "chunk": (Code.CHUNK_MODE, "the chunking mode"),
    "search": (Code.SEARCH_TYPE, "the search type"),
    "deep_research": (Code.SEARCH_TYPE, "the edge type"),
    "load": (Code.EDGE_TYPE, "loading the block type"),
}

#: What an edge does: its settings and the contents by label give a content.
Function = Callable[[dict[str, Any], dict[str, Any]], Any]
F = TypeVar("F", bound=Callable[..., Any])
#: What a step of this face returns: `outputs`, a cell by block, and `set`, the blocks it has set.
Outcome = dict[str, Any]


class Unsupported(PuppyException):
    """No edge type has this name."""


@dataclass(frozen=True)
class EdgeType:
    """A type of edges.

    Attributes:
        name: The type, and perhaps its variant.
        function: The function, or where it is: `module:function`.
        waits: It waits for a model or the network, so a loop of it is a map.
        branches: It returns contents by block, for the outputs that it sets.
        keeps_types: The items of a loop are not converted to text.
        is_async: Whether the function is a coroutine function.
        checks: Where the function is that checks the settings of an edge: `module:function`.
    """

    name: str
    function: Function | str
    waits: bool = False
    branches: bool = False
    keeps_types: bool = False
    is_async: bool = False
    checks: str = ""

    @property
    def step_name(self) -> str:
        """The name of its step type."""
        return names.EDGE + self.name

    def loaded(self) -> Function:
        """Return the function; import it if necessary."""
        if not isinstance(self.function, str):
            return self.function
        function: Function = _found(self.function)
        return function

    def check(self, config: Mapping[str, Any]) -> Iterable[Flaw]:
        """Return the problems in the settings of an edge."""
        flaws: Iterable[Flaw] = _found(self.checks)(config) if self.checks else ()
        return flaws


def _found(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


_types: dict[str, EdgeType] = {}
_origins: dict[str, Origin] = {}  #: Where users' types are defined.


def edge_type_of(type_: str, config: Mapping[str, Any], first_block: str | None) -> EdgeType:
    """Return the type of an edge.

    Args:
        type_: The edge's type.
        config: Its settings.
        first_block: The type of its first input block.

    Raises:
        Unsupported: there is no such type here.
    """
    variant = config.get(_VARIANTS[type_]) if type_ in _VARIANTS else None
    if type_ == "load":
        variant = config.get("block_type") or first_block
    found = _types.get(f"{type_}.{variant}") or _types.get(type_)
    if found is not None:
        return found
    if type_ in _DISABLED:
        raise Unsupported(Code.EDGE_TYPE, f"the edge type {type_!r} is known and disabled")
    if type_ in _UNAVAILABLE:
        code, what = _UNAVAILABLE[type_]
        name = type_ if variant is None else f"{type_}.{variant}"
        raise Unsupported(
            code,
            f"{what} {variant or type_!r} is not available here: register it above a function "
            f'with @flowq.blocks.edge_type("{name}")',
        )
    known = ", ".join(sorted({name.partition(".")[0] for name in _types}))
    raise Unsupported(Code.EDGE_TYPE, f"unknown edge type {type_!r}; known are {known}")


def edge_type(
    name: str, *, waits: bool = False, branches: bool = False, keeps_types: bool = False
) -> Callable[[F], F]:
    """Make a function `f(config, contents)` an edge type; its module must be imported on workers.

    Args:
        name: A type, `translate`, or a variant of one: `search.web`.
        waits: It waits for others (a model, the network): a loop of it is a map, one step for each
            item. Without, all items run in one step.
        branches: It returns contents by block id, for those outputs that it sets; what comes after
            the others is skipped.
        keeps_types: Items of a loop keep their type; else they become text.

    Raises:
        InvalidFlow: something else has this name, or the name or the function cannot be used.
    """

    def register(function: F) -> F:
        # What a test has registered is forgotten in the registry only.
        taken = f"{names.EDGE}{name}" in registry.steps
        ships = taken and isinstance(_types[name].function, str)
        origin = checked(name, function, _origins.get(name) if taken else None, ships=ships)
        is_async = inspect.iscoroutinefunction(function)
        _add(EdgeType(name, function, waits, branches, keeps_types, is_async))
        _origins[name] = origin
        return function

    return register


def _add(kind: EdgeType) -> None:
    registry.add_step(
        RegisteredStep(kind.step_name, _async_step(kind) if kind.is_async else _step(kind))
    )
    _types[kind.name] = kind


# --- the steps -----------------------------------------------------------------------------------


def _step(kind: EdgeType) -> Callable[..., Any]:
    function_of = kind.loaded

    def run(config: Any, inputs: Any = None, outputs: Any = None, contents: Any = None) -> Any:
        """Run an edge; with `contents`, one item of a loop."""
        function = function_of()
        if contents is not None:
            return function(config, contents)
        loaded = _loaded(inputs)
        each = loops.combinations(loaded, as_texts=not kind.keeps_types)
        return _outcome(kind, [function(config, one) for one in each], outputs, loaded)

    return run


def _async_step(kind: EdgeType) -> Callable[..., Any]:
    function_of = kind.loaded

    async def run(
        config: Any, inputs: Any = None, outputs: Any = None, contents: Any = None
    ) -> Any:
        """Run an edge; with `contents`, one item of a loop."""
        function = function_of()
        if contents is not None:
            return await function(config, contents)
        loaded = await asyncio.to_thread(_loaded, inputs)
        each = loops.combinations(loaded, as_texts=not kind.keeps_types)
        results = [await function(config, one) for one in each]
        return await asyncio.to_thread(_outcome, kind, results, outputs, loaded)

    return run


def items(inputs: Any, as_texts: Any) -> Any:
    """Return the combinations of looped inputs: the items of the map of a looped edge."""
    return list(loops.combinations(_loaded(inputs), as_texts=as_texts))


def result(name: Any, results: Any, outputs: Any) -> Any:
    """Return the result of a looped edge from the results of its items."""
    return _outcome(_types[name], results, outputs)


def merge(candidates: Any, output: Any) -> Any:
    """Return the last candidate that was set, for a block with several producers.

    Args:
        candidates: Of each edge in the order of the document: `set` and the `cell`; None of a
            skipped one.
        output: The block.
    """
    block = output["id"]
    cells = [one["cell"] for one in candidates if block in (one["set"] or ())]
    cell = cells[-1] if cells else {"content": output["initial"]}
    return {"outputs": {block: cell}, "set": [block] if cells else []}


def resolve(block: Any, metadata: Any) -> Any:
    """Check a content in the store, and return the result of a step that provides it.

    A missing or damaged content fails the run here, before an edge reads it.
    """
    load({"external": metadata})
    cell = _outside({"external": metadata, ELSEWHERE: True})
    return {"outputs": {block: cell}, "set": [block]}


def _loaded(inputs: Sequence[Mapping[str, Any]]) -> list[loops.Input]:
    """Return inputs with their contents, which are loaded if they are in the store."""
    return [{**one, "content": load(one["cell"])} for one in inputs]


def _stored(kind: EdgeType, inputs: Sequence[loops.Input]) -> dict[int, Any]:
    """Return where contents are that an edge may pass on, by the identity of each.

    A function of a user may have changed the content that it returns.
    """
    if not isinstance(kind.function, str):
        return {}
    return {
        id(one["content"]): one["cell"]["external"]
        for one in inputs
        if "external" in one["cell"] and ELSEWHERE not in one["cell"]
    }


def _cell(output: Mapping[str, Any], content: Any, stored: Mapping[int, Any]) -> dict[str, Any]:
    """Return the cell of a block; a large content is stored, unless it is."""
    cell = store(output["id"], content, output["storage_class"], stored.get(id(content)))
    return _outside(cell) if "external" in cell else cell


def _outside(cell: dict[str, Any]) -> dict[str, Any]:
    """Return a cell with the place of its content in place of the content."""
    shown = {"storage_class": EXTERNAL, "external_metadata": cell["external"]}
    return {**cell, "content": shown}


def _outcome(
    kind: EdgeType,
    results: Sequence[Any],
    outputs: Sequence[Mapping[str, Any]],
    inputs: Sequence[loops.Input] = (),
) -> Outcome:
    """Return the result of an edge's step: the cells of its outputs, and which were set."""
    declared, stored = [one["id"] for one in outputs], _stored(kind, inputs)
    if kind.branches:
        made = {
            block: content
            for block, content in loops.branches(results).items()
            if block in declared
        }
    else:
        made = dict.fromkeys(declared, loops.joined(results))
    cells = {
        one["id"]: _cell(one, made[one["id"]], stored)
        if one["id"] in made
        else {"content": one["initial"]}
        for one in outputs
    }
    return {"outputs": cells, "set": [block for block in declared if block in made]}


# --- what ships ----------------------------------------------------------------------------------

_EDGES: Final = "flowq.blocks.edges"


def _shipped() -> Iterator[EdgeType]:
    chunk, load, llm = f"{_EDGES}.chunk", f"{_EDGES}.load", f"{_EDGES}.llm"
    modify, ifelse, search = f"{_EDGES}.modify", f"{_EDGES}.ifelse", f"{_EDGES}.search"
    yield EdgeType("modify", f"{modify}:modify", keeps_types=True, checks=f"{modify}:check")
    yield EdgeType("ifelse", f"{ifelse}:ifelse", branches=True, checks=f"{ifelse}:check")
    for mode in ("auto", "simple", "length", "character"):
        yield EdgeType(f"chunk.{mode}", f"{chunk}:chunk", checks=f"{chunk}:check")
    yield EdgeType("load.text", f"{load}:load_text", checks=f"{load}:check")
    yield EdgeType("load.structured", f"{load}:load_structured", checks=f"{load}:check")
    yield EdgeType("load.file", f"{load}:load_file", checks=f"{load}:check_file")
    yield EdgeType(
        "load.weblink",
        f"{load}:load_weblink",
        waits=True,
        is_async=True,
        checks=f"{load}:check",
    )
    yield EdgeType("llm", f"{llm}:llm", waits=True, is_async=True, checks=f"{llm}:check")
    yield EdgeType(
        "generator",
        f"{llm}:generator",
        waits=True,
        is_async=True,
        checks=f"{llm}:check_generator",
    )
    yield EdgeType("search.keyword", f"{search}:keyword", checks=f"{search}:check")


for _kind in _shipped():
    _add(_kind)
registry.add_step(RegisteredStep(names.MERGE, merge))
registry.add_step(RegisteredStep(names.RESOLVE, resolve))
registry.add_step(RegisteredStep(names.ITEMS, items))
registry.add_step(RegisteredStep(names.RESULT, result))
