"""From references to values: for the inputs of a step, for conditions and for a run's output.

All references of one template are looked up together: one read of the rows they name, one read of
the cache for all small results, one read of the store for each large one. A reference to a map is
the list of its items' results in order, which are read in pages: of 100,000 items only the values
are in memory together. With an index it reads only that item. Large values of which only parts are
needed are shared between the steps of a process, see `value_cache`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeGuard

from flowq.core.errors import StepError
from flowq.core.ids import RunId
from flowq.core.references import SKIPPED, Lookup, Reference, follow
from flowq.core.results import ResultRef, StepFailure
from flowq.core.states import StepState
from flowq.core.text.json_values import unmarked
from flowq.engine.advance.passed_failures import passed_failure
from flowq.engine.engine import Engine
from flowq.engine.model.rows import StoredStep
from flowq.engine.ports import Transaction
from flowq.engine.results.store import Copies
from flowq.engine.results.value_cache import own_copy

#: Rows by step and, for a single item of a map, its index.
Rows = dict[tuple[str, int | None], StoredStep | list[StoredStep]]

#: Items of a map whose rows are in memory together.
_PAGE: Final = 1_000


def lookup(
    engine: Engine,
    run_id: RunId,
    references: Iterable[Reference],
    nodes: Sequence[StoredStep] = (),
) -> Lookup:
    """Load what the references need and return the function that resolves them.

    Args:
        references: The references to load.
        nodes: Nodes that have been read already.

    Raises:
        ResultMissing: a recorded result is missing in the store.
        ResultCorrupt: a stored result is not what was recorded.
    """
    asked = list(dict.fromkeys(references))
    if not asked:
        return _nothing
    known = engine.definitions.get(run_id).definition.spec.given
    given = _given(engine, {ref.step: known[ref.step] for ref in asked if ref.step in known})
    wanted = [reference for reference in asked if reference.step not in given]
    rows = _whole(wanted, nodes)
    maps: dict[str, list[Any]] = {}
    if rows is None:
        rows = engine.records.autocommit(lambda tx: read_rows(tx, run_id, wanted, in_pages=True))
        for node in [one for (_, index), one in rows.items() if index is None and _is_map(one)]:
            del rows[node.key, None]
            maps[node.key] = _items_of(engine, run_id, node)
    refs = {row.result.key: row.result for row in _all(rows) if row.result}
    shared = _shared(engine, wanted, rows)
    own = [ref for key, ref in refs.items() if key not in shared]
    values = shared | dict(zip([ref.key for ref in own], load(engine, own), strict=True))

    def find(reference: Reference) -> Any:
        if reference.step in given:
            return own_copy(follow(given[reference.step], reference.path, reference))
        if reference.step in maps:
            items = maps[reference.step]
            return follow(items, reference.path, reference) if reference.path else list(items)
        found = rows[place_of(reference)]
        assert isinstance(found, StoredStep)
        rest = reference.path[1:] if found.map_index is not None else reference.path
        part = follow(result_of(found, values), rest, reference)
        return own_copy(part) if found.result and found.result.key in shared else part

    return find


def _is_map(row: StoredStep | list[StoredStep]) -> TypeGuard[StoredStep]:
    """Return whether a row is a map that has completed, so that its items have the results."""
    return (
        isinstance(row, StoredStep)
        and row.map_size is not None
        and row.status is StepState.COMPLETED
    )


def _items_of(engine: Engine, run_id: RunId, node: StoredStep) -> list[Any]:
    """Return the results of the items of a map."""
    values: list[Any] = []
    for first in range(0, node.map_size or 0, _PAGE):
        rows = engine.records.autocommit(partial(_page, run_id=run_id, key=node.key, first=first))
        refs = [row.result for row in rows if row.result is not None]
        loaded = dict(zip([ref.key for ref in refs], load(engine, refs), strict=True))
        values += [result_of(row, loaded) for row in rows]
    return values


def _page(tx: Transaction, *, run_id: RunId, key: str, first: int) -> list[StoredStep]:
    return tx.steps.items(run_id, key, first, _PAGE)


def _given(engine: Engine, refs: Mapping[str, ResultRef]) -> dict[str, Any]:
    """Return the given values that are asked for, by key; none has a row."""
    return dict(zip(refs, engine.results.load_many(list(refs.values()), _no_copies), strict=True))


def _no_copies(_keys: Sequence[str]) -> Mapping[str, bytes]:
    return {}


def _shared(engine: Engine, wanted: Sequence[Reference], rows: Rows) -> dict[str, Any]:
    """Return the values of nodes of which only parts are needed, from a cache of this process."""
    whole = {reference.step for reference in wanted if not reference.path}
    shared: dict[str, Any] = {}
    for row in _all(rows):
        ref = row.result
        if ref is None or ref.data is not None or row.map_index is not None or row.key in whole:
            continue
        known = engine.value_cache.get(ref)
        if known is None:
            known = (load(engine, [ref])[0],)
            engine.value_cache.put(ref, known[0])
        shared[ref.key] = known[0]
    return shared


def load(engine: Engine, refs: Sequence[ResultRef]) -> list[Any]:
    """Load results; small ones that are no longer in the cache come from their rows."""
    return engine.results.load_many(refs, copies_of(engine))


def copies_of(engine: Engine) -> Copies:
    """Return what reads small results from their rows."""
    return lambda keys: engine.records.autocommit(lambda tx: tx.steps.copies(keys))


def failure(row: StoredStep) -> StepFailure:
    """Return the value that replaces the result of a failed step."""
    passed = passed_failure(row.metadata)
    if passed is not None:
        return passed
    return StepFailure(
        step=row.key,
        index=row.map_index,
        item=unmarked((row.metadata or {}).get("item")),
        error=row.error_type or "StepError",
        message=row.error_message or "",
        attempts=row.attempt,
    )


def _nothing(reference: Reference) -> Any:
    raise StepError(f"{reference} was not loaded")


def place_of(reference: Reference) -> tuple[str, int | None]:
    """Return the place of the rows that a reference names: a step, perhaps an index."""
    first = reference.path[0] if reference.path else None
    return reference.step, first if isinstance(first, int) else None


def _whole(wanted: Sequence[Reference], nodes: Sequence[StoredStep]) -> Rows | None:
    """Return the rows of the references if `nodes` has all of them, and none is a map's."""
    by_key = {node.key: node for node in nodes if node.map_size is None}
    if any(reference.step not in by_key for reference in wanted):
        return None
    return {place_of(reference): by_key[reference.step] for reference in wanted}


def read_rows(
    tx: Transaction, run_id: RunId, wanted: Sequence[Reference], *, in_pages: bool = False
) -> Rows:
    """Return the rows that references name, by their places; of a whole map those of its items.

    Args:
        in_pages: Whether the caller reads the items of whole maps; then these have only their node.
    """
    nodes = {row.key: row for row in tx.steps.stored(run_id, list({ref.step for ref in wanted}))}
    places = dict.fromkeys(map(place_of, wanted))
    items_of = Counter(key for key, _ in places)
    every: dict[str, list[StoredStep]] = {}
    rows: Rows = {}
    for key, index in places:
        node = nodes[key]
        if node.map_size is None or node.status is not StepState.COMPLETED:
            rows[key, index] = node
        elif in_pages and (key, None) in places:
            rows[key, None] = node
        elif index is None or items_of[key] > 1:
            if key not in every:
                every[key] = tx.steps.items(run_id, key)
            rows[key, index] = every[key] if index is None else _item(node, every[key], index)
        else:
            at = index + node.map_size if index < 0 else index
            found = tx.steps.item(run_id, key, at)
            rows[key, index] = _item(node, [] if found is None else [found], index, first=at)
    return rows


def _item(node: StoredStep, items: Sequence[StoredStep], index: int, first: int = 0) -> StoredStep:
    """Return the item of a map at an index, of those from `first` on.

    Raises:
        StepError: there is none.
    """
    at = index + (node.map_size or 0) if index < 0 else index
    if not 0 <= at - first < len(items):
        reference = Reference(node.key, (index,))
        raise StepError(f"{reference} cannot be read: {node.key} has {node.map_size} items")
    return items[at - first]


def _all(rows: Rows) -> Iterable[StoredStep]:
    for found in rows.values():
        if isinstance(found, list):
            yield from found
        else:
            yield found


def result_of(row: StoredStep, values: Mapping[str, Any]) -> Any:
    """Return the result of a row from values by the keys of their references."""
    if row.status is StepState.COMPLETED:
        return values[row.result.key] if row.result else None
    if row.status is StepState.FAILED:
        return failure(row)
    return SKIPPED
