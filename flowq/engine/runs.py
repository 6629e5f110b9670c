"""The beginning of a run: inputs are checked, the flow becomes a spec, the rows are inserted.

Nothing is recorded for a run that is refused. One transaction inserts the run with all its steps and
queues the first of them; messages follow after the commit. When the broker is away the run is accepted
all the same.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from pydantic_core import PydanticSerializationError, to_jsonable_python

from flowq.core.errors import InvalidInput
from flowq.core.graph import Graph
from flowq.core.ids import BatchId, RunId, StepRunId, batch_of_nodes, node_id
from flowq.core.planner import plan
from flowq.core.spec import FlowSpec
from flowq.engine.advance import Advance, Progress, advance, node_batch
from flowq.engine.engine import Engine
from flowq.engine.ports import Transaction
from flowq.engine.registry import FlowType
from flowq.engine.rows import Definition, NewRun, NewStep


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
    checked = flow.validate(inputs)
    recorded = _recorded(flow, checked, engine.policies.input_limit_bytes)
    spec = flow.trace(checked)
    graph = Graph.of(spec)
    is_new = run_id is None
    run_id = run_id or RunId(engine.new_id())
    roots = [key for key, names in graph.dependencies.items() if not names]
    decided = plan(spec, graph, roots, {}, {})
    batches = {batch_of_nodes(run_id, node_id(run_id, keys[0])): keys for keys in decided.batches}
    run = NewRun(
        run_id,
        flow.name,
        spec,
        recorded,
        _nodes(run_id, spec, graph, batches),
        user_id,
        parent,
        metadata or {},
        is_new=is_new,
    )
    definition = Definition(run_id, flow.name, user_id, parent, spec)
    engine.definitions.add(definition)
    undecided = [*decided.evaluate, *decided.expand]

    def begin(_step: Advance, tx: Transaction) -> Progress:
        if before is not None:
            before(tx)
        if not tx.runs.insert(run, engine.policies.resend_after):
            return Progress()
        queued = [node_batch(engine, definition, batch, keys) for batch, keys in batches.items()]
        return Progress(queued, undecided)

    advance(engine, run_id, begin)
    return run_id


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
