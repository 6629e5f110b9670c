"""Why a run waits: reads its rows, asks the workers, and calls `reasons`.

The rows are read in a few statements. Workers are asked only if the rows do not explain why a step
is queued, through the dispatcher and in bounded time. So this is not for the hot path: it runs when
a person asks. A step that waits for a child run has the reasons of that run.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Final

from flowq.core.errors import BrokerUnavailable, ResultTimeout, RunNotFound, Unavailable
from flowq.core.ids import RunId, child_run_id, item_id, node_id
from flowq.core.spec import StepKind
from flowq.core.states import RunState, StepState
from flowq.engine.engine import Engine
from flowq.engine.model.rows import Message
from flowq.engine.model.waits import OpenStep, OpenSteps, WaitingSteps
from flowq.engine.ports import ADVANCE_TASK, Worker
from flowq.engine.waits.reasons import (
    Queues,
    Reason,
    Waiting,
    begins_at,
    label,
    lacks,
    merged,
    reasons,
    summarize,
    summary_of_start,
    waits_for_run,
)

#: Time limit for the answers of workers.
PATIENCE: Final = timedelta(seconds=1)
#: Child runs that are followed: how deep, and how many of one run.
_MAX_DEPTH: Final = 5
_MAX_CHILDREN: Final = 3
_MAX_LINES: Final = 50
_MAX_QUEUES: Final = 20
#: Below this time workers are not asked, because that takes a second.
_JUST_NOW: Final = timedelta(seconds=0.5)


class Workers:
    """Asks for the running workers, at most once in its lifetime.

    Args:
        fresh: For steps that are queued for a shorter time, workers are not asked.
    """

    def __init__(self, engine: Engine, fresh: timedelta = timedelta(0)) -> None:
        self.fresh = fresh
        self._ask: Callable[[], Sequence[Worker] | None] = lambda: engine.dispatcher.workers(
            PATIENCE
        )
        self._asked: tuple[Sequence[Worker] | None, str | None] | None = None

    def get(self) -> tuple[Sequence[Worker] | None, str | None]:
        """Return the workers, or why they cannot be asked."""
        if self._asked is None:
            try:
                self._asked = self._ask(), None
            except BrokerUnavailable as error:
                self._asked = None, error.message
        return self._asked


def why_waits(engine: Engine, run_id: RunId, workers: "Workers | None" = None) -> list[Waiting]:
    """Return what a run waits for; empty if a worker runs a step of it or it has ended.

    Args:
        workers: Asks workers; by default they are asked again, which takes a second.

    Raises:
        RunNotFound: there is no such run.
        DatabaseUnavailable: the rows cannot be read.
    """
    asking = workers or Workers(engine)
    found = _of_run(engine, run_id, asking, depth=0)
    return merged(found)[:_MAX_LINES]


def summaries_of(engine: Engine, runs: Sequence[RunId]) -> dict[RunId, str]:
    """Return in a word or two what runs wait for; those with a running step are left out."""
    rows = engine.records.autocommit(lambda tx: tx.overview.waiting_steps(runs)) if runs else []
    by_run: dict[RunId, list[WaitingSteps]] = {}
    for row in rows:
        by_run.setdefault(row.run_id, []).append(row)
    found = {run_id: summarize(steps) for run_id, steps in by_run.items()}
    starts = engine.records.autocommit(lambda tx: tx.runs.starts(runs)) if runs else {}
    return found | {run_id: summary_of_start(then) for run_id, then in starts.items()}


@dataclass(frozen=True, slots=True)
class Stuck:
    """Queued steps that no worker can take."""

    what: Waiting
    steps: int
    runs: int


def stuck(engine: Engine) -> list[Stuck]:
    """Return the queued steps of all runs that no running worker can take.

    Raises:
        BrokerUnavailable: workers cannot be asked.
        DatabaseUnavailable: the rows cannot be read.
    """
    queued = engine.records.autocommit(lambda tx: tx.overview.queued_steps())
    workers = engine.dispatcher.workers(PATIENCE) if queued else None
    found: list[Stuck] = []
    for one in queued:
        queue = _queue_of(engine, one.run_id, one.key, one.name, None)
        what = lacks(one.name, queue, workers) if workers is not None else None
        if what is not None:
            found.append(Stuck(replace(what, since=one.since), one.steps, one.runs))
    return found


def timed_out(engine: Engine, run_id: RunId, state: str, timeout: float) -> ResultTimeout:
    """Return the error for a timeout of waiting for a run; it says what the run waits for.

    Args:
        state: The state of the run, as in `is still running`.
        timeout: The timeout, in seconds.
    """
    message, hint = f"run {run_id} {state} after {timeout:g} s", None
    try:
        found = why_waits(engine, run_id, Workers(engine, fresh=_JUST_NOW))
    except (RunNotFound, Unavailable):
        found = []
    if found:
        message += f": {found[0]}"
        hint = found[0].hint
    return ResultTimeout(message, hint=hint or f"it is still active; see: flowq runs show {run_id}")


def _of_run(engine: Engine, run_id: RunId, workers: Workers, *, depth: int) -> list[Waiting]:
    rows = engine.records.autocommit(lambda tx: tx.overview.open_steps(run_id))
    if rows is None:
        raise RunNotFound.of(run_id)
    if rows.status is RunState.PENDING:
        return _not_begun(engine, run_id)
    rows = _with_times(engine, run_id, rows)
    queues = _queues(engine, run_id, rows, workers)
    found = list(reasons(rows, queues, run_id=run_id, lease=engine.policies.lease))
    if not rows.steps and rows.status is RunState.RUNNING:
        found += _not_advanced(engine, run_id, rows.now, workers)
    if depth < _MAX_DEPTH and rows.status is not RunState.PAUSED:
        for step, child in islice(_children(engine, run_id, rows), _MAX_CHILDREN):
            found += _of_child(engine, step, child, workers, depth=depth + 1)
    return found


def _not_begun(engine: Engine, run_id: RunId) -> list[Waiting]:
    """Return why a pending run has not begun."""
    head = engine.records.autocommit(lambda tx: tx.runs.head(run_id))
    if head is None or head.status is not RunState.PENDING:
        return []
    queueing = engine.definitions.shown(run_id).definition.spec.queueing
    if head.starts_at is not None:
        return [begins_at(head.starts_at, is_debounced=bool(queueing and queueing.debounce))]
    if queueing is None or queueing.singleton is None:
        return []
    flow_name, key = head.flow_name, queueing.singleton_key
    holder = engine.records.autocommit(lambda tx: tx.runs.holder(flow_name, key))
    return [waits_for_run(flow_name, key, holder)]


def _not_advanced(engine: Engine, run_id: RunId, now: datetime, workers: Workers) -> list[Waiting]:
    """Return why a run that has begun has no open step: no worker may be there to advance it."""
    head = engine.records.autocommit(lambda tx: tx.runs.head(run_id))
    ready = engine.records.autocommit(lambda tx: tx.steps.ready(run_id))
    began = None if head is None else head.started_at
    if not ready or (began is not None and now - began < workers.fresh):
        return []
    try:
        one = Message(node_id(run_id, ready[0]), run_id, ADVANCE_TASK, ready[0])
        queue = engine.dispatcher.queue_of(one)
    except BrokerUnavailable:
        queue = ""
    known, _ = workers.get()
    missing = None if known is None else lacks(ADVANCE_TASK, queue, known)
    if missing is None:
        return []
    return [replace(missing, step=ready[0], count=len(ready), state=StepState.PENDING, since=began)]


def _of_child(
    engine: Engine, step: OpenStep, child: RunId, workers: Workers, *, depth: int
) -> list[Waiting]:
    """Return what a child run waits for; if nothing, that its parent step waits for it."""
    try:
        below = _of_run(engine, child, workers, depth=depth)
    except RunNotFound:
        below = []
    inner = [replace(one, run_id=one.run_id or child) for one in below]
    return inner or [
        Waiting(
            Reason.CHILD_RUN,
            f"waits for its child run {child}, which is not finished",
            hint=f"flowq runs show {child}",
            step=label(step),
            state=step.state,
            since=step.since,
        )
    ]


def _children(engine: Engine, run_id: RunId, rows: OpenSteps) -> Iterator[tuple[OpenStep, RunId]]:
    """Yield the child runs that steps wait for; of a map that of the first item."""
    spec = engine.definitions.get(run_id).definition.spec
    for step in rows.steps:
        known = spec.by_key.get(step.key)
        kind = step.kind or (known.kind if known else _kind_of_call(engine, run_id, step))
        if step.state is StepState.WAITING and kind is StepKind.FLOW:
            node = node_id(run_id, step.key)
            yield step, child_run_id(node if step.index is None else item_id(node, step.index))


def _kind_of_call(engine: Engine, run_id: RunId, step: OpenStep) -> StepKind | None:
    try:
        return engine.definitions.get(run_id).step(step.key).kind
    except RunNotFound:
        return None


def _with_times(engine: Engine, run_id: RunId, rows: OpenSteps) -> OpenSteps:
    """Return rows whose `since` is when their last dependency ended, not when the row was made."""
    graph = engine.definitions.get(run_id).graph
    before = {
        step.key: graph.dependencies[step.key]
        for step in rows.steps
        if step.index is None and graph.dependencies.get(step.key)
    }
    if not before:
        return rows
    keys = sorted({key for found in before.values() for key in found})
    ended = engine.records.autocommit(lambda tx: tx.overview.ended_at(run_id, keys))
    steps = tuple(
        replace(
            step,
            since=max([step.since, *(ended[k] for k in before.get(step.key, ()) if k in ended)]),
        )
        for step in rows.steps
    )
    return replace(rows, steps=steps)


def _queues(engine: Engine, run_id: RunId, rows: OpenSteps, workers: Workers) -> Queues:
    """Read the queues of queued steps, unless the rows explain everything."""
    if rows.status is not RunState.RUNNING:
        return Queues()
    in_line = {wait.key for wait in rows.limits}
    queued = [
        step
        for step in rows.steps
        if step.state is StepState.QUEUED
        and step.share is None
        and not (step.index is None and step.key in in_line)
    ]
    if not queued:
        return Queues()
    of = {
        step.key: _queue_of(engine, run_id, step.key, step.shadow or step.name, step.queue)
        for step in queued
    }
    if all(rows.now - step.since < workers.fresh for step in queued):
        return Queues(of)
    known, broken = workers.get()
    depths: dict[str, int] = {}
    if broken is None:
        try:
            # Without the user's app, the queues are taken from the workers.
            consumed = {queue for worker in known or () for queue in worker.queues}
            asked = {queue for queue in of.values() if queue}
            asked |= consumed if "" in of.values() else set()
            depths = {
                queue: engine.dispatcher.depth(queue) for queue in sorted(asked)[:_MAX_QUEUES]
            }
        except BrokerUnavailable as error:
            broken = error.message
    return Queues(of, known, depths, broken, asked=True)


def _queue_of(engine: Engine, run_id: RunId, key: str, name: str, queue: str | None) -> str:
    if queue is None:
        try:
            queue = engine.definitions.get(run_id).step(key).queue
        except RunNotFound:
            queue = None
    try:
        return engine.dispatcher.queue_of(Message(node_id(run_id, key), run_id, name, key, queue))
    except BrokerUnavailable:
        return ""  # a router of the app raises: nothing is sent either, and that is reported
