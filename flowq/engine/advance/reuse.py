"""Which results of an earlier run a step of its rerun can have, by the digests of their inputs.

A stored result has a digest in its reference, so most inputs are compared without being loaded:
the inputs of a step are its template, with the digests of the results in place of the references.
Only for a part of a result is the value loaded. Items of a map are compared index by index.
"""

import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from flowq.core.errors import FlowqError, Unavailable
from flowq.core.ids import (
    LeaseToken,
    RunId,
    StepRunId,
    batch_of_calls,
    batch_of_items,
    child_run_id,
    item_id,
    node_id,
)
from flowq.core.references import Reference, Template, references, resolve
from flowq.core.results import ResultRef, StorageKind, row_key, step_of_key
from flowq.core.spec import CallSpec, Reused, StepSpec
from flowq.core.states import StepState
from flowq.engine.advance.resolve import lookup, place_of, read_rows
from flowq.engine.engine import Engine
from flowq.engine.model.reruns import OldStep, ReusedStep
from flowq.engine.model.rows import StoredStep
from flowq.engine.results.codecs import encode
from flowq.engine.results.codecs.files import digest

#: Objects that are looked for at a time.
_AT_A_TIME: Final = 16


def reused_row(old: OldStep, node: StepRunId, order: int) -> ReusedStep:
    """Return the row of a step that has the end of an earlier one: of `node`, or of its item.

    A small result that is not in its reference is copied from the row that has it, under a key of
    the new row; a large one is only referenced.
    """
    step_id = node if old.map_index is None else item_id(node, old.map_index)
    ref, copied_from = old.result, old.id
    if ref is not None and ref.place is StorageKind.ROW and ref.data is None:
        copied_from = StepRunId(step_of_key(ref.key))
        token = LeaseToken(UUID(ref.key.rpartition(":")[2]))
        ref = ref.model_copy(update={"key": row_key(step_id, token)})
    batch = None if old.map_index is None else batch_of_items(node)
    return ReusedStep(step_id, old, order, ref, copied_from, batch=batch)


def reused_call(
    old_id: RunId, run_id: RunId, old: OldStep, order: int, *, observed: int | None = None
) -> ReusedStep:
    """Return the row of a call of a program that has the end of an earlier one.

    Args:
        old_id: The earlier run.
        run_id: The rerun.
        old: The earlier row of the call.
        order: The place of the call in the rerun.
        observed: Its number in the order in which the program saw calls end; None: not seen yet.
    """
    assert old.call is not None
    step_id = node_id(run_id, old.key)
    changed = {"group": 1, "reused": reused_end(old_id, old), "reruns": False}
    call = old.call.model_copy(update=changed)
    return replace(
        reused_row(old, step_id, order),
        call=call,
        batch=batch_of_calls(run_id, step_id, 1),
        observed=observed,
    )


def reused_end(old_id: RunId, old: OldStep) -> Reused:
    """Return what is recorded of the end of an earlier call, also if that was reused itself."""
    assert old.call is not None
    assert old.completed_at is not None
    return old.call.reused or Reused(ended_at=old.completed_at, seed=old_id)


def missing_objects(engine: Engine, steps: Iterable[OldStep]) -> set[StepRunId]:
    """Return the rows whose result is an object that is missing, or not what was stored.

    Raises:
        StoreUnavailable: the object store cannot be used.
    """
    stored = [
        (step.id, step.result)
        for step in steps
        if step.result is not None and step.result.place is StorageKind.OBJECT
    ]
    if not stored:
        return set()

    def is_there(one: tuple[StepRunId, ResultRef]) -> bool:
        return engine.results.stored_size(one[1]) == one[1].size

    with ThreadPoolExecutor(_AT_A_TIME, "flowq-objects") as pool:
        found = list(pool.map(is_there, stored))
    return {step_id for (step_id, _), there in zip(stored, found, strict=True) if not there}


def reusable_items(
    engine: Engine, run_id: RunId, step: StepSpec, items: Sequence[Template], order: int
) -> dict[int, ReusedStep]:
    """Return the items of a map whose results are those of the same items of the earlier run.

    An item is the same if its index, its own input and the other inputs of the map are the same.
    Nothing is reused when the earlier run cannot be read.

    Args:
        engine: Where both runs are recorded.
        run_id: The rerun.
        step: Its map, or a map that its program calls.
        items: The templates of the items.
        order: The place of the map in its run.
    """
    rerun = engine.definitions.get(run_id).definition.spec.rerun
    if rerun is None or step.key in rerun.fresh:
        return {}
    old_id = RunId(rerun.of)
    try:
        rows = engine.records.autocommit(lambda tx: tx.reruns.old_steps(old_id, [step.key]))
        known = _old_spec(engine, old_id, step.key, rows)
        if known is None or not _same_map(engine, run_id, step, old_id, known):
            return {}
        done, inputs = _comparable(rows, known, len(items))
        mine = digests(engine, run_id, [items[index] for index in done])
        theirs = digests(engine, old_id, inputs)
    except Unavailable:
        raise
    except FlowqError:  # nothing can be compared: all items run, and report what is wrong
        return {}
    found = {
        index: row
        for (index, row), one, other in zip(done.items(), mine, theirs, strict=True)
        if one is not None and one == other and f"{step.key}[{index}]" not in rerun.fresh
    }
    missing = missing_objects(engine, found.values())
    node = node_id(run_id, step.key)
    return {
        index: reused_row(row, node, order) for index, row in found.items() if row.id not in missing
    }


def old_child(engine: Engine, run_id: RunId, step: StepSpec, index: int | None) -> RunId | None:
    """Return the child run of the earlier run that the child run of a step reruns, if any."""
    rerun = engine.definitions.get(run_id).definition.spec.rerun
    label = step.key if index is None else f"{step.key}[{index}]"
    if rerun is None or step.key in rerun.fresh or label in rerun.fresh:
        return None
    if isinstance(step, CallSpec) and not step.reruns:
        return None
    node = node_id(RunId(rerun.of), step.key)
    return child_run_id(node if index is None else item_id(node, index))


def _old_spec(engine: Engine, old_id: RunId, key: str, rows: Sequence[OldStep]) -> StepSpec | None:
    """Return what the earlier run has under a key: a call of its program, or a node."""
    node = next((row for row in rows if row.map_index is None), None)
    if node is not None and node.call is not None:
        return node.call
    return engine.definitions.get(old_id).definition.spec.by_key.get(key)


def _same_map(
    engine: Engine, run_id: RunId, step: StepSpec, old_id: RunId, known: StepSpec
) -> bool:
    """Return whether two maps do the same with an item."""
    if not is_same_map(known, step):
        return False
    mine = digests(engine, run_id, [step.arguments])[0]
    return mine is not None and mine == digests(engine, old_id, [known.arguments])[0]


def is_same_map(known: StepSpec, step: StepSpec) -> bool:
    """Return whether two steps are maps of the same step, whatever their other inputs are."""
    if step.map is None or known.map is None or step.map.parameter != known.map.parameter:
        return False
    one, other = (
        (spec.kind, spec.name, spec.cache.version if spec.cache else None) for spec in (step, known)
    )
    return one == other


def _comparable(
    rows: Sequence[OldStep], known: StepSpec, count: int
) -> tuple[dict[int, OldStep], list[Template]]:
    """Return the completed items of a map that has `count` items now, and their inputs."""
    assert known.map is not None
    done = {
        row.map_index: row
        for row in rows
        if row.map_index is not None and row.map_index < count and row.status is StepState.COMPLETED
    }
    return done, [(row.inputs or {}).get(known.map.parameter) for row in done.values()]


# --- digests of inputs ----------------------------------------------------------------------------


def digests(engine: Engine, run_id: RunId, templates: Sequence[Template]) -> list[str | None]:
    """Return digests of the values of templates, equal for equal values of one template.

    None is that of a template with a result that cannot be compared: of a step that has not
    completed, or a part that cannot be read.
    """
    wanted = list(dict.fromkeys(ref for one in templates for ref in references(one)))
    known = _digests_of(engine, run_id, wanted) if wanted else {}
    return [_digest(template, known) for template in templates]


class _Incomparable(Exception):
    """A template has a result that cannot be compared."""


def _digest(template: Template, known: dict[Reference, Any]) -> str | None:
    def find(reference: Reference) -> Any:
        if known[reference] is None:
            raise _Incomparable
        return known[reference]

    try:
        value = resolve(template, find)
    except _Incomparable:
        return None
    text = json.dumps(value, sort_keys=True, default=repr)
    return sha256(text.encode(errors="surrogatepass")).hexdigest()


def _digests_of(engine: Engine, run_id: RunId, wanted: Sequence[Reference]) -> dict[Reference, Any]:
    """Return what takes the place of references: digests of stored results, or of values."""
    given = engine.definitions.get(run_id).definition.spec.given
    stored = [ref for ref in wanted if ref.step not in given]
    rows = engine.records.autocommit(lambda tx: read_rows(tx, run_id, stored))
    found: dict[Reference, Any] = {}
    parts: list[Reference] = []
    for ref in wanted:
        if ref.step in given:
            row: Any = given[ref.step]
            whole = not ref.path
        else:
            row = rows[place_of(ref)]
            is_item = not isinstance(row, list) and row.map_index is not None
            whole = len(ref.path) == int(is_item)
        if whole:
            found[ref] = _of_rows(row)
        else:
            parts.append(ref)
    return found | _of_parts(engine, run_id, parts)


def _of_rows(row: ResultRef | StoredStep | Sequence[StoredStep]) -> Any:
    if isinstance(row, ResultRef):
        return [row.codec, row.sha256]
    if isinstance(row, StoredStep):
        is_done = row.status is StepState.COMPLETED and row.result is not None
        return _of_rows(row.result) if is_done and row.result is not None else None
    each = [_of_rows(one) for one in row]
    return None if None in each else each


def _of_parts(engine: Engine, run_id: RunId, parts: Sequence[Reference]) -> dict[Reference, Any]:
    """Return the digests of parts of results, which are loaded."""
    try:
        find = lookup(engine, run_id, parts)
    except Unavailable:
        raise
    except FlowqError:
        return dict.fromkeys(parts)
    return {ref: _of_value(find, ref) for ref in parts}


def _of_value(find: Any, reference: Reference) -> Any:
    try:
        encoded = encode(find(reference))
    except FlowqError:
        return None  # there is no such part: the step that reads it fails
    data = encoded.data
    found = digest(data)[0] if isinstance(data, Path) else sha256(data).hexdigest()
    return [encoded.codec, found]
