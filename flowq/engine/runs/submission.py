"""Submits a run: checks the inputs, makes a spec of the flow, inserts the rows.

Nothing is recorded for a refused run. One transaction inserts the run with all its steps and queues
the first of them; messages are sent after the commit. If the broker is unreachable the run is still
accepted.

With an idempotency key the insert is also the check for an existing run: of concurrent callers one
inserts, and the others get its id. In the caller's transaction the rows become visible when the
caller commits; then those that exist are sent, and the others were rolled back.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Unpack
from uuid import UUID

from flowq.core.errors import FlowqError, InvalidInput, Unavailable
from flowq.core.graph import Graph
from flowq.core.ids import BatchId, LeaseToken, RunId, StepRunId, batch_of_nodes, node_id
from flowq.core.planner import plan
from flowq.core.results import ResultRef
from flowq.core.spec import FlowSpec, StepKind
from flowq.core.text.json_values import unmarked
from flowq.engine.advance.after import run_ready
from flowq.engine.advance.dispatch import after_commit, node_batch, send
from flowq.engine.engine import Engine
from flowq.engine.events import publish
from flowq.engine.model.rows import Batch, Definition, NewRun, NewStep
from flowq.engine.ports import Transaction
from flowq.engine.registry.registry import RegisteredFlow
from flowq.engine.runs.options import (
    Submission,
    SubmitOptions,
    inputs_as_json,
    listed,
    same_json,
    text_of,
)

#: Runs of one `submit_many` that are recorded and sent together.
_GROUP = 25


@dataclass(frozen=True, slots=True)
class _Start:
    """A run that is ready to be inserted, and its first batches."""

    run: NewRun
    definition: Definition
    graph: Graph
    queued: Mapping[BatchId, tuple[str, ...]]
    undecided: list[str]

    def batches(self, engine: Engine) -> list[Batch]:
        """Return the batches to send once the run is recorded."""
        return [node_batch(engine, self.definition, *batch) for batch in self.queued.items()]


@dataclass(frozen=True, slots=True)
class Continuation:
    """A run that is ready to replace another one."""

    old: RunId
    start: _Start

    def insert(self, engine: Engine, tx: Transaction) -> None:
        """Insert it and link the old run with it, in the transaction that ends the old program."""
        new = self.start.run.id
        tx.runs.insert([self.start.run], engine.policies.resend_after)
        tx.runs.continue_as(self.old, new)
        tx.signals.move(self.old, new)

    def send(self, engine: Engine) -> None:
        """Send its first batches, after the commit."""
        _send_first(engine, [self.start])


def submit(
    engine: Engine,
    flow: RegisteredFlow,
    inputs: Mapping[str, Any],
    *,
    parent: StepRunId | None = None,
    run_id: RunId | None = None,
    before: Callable[[Transaction], None] | None = None,
    mode: str = "async",
    charged_to: tuple[str, ...] = (),
    stored: bool = False,
    values: Mapping[str, Any] | None = None,
    document_id: UUID | None = None,
    schedule: str | None = None,
    **options: Unpack[SubmitOptions],
) -> RunId:
    """Start a run.

    Args:
        engine: Where it is recorded and sent.
        inputs: Raw inputs, by parameter.
        parent: The step that waits for this run, if it is a child run.
        run_id: Its id; with the id of an existing run nothing is inserted.
        before: Called first, in the transaction that inserts the run.
        mode: How it is started: `async` on workers, `sync` here and now.
        charged_to: Meters of the ancestors of a child run, whose budgets it spends.
        stored: Whether the inputs are stored JSON data, to be read and not validated as given.
        values: Given values, by the keys under which the spec of the flow refers to them.
        document_id: The stored document that it is started from.
        schedule: The name of the schedule that starts it.
        options: The user and more; see `SubmitOptions`.

    Returns:
        The id of the run; with an idempotency key, that of the first run that was given it.

    Raises:
        InvalidInput: an input is missing, unknown, too large or of the wrong type; an option is not
            allowed; or a run with other inputs has the idempotency key.
        InvalidFlow: the flow cannot be made into a graph.
        DatabaseUnavailable: the run could not be recorded.
    """
    submission = Submission.of(options, _limit(engine))
    start = _prepare(
        engine,
        flow,
        inputs,
        submission,
        parent=parent,
        run_id=run_id,
        mode=mode,
        charged_to=charged_to,
        stored=stored,
        values=values,
        document_id=document_id,
        schedule=schedule,
    )
    return _begin(engine, [start], options.get("session"), before)[0]


def continue_as_new(
    engine: Engine,
    flow: RegisteredFlow,
    inputs: Mapping[str, Any],
    old: Definition,
) -> "Continuation":
    """Prepare the run as which another one continues; it has the same options.

    Raises:
        InvalidInput: an input is missing, unknown, too large or of the wrong type.
    """
    options = Submission(old.user_id, budget=old.spec.budget, priority=old.priority)
    charged_to = old.spec.charged_to
    start = _prepare(engine, flow, inputs, options, parent=old.parent, charged_to=charged_to)
    return Continuation(old.run_id, start)


def submit_many(
    engine: Engine,
    flow: RegisteredFlow,
    inputs: Iterable[Mapping[str, Any]],
    *,
    idempotency_keys: Iterable[str] | None = None,
    **options: Unpack[SubmitOptions],
) -> list[RunId]:
    """Start many runs of a flow, in a few transactions instead of one for each.

    All are checked before the first is recorded. Then they are recorded and sent in groups, so that
    workers begin on the first ones while the last ones are still being written. With a session of
    the caller there is one transaction, the caller's.

    Args:
        engine: Where they are recorded and sent.
        inputs: Raw inputs of each run.
        idempotency_keys: The key of each run, in the order of the inputs; all different.
        options: Options for all of them; see `SubmitOptions`.

    Raises:
        InvalidInput: an input of one of them is wrong, or its key belongs to a run with other
            inputs; nothing was recorded.
        InvalidFlow: one of them cannot be made into a graph; nothing was recorded.
        DatabaseUnavailable: the runs, or the last groups of them, could not be recorded.
    """
    if options.get("idempotency_key") is not None:
        raise InvalidInput(
            "one idempotency_key is given for many runs", hint="give idempotency_keys=[…]"
        )
    starts = _prepare_many(engine, flow, listed(inputs, "inputs"), idempotency_keys, options)
    session = options.get("session")
    if session is not None:
        return _begin(engine, starts, session)
    engine.records.autocommit(lambda tx: _taken(tx, starts))  # refuses before the first is recorded
    groups = [starts[first : first + _GROUP] for first in range(0, len(starts), _GROUP)]
    begun: list[RunId] = []
    for group in groups:
        try:
            begun += _begin(engine, group)
        except Unavailable as error:
            if not begun:
                raise
            raise type(error)(
                f"the first {len(begun)} of {len(starts)} runs are recorded, then: {error.message}",
                hint="give idempotency_keys=[…] and call it again: only the missing runs are "
                "started",
            ) from error
    return begun


def _begin(
    engine: Engine,
    starts: Sequence[_Start],
    session: object = None,
    before: Callable[[Transaction], None] | None = None,
) -> list[RunId]:
    """Insert runs in one transaction and send them after it; returns the id of each."""

    def insert(tx: Transaction) -> tuple[set[RunId], dict[RunId, RunId]]:
        if before is not None:
            before(tx)
        if session is not None:
            _taken(tx, starts)  # the caller may catch it and commit: insert nothing before it
        inserted = tx.runs.insert([start.run for start in starts], engine.policies.resend_after)
        return inserted, _taken(tx, [start for start in starts if start.run.id not in inserted])

    if session is None:
        inserted, others = engine.records.transaction(insert)
        _send_first(engine, [start for start in starts if start.run.id in inserted])
    else:
        enlisted = engine.records.enlist(session)
        # Before the insert: the caller may commit the rows of an insert that failed midway.
        enlisted.after_transaction(lambda: _begin_committed(engine, starts))
        _, others = enlisted.work(insert)
    return [others.get(start.run.id, start.run.id) for start in starts]


def _send_first(engine: Engine, starts: Sequence[_Start]) -> None:
    """Send the first batches, and decide steps that are not decided yet. Raises nothing."""
    with after_commit("%d runs are recorded; the sweeper will start them", len(starts)):
        for start in starts:
            engine.definitions.add(start.definition, start.graph)
            publish.run_started(engine, start.definition)
        send(engine, [batch for start in starts for batch in start.batches(engine)])
        for start in starts:
            if start.undecided or not start.run.steps:
                run_ready(engine, start.run.id)


def _begin_committed(engine: Engine, starts: Sequence[_Start]) -> None:
    """Start the runs that the caller has committed. Raises nothing."""
    with after_commit("the sweeper will start those of %d runs that are recorded", len(starts)):
        ids = [start.run.id for start in starts]
        there = engine.records.autocommit(lambda tx: tx.runs.among(ids))
        _send_first(engine, [start for start in starts if start.run.id in there])


def _taken(tx: Transaction, starts: Sequence[_Start]) -> dict[RunId, RunId]:
    """Find the runs that have the same idempotency keys.

    Returns:
        From the id of each run whose key is taken to the id of the run that has the key.

    Raises:
        InvalidInput: a run that has the key has other inputs.
    """
    runs = [start.run for start in starts]
    keys = [run.idempotency_key for run in runs if run.idempotency_key is not None]
    taken = tx.runs.with_keys(runs[0].flow_name, keys) if keys else {}
    found: dict[RunId, RunId] = {}
    for run in runs:
        if run.idempotency_key in taken:
            found[run.id], inputs = taken[run.idempotency_key]
            if not same_json(inputs, run.inputs):
                raise InvalidInput(
                    f"the idempotency_key {run.idempotency_key!r} belongs to run {found[run.id]} "
                    f"of {run.flow_name!r}, which has other inputs",
                    hint=f"see them: flowq runs show {found[run.id]}; "
                    "use another key for another run",
                )
    return found


def _prepare_many(
    engine: Engine,
    flow: RegisteredFlow,
    inputs: Sequence[Mapping[str, Any]],
    keys: Iterable[str] | None,
    options: SubmitOptions,
) -> list[_Start]:
    """Check many runs; an error names the run that it is about."""
    each: list[str | None] = (
        [None] * len(inputs) if keys is None else listed(keys, "idempotency_keys")
    )
    each = [text_of("idempotency_key", key) for key in each]
    if len(each) != len(inputs) or len(set(each)) < len(each) > each.count(None):
        raise InvalidInput(
            f"{len(set(each))} different idempotency_keys are given for {len(inputs)} runs",
            hint="give one for each, in the same order",
        )
    starts: list[_Start] = []
    for index, (one, key) in enumerate(zip(inputs, each, strict=True)):
        try:
            own = Submission.of({**options, "idempotency_key": key}, _limit(engine))
            starts.append(_prepare(engine, flow, one, own))
        except FlowqError as error:
            raise type(error)(f"inputs[{index}]: {error.message}", hint=error.hint) from error
        except Exception as error:
            error.add_note(f"raised by the flow's function for inputs[{index}]")
            raise
    return starts


def _prepare(
    engine: Engine,
    flow: RegisteredFlow,
    inputs: Mapping[str, Any],
    submission: Submission,
    *,
    parent: StepRunId | None = None,
    run_id: RunId | None = None,
    mode: str = "async",
    charged_to: tuple[str, ...] = (),
    stored: bool = False,
    values: Mapping[str, Any] | None = None,
    document_id: UUID | None = None,
    schedule: str | None = None,
) -> _Start:
    if not isinstance(inputs, Mapping):
        raise InvalidInput(
            f"the inputs of {flow.name!r} are {inputs!r} ({type(inputs).__name__}), not a dict",
            hint='give them by parameter, e.g. {"x": 1}',
        )
    checked = flow.read(inputs) if stored else flow.validate(inputs)
    recorded = inputs_as_json(checked, f"the inputs of {flow.name!r}", _limit(engine))
    flow.verify(checked, unmarked(recorded))
    spec = flow.trace(checked)
    budget = submission.budget or spec.budget
    if budget is None and parent is None:
        budget = engine.policies.run_budget
    if budget is not None or charged_to:
        spec = spec.model_copy(update={"budget": budget, "charged_to": charged_to})
    is_new = run_id is None
    run_id = run_id or RunId(engine.new_id())
    if values:
        spec = spec.model_copy(update={"given": _given(engine, run_id, values)})
    graph = Graph.of(spec)
    roots = [key for key, names in graph.dependencies.items() if not names]
    decided = plan(spec, graph, roots, {}, {})
    queued = {batch_of_nodes(run_id, node_id(run_id, keys[0])): keys for keys in decided.batches}
    run = NewRun(
        id=run_id,
        flow_name=spec.name,  # a program that runs documents names its runs by these
        spec=spec,
        inputs=recorded,
        steps=_nodes(run_id, spec, graph, queued),
        user_id=submission.user_id,
        parent=parent,
        metadata=submission.metadata,
        is_new=is_new,
        idempotency_key=submission.idempotency_key,
        deadline=submission.deadline,
        mode=mode,
        budget=budget,
        document_id=document_id,
        priority=submission.priority,
        schedule=schedule,
    )
    definition = Definition(
        run_id, spec.name, submission.user_id, parent, spec, submission.priority
    )
    return _Start(run, definition, graph, queued, [*decided.evaluate, *decided.expand])


def _given(engine: Engine, run_id: RunId, values: Mapping[str, Any]) -> dict[str, ResultRef]:
    """Store given values: in the spec up to the threshold for all of them, the rest as objects."""
    room, refs = engine.results.threshold_bytes, {}
    for key, value in values.items():
        token = LeaseToken(engine.new_id())
        ref = refs[key] = engine.results.give(value, run_id=run_id, token=token, room=room)
        room -= ref.size if ref.data is not None else 0
    return refs


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
            observed=0 if step.kind is StepKind.PROGRAM else None,
        )
        for step in spec.steps
    )


def _limit(engine: Engine) -> int:
    return engine.policies.input_limit_bytes
