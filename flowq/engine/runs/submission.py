"""Submits a run: checks the inputs, makes a spec of the flow, inserts the rows.

Nothing is recorded for a refused run. One transaction inserts the run with all its steps and queues
the first of them; messages are sent after the commit. If the broker is unreachable the run is still
accepted. Maps over lists that are known are expanded right after that; large ones by a worker, so
that the caller does not wait for the rows and messages of all items.

With an idempotency key the insert is also the check for an existing run: of concurrent callers one
inserts, and the others get its id. In the caller's transaction the rows become visible when the
caller commits; then those that exist are sent, and the others were rolled back.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Unpack
from uuid import UUID

from flowq.core.errors import FlowqError, InvalidInput, Unavailable
from flowq.core.ids import RunId, StepRunId, batch_of_run
from flowq.engine.advance.after import run_ready
from flowq.engine.advance.dispatch import after_commit, send, send_advance
from flowq.engine.advance.starting import start_due
from flowq.engine.engine import Engine
from flowq.engine.events import publish
from flowq.engine.model.rows import Definition
from flowq.engine.ports import Transaction
from flowq.engine.registry.registry import RegisteredFlow
from flowq.engine.runs.inherited import NOTHING, Inherited
from flowq.engine.runs.options import (
    Submission,
    SubmitOptions,
    listed,
    same_json,
    text_of,
)
from flowq.engine.runs.preparing import Reuse, Start, input_limit, prepare
from flowq.engine.runs.superseding import Superseded
from flowq.engine.runs.tracing import spanned

#: Runs of one `submit_many` that are recorded and sent together.
_GROUP = 25


@dataclass(frozen=True, slots=True)
class Continuation:
    """A run that is ready to replace another one."""

    old: RunId
    start: Start

    @property
    def _key(self) -> str | None:
        queueing = self.start.run.spec.queueing
        has_key = queueing is not None and queueing.singleton is not None
        return queueing.singleton_key if queueing is not None and has_key else None

    def insert(self, engine: Engine, tx: Transaction) -> None:
        """Insert it and link the old run with it, in the transaction that ends the old program."""
        new = self.start.run.id
        tx.runs.insert([self.start.run], engine.policies.resend_after)
        tx.runs.continue_as(self.old, new)
        if self._key is not None:
            tx.runs.pass_key_on(self.old, new, self._key)
        tx.signals.move(self.old, new)

    def send(self, engine: Engine) -> None:
        """Send its first batches, after the commit."""
        _send_first(engine, [self.start], Superseded())


@spanned
def submit(
    engine: Engine,
    flow: RegisteredFlow,
    inputs: Mapping[str, Any],
    *,
    parent: StepRunId | None = None,
    run_id: RunId | None = None,
    before: Callable[[Transaction], None] | None = None,
    mode: str = "async",
    inherited: Inherited = NOTHING,
    stored: bool = False,
    values: Mapping[str, Any] | None = None,
    document_id: UUID | None = None,
    schedule: str | None = None,
    reuse: Reuse | None = None,
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
        inherited: What a child run has from its parent.
        stored: Whether the inputs are stored JSON data, to be read and not validated as given.
        values: Given values, by the keys under which the spec of the flow refers to them.
        document_id: The stored document that it is started from.
        schedule: The name of the schedule that starts it.
        reuse: Of a rerun: finds what it reuses.
        options: The user and more; see `SubmitOptions`.

    Returns:
        The id of the run; with an idempotency key, that of the first run that was given it.

    Raises:
        InvalidInput: an input is missing, unknown, too large or of the wrong type; an option is not
            allowed; or a run with other inputs has the idempotency key.
        InvalidFlow: the flow cannot be made into a graph.
        DatabaseUnavailable: the run could not be recorded.
    """
    submission = Submission.of(options, input_limit(engine))
    start = prepare(
        engine,
        flow,
        inputs,
        submission,
        parent=parent,
        run_id=run_id,
        mode=mode,
        inherited=inherited,
        stored=stored,
        values=values,
        document_id=document_id,
        schedule=schedule,
        reuse=reuse,
    )
    return begin(engine, [start], options.get("session"), before)[0]


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
    inherited = Inherited(old.spec.charged_to, old.spec.labels)
    start = prepare(
        engine, flow, inputs, options, parent=old.parent, inherited=inherited, continues=old
    )
    return Continuation(old.run_id, start)


@spanned
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
        return begin(engine, starts, session)
    engine.records.autocommit(lambda tx: _taken(tx, starts))  # refuses before the first is recorded
    groups = [starts[first : first + _GROUP] for first in range(0, len(starts), _GROUP)]
    begun: list[RunId] = []
    for group in groups:
        try:
            begun += begin(engine, group)
        except Unavailable as error:
            if not begun:
                raise
            raise type(error)(
                f"the first {len(begun)} of {len(starts)} runs are recorded, then: {error.message}",
                hint="give idempotency_keys=[…] and call it again: only the missing runs are "
                "started",
            ) from error
    return begun


def begin(
    engine: Engine,
    starts: Sequence[Start],
    session: object = None,
    before: Callable[[Transaction], None] | None = None,
    after: Callable[[Transaction, set[RunId]], None] | None = None,
) -> list[RunId]:
    """Insert runs in one transaction and send them after it; returns the id of each.

    Args:
        engine: Where they are recorded and sent.
        starts: The runs.
        session: The caller's transaction, if there is one.
        before: Called first in the transaction,
        after: and last, with the ids of the inserted runs.
    """
    superseded = Superseded()

    def insert(tx: Transaction) -> tuple[set[RunId], dict[RunId, RunId]]:
        superseded.clear()
        if before is not None:
            before(tx)
        if session is not None:
            _taken(tx, starts)  # the caller may catch it and commit: insert nothing before it
        inserted = _insert(engine, tx, starts, superseded)
        if after is not None:
            after(tx, inserted)
        lost = [start for start in starts if start.run.id not in inserted]
        return inserted, {**superseded.instead, **_taken(tx, lost)}

    if session is None:
        inserted, others = engine.records.transaction(insert)
        _send_first(engine, [start for start in starts if start.run.id in inserted], superseded)
    else:
        enlisted = engine.records.enlist(session)
        # Before the insert: the caller may commit the rows of an insert that failed midway.
        enlisted.after_transaction(lambda: _begin_committed(engine, starts, superseded))
        _, others = enlisted.work(insert)
    return [others.get(start.run.id, start.run.id) for start in starts]


def _insert(
    engine: Engine, tx: Transaction, starts: Sequence[Start], superseded: Superseded
) -> set[RunId]:
    """Insert runs; those that begin later one by one, each after what it replaces."""
    resend_after = engine.policies.resend_after
    inserted = tx.runs.insert([one.run for one in starts if not one.run.waits], resend_after)
    for start in (one for one in starts if one.run.waits):
        if not _taken(tx, [start]) and superseded.admit(tx, start.run):
            inserted |= tx.runs.insert([start.run], resend_after)
    return inserted


def _send_first(engine: Engine, starts: Sequence[Start], superseded: Superseded) -> None:
    """Send the first batches, and decide steps that are not decided yet. Raises nothing."""
    with after_commit("%d cancelled runs end soon", len(superseded.cancelled)):
        superseded.end(engine)
    with after_commit("%d runs are recorded; the sweeper will start them", len(starts)):
        for start in starts:
            engine.definitions.add(start.definition, start.graph)
            publish.run_started(engine, start.definition)
            if start.run.rerun is not None:
                publish.reused(engine, start.run.id, start.run.rerun.rows)
        send(engine, [batch for start in starts for batch in start.batches(engine)])
        for start in starts:
            if start.run.waits:
                start_due(engine, start.run.id)
            elif start.items > engine.policies.expand_at_once:
                send_advance(engine, [batch_of_run(start.run.id)], priority=start.run.priority)
            elif start.undecided or not start.queued:
                run_ready(engine, start.run.id)


def _begin_committed(engine: Engine, starts: Sequence[Start], superseded: Superseded) -> None:
    """Start the runs that the caller has committed. Raises nothing."""
    with after_commit("the sweeper will start those of %d runs that are recorded", len(starts)):
        ids = [start.run.id for start in starts]
        there = engine.records.autocommit(lambda tx: tx.runs.among(ids))
        committed = [start for start in starts if start.run.id in there]
        _send_first(engine, committed, superseded if committed else Superseded())


def _taken(tx: Transaction, starts: Sequence[Start]) -> dict[RunId, RunId]:
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
) -> list[Start]:
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
    starts: list[Start] = []
    for index, (one, key) in enumerate(zip(inputs, each, strict=True)):
        try:
            own = Submission.of({**options, "idempotency_key": key}, input_limit(engine))
            starts.append(prepare(engine, flow, one, own))
        except FlowqError as error:
            raise type(error)(f"inputs[{index}]: {error.message}", hint=error.hint) from error
        except Exception as error:
            error.add_note(f"raised by the flow's function for inputs[{index}]")
            raise
    return starts
