"""The beginning of a run: inputs are checked, the flow becomes a spec, the rows are inserted.

Nothing is recorded for a run that is refused. One transaction inserts the run with all its steps
and queues the first of them; messages follow after the commit. When the broker is away the run is
accepted all the same.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import PydanticSerializationError, to_jsonable_python

from flowq.core.errors import InvalidInput
from flowq.core.graph import Graph
from flowq.core.ids import BatchId, RunId, StepRunId, batch_of_nodes, node_id
from flowq.core.planner import plan
from flowq.core.spec import FlowSpec
from flowq.engine.advance import Advance, Progress, advance, node_batch, run_ready, send
from flowq.engine.engine import Engine
from flowq.engine.faults import FaultPoint, reach
from flowq.engine.ports import Transaction
from flowq.engine.registry import FlowType
from flowq.engine.rows import Batch, Definition, NewRun, NewStep

#: Runs of one `submit_many` that are recorded and sent together.
_GROUP = 25


@dataclass(frozen=True, slots=True)
class _Start:
    """A run that is ready to be inserted, and what begins with it."""

    run: NewRun
    definition: Definition
    queued: Mapping[BatchId, tuple[str, ...]]
    undecided: list[str]

    def batches(self, engine: Engine) -> list[Batch]:
        """Return what is sent once the run is recorded."""
        return [node_batch(engine, self.definition, *batch) for batch in self.queued.items()]


def submit(
    engine: Engine,
    flow: FlowType,
    inputs: Mapping[str, Any],
    *,
    user_id: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    parent: StepRunId | None = None,
    run_id: RunId | None = None,
    before: Callable[[Transaction], None] | None = None,
) -> RunId:
    """Start a run.

    Args:
        engine: Where it is recorded and sent.
        flow: The flow.
        inputs: Raw inputs, by parameter.
        user_id: Whose run it is.
        metadata: JSON data to keep with the run.
        parent: The step that waits for this run, if it is a child run.
        run_id: Id to give it; with the id of an existing run nothing is inserted.
        before: Runs first, in the transaction that inserts the run.

    Raises:
        InvalidInput: an input is missing, unknown, too large or of the wrong type.
        InvalidFlow: the flow cannot be made into a graph.
        DatabaseUnavailable: the run could not be recorded.
    """
    start = _prepare(
        engine, flow, inputs, user_id=user_id, metadata=metadata, parent=parent, run_id=run_id
    )
    run_id = start.run.id
    reach(FaultPoint.BEFORE_SUBMIT)
    engine.definitions.add(start.definition)

    def begin(_step: Advance, tx: Transaction) -> Progress:
        if before is not None:
            before(tx)
        if not tx.runs.insert([start.run], engine.policies.resend_after):
            engine.definitions.forget(run_id)  # the run that is there has a spec of its own
            return Progress()
        return Progress(start.batches(engine), start.undecided)

    advance(engine, run_id, begin)
    return run_id


def submit_many(
    engine: Engine,
    flow: FlowType,
    inputs: Iterable[Mapping[str, Any]],
    *,
    user_id: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> list[RunId]:
    """Start many runs of a flow, in a few transactions instead of one for each.

    All are checked before the first is recorded. Then they are recorded and sent in groups, so that
    workers begin on the first ones while the last ones are still being written.

    Raises:
        InvalidInput: an input of one of them is wrong; nothing was recorded.
        InvalidFlow: one of them cannot be made into a graph; nothing was recorded.
        DatabaseUnavailable: the runs, or the last groups of them, could not be recorded.
    """
    starts = [_prepare(engine, flow, one, user_id=user_id, metadata=metadata) for one in inputs]
    for first in range(0, len(starts), _GROUP):
        _begin_many(engine, starts[first : first + _GROUP])
    return [start.run.id for start in starts]


def _begin_many(engine: Engine, starts: Sequence[_Start]) -> None:
    runs = [start.run for start in starts]
    engine.records.write(lambda tx: tx.runs.insert(runs, engine.policies.resend_after))
    for start in starts:
        engine.definitions.add(start.definition)
    send(engine, [batch for start in starts for batch in start.batches(engine)])
    for start in starts:
        if start.undecided or not start.run.steps:
            run_ready(engine, start.run.id)


def _prepare(
    engine: Engine,
    flow: FlowType,
    inputs: Mapping[str, Any],
    *,
    user_id: str | None,
    metadata: Mapping[str, Any] | None,
    parent: StepRunId | None = None,
    run_id: RunId | None = None,
) -> _Start:
    checked = flow.validate(inputs)
    recorded = _recorded(flow, checked, engine.policies.input_limit_bytes)
    spec = flow.trace(checked)
    graph = Graph.of(spec)
    is_new = run_id is None
    run_id = run_id or RunId(engine.new_id())
    roots = [key for key, names in graph.dependencies.items() if not names]
    decided = plan(spec, graph, roots, {}, {})
    queued = {batch_of_nodes(run_id, node_id(run_id, keys[0])): keys for keys in decided.batches}
    steps = _nodes(run_id, spec, graph, queued)
    run = NewRun(
        run_id, flow.name, spec, recorded, steps, user_id, parent, metadata or {}, is_new=is_new
    )
    definition = Definition(run_id, flow.name, user_id, parent, spec)
    return _Start(run, definition, queued, [*decided.evaluate, *decided.expand])


def _nodes(
    run_id: RunId, spec: FlowSpec, graph: Graph, batches: Mapping[BatchId, tuple[str, ...]]
) -> tuple[NewStep, ...]:
    batch_of = {key: batch for batch, keys in batches.items() for key in keys}
    return tuple(
        NewStep(
            id=node_id(run_id, step.key),
            key=step.key,
            name=step.name,
            order=graph.order[step.key],
            pending=len(graph.dependencies[step.key]),
            inputs=step.arguments,
            batch=batch_of.get(step.key),
        )
        for step in spec.steps
    )


def _recorded(flow: FlowType, checked: Mapping[str, Any], limit: int) -> Mapping[str, Any]:
    """Return the inputs as JSON data for the run's row."""
    try:
        recorded: Mapping[str, Any] = to_jsonable_python(dict(checked))
    except PydanticSerializationError as error:
        raise InvalidInput(
            f"the inputs of {flow.name!r} cannot be stored as JSON: {error}",
            hint="pass plain data, pydantic models, dates or paths",
        ) from error
    size = len(json.dumps(recorded).encode())
    if size > limit:
        raise InvalidInput(
            f"the inputs of {flow.name!r} have {size:,} bytes as JSON, the limit is {limit:,}",
            hint="pass a path or a URL instead, or raise FLOWQ_INPUT_LIMIT_BYTES",
        )
    return recorded
