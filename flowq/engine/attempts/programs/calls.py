"""The new calls of a program as rows of its run, and the messages for them."""

from collections.abc import Sequence
from dataclasses import replace

from flowq.core.ids import (
    BatchId,
    LeaseToken,
    RunId,
    StepRunId,
    batch_of_calls,
    batch_of_items,
    item_id,
    node_id,
)
from flowq.core.spec import CallSpec, StepKind
from flowq.core.states import StepState
from flowq.engine.advance.dispatch import batch_of, message, share_of
from flowq.engine.engine import Engine
from flowq.engine.model.programs import Claiming, NewCall, Suspension
from flowq.engine.model.rows import Batch, Message, NewStep
from flowq.engine.replay import ProgramCall


def new_call(run_id: RunId, call: ProgramCall, order: int, group: Sequence[str]) -> NewCall:
    """Return the row of a new call, with those of its items; it is awaited in this group."""
    row = node_id(run_id, call.key)
    lead = node_id(run_id, group[0])
    spec = CallSpec.model_construct(**{**dict(call.spec), "group": len(group)})
    items = _items(spec, row, order)
    state = StepState.QUEUED
    if spec.kind in (StepKind.TIMER, StepKind.SIGNAL):
        state = StepState.WAITING
    elif spec.map is not None:
        state = StepState.RUNNING if items else StepState.COMPLETED
    return NewCall(
        id=row,
        spec=spec,
        order=order,
        batch=batch_of_calls(run_id, lead, len(group)),
        state=state,
        delay=call.delay,
        items=items,
        shielded=call.after_cancel,
    )


def _items(spec: CallSpec, node: StepRunId, order: int) -> tuple[NewStep, ...]:
    if spec.map is None:
        return ()
    batch, parameter = batch_of_items(node), spec.map.parameter
    return tuple(
        NewStep(item_id(node, index), spec.key, spec.name, order, 0, {parameter: item}, batch)
        for index, item in enumerate(spec.map.items)
    )


def batches_of(engine: Engine, run_id: RunId, calls: Sequence[NewCall]) -> list[Batch]:
    """Return the batches to send for new calls; reused items of a map have none.

    Calls that clean up after a cancel are in no line: their time is short.
    """
    definition = engine.definitions.get(run_id).definition
    members: dict[str, list[NewCall]] = {}
    found: dict[BatchId, tuple[Message, ...]] = {}
    urgent: set[BatchId] = set()
    for call in calls:
        if call.shielded:
            urgent.add(batch_of_items(call.id) if call.items else call.batch)
        if call.items:
            messages = tuple(
                message(run_id, call.spec, index)
                for index in range(len(call.items))
                if index not in call.reused
            )
            if messages:
                found[batch_of_items(call.id)] = messages
        elif call.state is StepState.QUEUED:
            members.setdefault(call.batch, []).append(call)
    for group in members.values():
        messages = tuple(message(run_id, call.spec, None) for call in group)
        found[group[0].batch] = messages
    share = share_of(definition, sum(map(len, found.values())), follow=True)
    return [
        batch_of(engine, definition, batch, messages, None if batch in urgent else share)
        for batch, messages in found.items()
    ]


def claiming_next(
    engine: Engine, suspension: Suspension, token: LeaseToken | None = None
) -> Claiming | None:
    """Return how this process claims the call that it runs next; None if it runs none itself."""
    call = suspension.next_call
    if call is None or not call.spec.local or engine.leases.stopping:
        return None
    own = LeaseToken(engine.new_id()) if token is None else token
    return Claiming(own, engine.policies.lease, engine.worker)


def local_calls(
    calls: Sequence[NewCall], batches: Sequence[Batch]
) -> tuple[tuple[Message, ...], list[Batch]]:
    """Return the messages of calls that this process runs itself, and the batches without them.

    Those in the lines of a share wait for their turn as others do.
    """
    local = {call.id for call in calls if call.spec.local}
    if not local:
        return (), list(batches)
    here: list[Message] = []
    left: list[Batch] = []
    for batch in batches:
        ours = local if batch.share is None else set[StepRunId]()
        here += [message for message in batch.messages if message.id in ours]
        others = tuple(message for message in batch.messages if message.id not in ours)
        if others:
            left.append(replace(batch, messages=others))
    return tuple(here), left
