"""Makes a run that is ready to be inserted: checks inputs, makes the spec, plans the first batch.

Nothing is recorded here but given values that are large. Of a run that begins later all steps are
pending.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from flowq.core.errors import InvalidInput
from flowq.core.graph import Graph
from flowq.core.ids import BatchId, LeaseToken, RunId, StepRunId, batch_of_nodes, node_id
from flowq.core.planner import plan
from flowq.core.results import ResultRef
from flowq.core.schedules.ticks import KEY_OF_TICKS
from flowq.core.spec import FlowSpec, StepKind
from flowq.core.states import StepState
from flowq.core.text.json_values import unmarked
from flowq.engine.advance.dispatch import node_batch
from flowq.engine.engine import Engine
from flowq.engine.model.reruns import NewRerun
from flowq.engine.model.rows import Batch, Definition, NewRun, NewStep
from flowq.engine.registry.registry import RegisteredFlow
from flowq.engine.runs.inherited import NOTHING, Inherited
from flowq.engine.runs.options import Submission, inputs_as_json
from flowq.engine.runs.tracing import with_context
from flowq.engine.runs.turns import pending, with_rules


@dataclass(frozen=True, slots=True)
class Reusable:
    """What a rerun reuses from its start.

    Attributes:
        spec: Its spec, with what it may reuse later.
        rerun: The earlier run, and the rows that have ended already.
        states: The nodes among them.
        observed: Of a program: how many events it has seen.
    """

    spec: FlowSpec
    rerun: NewRerun | None = None
    states: Mapping[str, StepState] = field(default_factory=dict)
    observed: int = 0


#: From the id, the spec, the graph and the recorded inputs of a rerun to what it reuses.
Reuse = Callable[[RunId, FlowSpec, Graph, Mapping[str, Any]], Reusable]


@dataclass(frozen=True, slots=True)
class Start:
    """A run that is ready to be inserted, and its first batches."""

    run: NewRun
    definition: Definition
    graph: Graph
    queued: Mapping[BatchId, tuple[str, ...]]
    undecided: list[str]

    def batches(self, engine: Engine) -> list[Batch]:
        """Return the batches to send once the run is recorded."""
        known = self.definition
        share = known.spec.share
        return [node_batch(engine, known, *batch, share) for batch in self.queued.items()]

    @property
    def items(self) -> int:
        """How many items its first maps have whose lists are in the spec."""
        maps = [self.definition.spec.step(key).map for key in self.undecided]
        return sum(
            len(one.items) for one in maps if one is not None and isinstance(one.items, list)
        )


def prepare(
    engine: Engine,
    flow: RegisteredFlow,
    inputs: Mapping[str, Any],
    submission: Submission,
    *,
    parent: StepRunId | None = None,
    run_id: RunId | None = None,
    mode: str = "async",
    inherited: Inherited = NOTHING,
    stored: bool = False,
    values: Mapping[str, Any] | None = None,
    document_id: UUID | None = None,
    schedule: str | None = None,
    reuse: Reuse | None = None,
    continues: Definition | None = None,
) -> Start:
    """Check a run and return it ready to be inserted; arguments and errors as of `submit`.

    Args:
        reuse: Of a rerun: finds what it reuses.
        continues: The run as whose continuation it begins.
    """
    checked = _checked(flow, inputs, stored=stored)
    recorded = inputs_as_json(checked, f"the inputs of {flow.name!r}", input_limit(engine))
    flow.verify(checked, unmarked(recorded))
    _refuse_key_of_tick(submission.idempotency_key, schedule)
    spec = with_context(engine, flow.trace(checked))
    default = engine.policies.run_budget if parent is None else None
    budget = submission.budget or spec.budget or default
    spec = inherited.spec(spec, budget, submission.metadata)
    user_id = submission.user_id
    spec = with_rules(engine, flow, spec, checked, user_id, parent=parent, continues=continues)
    is_new = run_id is None
    run_id = run_id or RunId(engine.new_id())
    if values:
        spec = spec.model_copy(update={"given": _given(engine, run_id, values)})
    graph = Graph.of(spec)
    taken = Reusable(spec) if reuse is None else reuse(run_id, spec, graph, recorded)
    run = NewRun(
        id=run_id,
        flow_name=taken.spec.name,  # a program that runs documents names its runs by these
        spec=taken.spec,
        inputs=recorded,
        steps=(),
        user_id=user_id,
        parent=parent,
        metadata=submission.metadata,
        is_new=is_new,
        idempotency_key=submission.idempotency_key,
        deadline=submission.deadline,
        mode=mode,
        budget=taken.spec.budget,
        document_id=document_id,
        priority=submission.priority,
        schedule=schedule,
    )
    return _planned(pending(run, submission, continues=continues is not None), graph, taken)


def _checked(flow: RegisteredFlow, inputs: Mapping[str, Any], *, stored: bool) -> Mapping[str, Any]:
    if not isinstance(inputs, Mapping):
        raise InvalidInput(
            f"the inputs of {flow.name!r} are {inputs!r} ({type(inputs).__name__}), not a dict",
            hint='give them by parameter, e.g. {"x": 1}',
        )
    return flow.read(inputs) if stored else flow.validate(inputs)


def _planned(run: NewRun, graph: Graph, taken: Reusable) -> Start:
    """Return a run with its steps, of which the first are queued."""
    spec, ended = run.spec, taken.states
    ready = [
        key
        for key, names in graph.dependencies.items()
        if key not in ended and all(name in ended for name in names)
    ]
    decided = plan(spec, graph, ready, ended, {})
    batches = () if run.waits else decided.batches
    queued = {batch_of_nodes(run.id, node_id(run.id, keys[0])): keys for keys in batches}
    steps = _nodes(run.id, spec, graph, queued, taken)
    run = replace(run, steps=steps, rerun=taken.rerun)
    definition = Definition(run.id, run.flow_name, run.user_id, run.parent, spec, run.priority)
    undecided = [*decided.evaluate, *decided.expand, *decided.skip, *decided.cancel]
    return Start(run, definition, graph, queued, undecided)


def _refuse_key_of_tick(key: str | None, schedule: str | None) -> None:
    if schedule is None and key is not None and key.startswith(KEY_OF_TICKS):
        raise InvalidInput(
            f"an idempotency_key that begins with {KEY_OF_TICKS!r} belongs to schedules",
            hint="give another key",
        )


def _given(engine: Engine, run_id: RunId, values: Mapping[str, Any]) -> dict[str, ResultRef]:
    """Store given values: in the spec up to the threshold for all of them, the rest as objects."""
    room, refs = engine.results.threshold_bytes, {}
    for key, value in values.items():
        token = LeaseToken(engine.new_id())
        ref = refs[key] = engine.results.give(value, run_id=run_id, token=token, room=room)
        room -= ref.size if ref.data is not None else 0
    return refs


def _nodes(
    run_id: RunId,
    spec: FlowSpec,
    graph: Graph,
    batches: Mapping[BatchId, tuple[str, ...]],
    taken: Reusable,
) -> tuple[NewStep, ...]:
    batch_of = {key: batch for batch, keys in batches.items() for key in keys}
    return tuple(
        NewStep(
            id=node_id(run_id, step.key),
            key=step.key,
            name=step.name,
            order=graph.order[step.key],
            pending=sum(name not in taken.states for name in graph.dependencies[step.key]),
            inputs=step.arguments,
            batch=batch_of.get(step.key),
            observed=taken.observed if step.kind is StepKind.PROGRAM else None,
        )
        for step in spec.steps
        if step.key not in taken.states
    )


def input_limit(engine: Engine) -> int:
    """Return the most bytes of JSON that a run may be given."""
    return engine.policies.input_limit_bytes
