"""What has to be read before a step can be decided: its condition, or the list that it maps over.

Both may be in results of any size, so they are read outside the transaction that decides.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flowq.core.errors import FlowqError, StepError, Unavailable
from flowq.core.expressions import evaluate
from flowq.core.references import Reference, Template, as_reference, literal, references, resolve
from flowq.core.spec import StepSpec
from flowq.engine.advance.resolve import lookup
from flowq.engine.advance.reuse import reusable_items
from flowq.engine.engine import Engine
from flowq.engine.model.reruns import ReusedStep
from flowq.engine.model.rows import Definition

#: An item of a mapped list goes into its own row if it has no more JSON characters than this;
#: otherwise the row refers to the list.
_INLINE_ITEM = 8192


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What had to be read before a step could be decided."""

    conditions: Mapping[str, bool] = field(default_factory=dict)
    #: From a map's key to the templates of its items.
    lists: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    #: From a step's key to why its condition or its list could not be read.
    errors: Mapping[str, str] = field(default_factory=dict)
    #: Of a rerun: from a map's key to its items that have the results of the earlier run.
    reused: Mapping[str, Mapping[int, ReusedStep]] = field(default_factory=dict)


def evaluate_conditions(engine: Engine, definition: Definition, keys: Sequence[str]) -> Evaluation:
    """Read the conditions and lists of steps; an unreadable one is a fact too."""
    conditions: dict[str, bool] = {}
    lists: dict[str, Sequence[Any]] = {}
    errors: dict[str, str] = {}
    for key in keys:
        step = definition.spec.step(key)
        try:
            if step.when is not None:
                find = lookup(engine, definition.run_id, references(step.when))
                conditions[key] = bool(evaluate(step.when, find))
            if step.map is not None and conditions.get(key, True):
                lists[key] = _items(engine, definition, step)
        except Unavailable:
            raise  # it says nothing about the step, which stays undecided for the sweeper
        except Exception as error:  # noqa: BLE001 - comparing users' values runs users' code
            known = isinstance(error, FlowqError)
            errors[key] = str(error) if known else f"{type(error).__name__}: {error}"
    reused = _reused(engine, definition, lists) if definition.spec.rerun is not None else {}
    return Evaluation(conditions, lists, errors, reused)


def _reused(
    engine: Engine, definition: Definition, lists: Mapping[str, Sequence[Any]]
) -> dict[str, Mapping[int, ReusedStep]]:
    known = engine.definitions.get(definition.run_id)
    return {
        key: reusable_items(
            engine, definition.run_id, known.step(key), items, known.graph.order[key]
        )
        for key, items in lists.items()
    }


def _items(engine: Engine, definition: Definition, step: StepSpec) -> Sequence[Any]:
    """Return the templates of a map's items."""
    run_id = definition.run_id
    items = engine.definitions.get(run_id).items(step.key)
    source = as_reference(items)
    if source is None:
        return list(items)
    node = definition.spec.by_key.get(source.step)  # a given value is none
    over_map = node is not None and node.map is not None
    if over_map and not source.path:
        # The results of a map are rows of their own; each item refers to one and none is loaded.
        row = engine.records.autocommit(lambda tx: tx.steps.stored(run_id, [source.step]))[0]
        return [Reference(source.step, (i,)).to_json() for i in range(row.map_size or 0)]
    value = resolve(items, lookup(engine, run_id, [source]))
    if not isinstance(value, list | tuple):
        raise StepError(
            f"{step.key} maps over {source}, which is {type(value).__name__}, not a list"
        )
    return [
        _item(item, Reference(source.step, (*source.path, index)))
        for index, item in enumerate(value)
    ]


def _item(value: Any, place: Reference) -> Template:
    """Return the template of an item: the item itself when it is small JSON, else its place."""
    try:
        small = len(json.dumps(value, allow_nan=False)) <= _INLINE_ITEM
    except (TypeError, ValueError):
        small = False
    return literal(value) if small else place.to_json()
