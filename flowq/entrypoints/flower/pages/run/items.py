"""The data of `/flows/<id>/steps/<key>`: the items of a map, as a grid of cells and as rows.

The grid shows up to 5,000 items at once, the rows a page of them. What an item was given is in its
row when it is short, else a reference; both are content. A text is looked for in errors, workers
and, where content is shown, in those values.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from flowq.core.errors import FlowqError, RunNotFound
from flowq.core.ids import RunId, child_run_id
from flowq.core.references import references, resolve
from flowq.core.spec import StepKind
from flowq.engine.advance.resolve import lookup
from flowq.engine.engine import Engine
from flowq.engine.model.rows import StepView
from flowq.engine.queries.run_page import MAX_INPUTS, ItemFilter, RunPage
from flowq.entrypoints.flower.pages.run.request import RunQuery, TemplateContext
from flowq.entrypoints.flower.pages.run.tabs import ROWS, kind_of, page_links
from flowq.entrypoints.flower.pages.run.values import as_text, unresolved
from flowq.entrypoints.flower.pictures.items import item_grid
from flowq.entrypoints.json_output import json_data

logger = logging.getLogger(__name__)

#: Items in a grid; a larger map has several, one after the other.
CELLS: Final = 5_000
#: Characters of the JSON of an item that is shown, and of one that is searched for a text.
_SHOWN: Final = 10_000
_SEARCHED: Final = 1_000
#: Characters of a value in a row.
_LENGTH: Final = 120


@dataclass(frozen=True, slots=True)
class GridPart:
    """The items in the grid: from `first` to `last`, and where other parts begin."""

    first: int
    last: int
    before: int | None
    after: int | None


def items(engine: Engine, page: RunPage, key: str, asked: RunQuery) -> TemplateContext:
    """Read a page of the items of a map, and the states of those around them.

    Raises:
        RunNotFound: the run has no such map.
    """
    run_id = page.run.id
    found = engine.records.autocommit(lambda tx: tx.overview.steps(run_id, limit=1, key=key))
    if not found or found[0].map_size is None:
        raise RunNotFound(f"run {run_id} has no map {key!r}", hint="open the run's own page")
    step, text = found[0], asked.text or None
    named: list[int] = []
    searched: int | None = None
    if text and asked.shows_content:
        values = _values(engine, run_id, key, longest=_SEARCHED)
        named = [index for index, one in values.items() if text.casefold() in one.casefold()]
        searched = max(values) if len(values) >= MAX_INPUTS else None
    wanted = ItemFilter(asked.status, text, named)
    read = engine.records.autocommit(
        lambda tx: tx.overview.items(
            run_id, key, limit=ROWS + 1, after=asked.after, before=asked.before, wanted=wanted
        )
    )
    rows, turn = page_links(read, asked, lambda item: item.index)
    is_flow = kind_of(engine, run_id, step) is StepKind.FLOW
    children = {item.index: child_run_id(item.id) for item in rows if is_flow and item.attempts}
    part = _part(step, rows[0].index if rows else 0)
    states = engine.records.autocommit(
        lambda tx: tx.overview.item_states(run_id, key, first=part.first, limit=CELLS)
    )
    return {
        "step": step,
        "items": rows,
        "turn": turn,
        "children": children,
        "values": _shown(engine, run_id, key, [row.index for row in rows])
        if asked.shows_content
        else None,
        "searched": searched,
        "part": part,
        "grid": item_grid(key, states, first=part.first),
    }


def _part(step: StepView, shown: int) -> GridPart:
    """Return the part of a map whose grid has an index."""
    size = step.map_size or 0
    first = shown // CELLS * CELLS
    last = min(first + CELLS, size) - 1
    return GridPart(
        first, last, first - CELLS if first else None, last + 1 if last + 1 < size else None
    )


def _shown(engine: Engine, run_id: RunId, key: str, indexes: Sequence[int]) -> dict[int, str]:
    values = _values(engine, run_id, key, longest=_SHOWN, indexes=indexes)
    return {
        index: line if len(line) <= _LENGTH else f"{line[: _LENGTH - 1]}…"
        for index, line in values.items()
    }


def _values(
    engine: Engine, run_id: RunId, key: str, *, longest: int, indexes: Sequence[int] | None = None
) -> dict[int, str]:
    """Return what items were given, by index; a reference where the value is not at hand."""
    inputs = engine.records.autocommit(
        lambda tx: tx.overview.item_inputs(run_id, key, longest=longest, indexes=indexes)
    )
    templates = list(inputs.values())
    try:
        if unresolved(engine, run_id, templates) is None:
            find = lookup(engine, run_id, references(templates))
            return {index: _line(resolve(one, find)) for index, one in inputs.items()}
    except (FlowqError, ValueError, ImportError):
        logger.info("items of %s of run %s are shown as references", key, run_id)
    return {index: _line(as_text(one)) for index, one in inputs.items()}


def _line(inputs: Any) -> str:
    """Return the inputs of an item as one line; of a single one its value."""
    is_single = isinstance(inputs, Mapping) and len(inputs) == 1
    value = next(iter(inputs.values())) if is_single else inputs
    text = value if isinstance(value, str) else json.dumps(json_data(value), ensure_ascii=False)
    return " ".join(text.split())
