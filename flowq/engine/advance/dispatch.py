"""Messages to workers: building them, and sending them in batches.

Messages are sent after the commit. While the broker is unreachable the steps stay queued in their
rows, and the sweeper sends them later.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

from flowq.core.errors import BrokerUnavailable, RunNotFound, RunUnreadable, Unavailable
from flowq.core.ids import (
    BatchId,
    RunId,
    batch_of_items,
    batch_of_nodes,
    item_id,
    node_id,
    parse_batch,
)
from flowq.core.spec import StepSpec
from flowq.engine.advance.unreadable import set_aside
from flowq.engine.engine import Engine
from flowq.engine.events import publish
from flowq.engine.model.rows import Batch, Definition, Message, StepRef

logger = logging.getLogger(__name__)


@contextmanager
def after_commit(what: str, *args: object) -> Iterator[None]:
    """Run what follows a commit: an error in it is logged, and the work left to the sweeper.

    The caller must not take what is recorded for a failure: on a retry it would record it twice.

    Args:
        what: What was recorded and is not done yet, for the log.
        args: Its arguments, as the log takes them.
    """
    try:
        yield
    except Unavailable as error:
        logger.warning("%s: %s", what % args, error, extra={"action": "send_failed"})
    except Exception:
        logger.exception(what, *args, extra={"action": "send_failed"})


def message(run_id: RunId, step: StepSpec, index: int | None) -> Message:
    """Return the message for a node, or for one item of a map."""
    node = node_id(run_id, step.key)
    if index is None:
        return Message(node, run_id, step.name, step.key, step.queue, step.shadow)
    label = f"{step.key}[{index}]"
    return Message(item_id(node, index), run_id, step.name, label, step.queue, step.shadow)


def node_batch(
    engine: Engine, definition: Definition, batch: BatchId, keys: Iterable[str]
) -> Batch:
    """Return a batch of nodes."""
    step = definition.spec.step
    messages = tuple(message(definition.run_id, step(key), None) for key in keys)
    in_chord = len(messages) >= engine.policies.chord_from
    return Batch(batch, messages, in_chord, definition.priority)


def program_batch(engine: Engine, run_id: RunId) -> Batch:
    """Return the message that resumes a program."""
    definition = engine.definitions.get(run_id).definition
    program = definition.spec.program
    assert program is not None
    batch = batch_of_nodes(run_id, node_id(run_id, program.key))
    one = message(run_id, program, None)
    return Batch(batch, (one,), in_chord=False, priority=definition.priority)


def send(engine: Engine, batches: Sequence[Batch], *, again: bool = False) -> None:
    """Send batches; while the broker is unreachable they stay queued for the sweeper.

    Args:
        batches: What to send; may be empty.
        again: Whether the event that these steps are queued was already published.
    """
    if not batches:
        return
    if not again:
        publish.batches_started(engine, batches)
    try:
        engine.dispatcher.send(batches)
    except BrokerUnavailable as error:
        logger.warning(
            "%d steps are queued but were not sent; the sweeper will send them: %s",
            sum(len(batch.messages) for batch in batches),
            error,
            extra={"action": "send_failed"},
        )


def send_advance(
    engine: Engine,
    batches: Sequence[BatchId],
    delay: timedelta | None = None,
    *,
    priority: int = 0,
) -> None:
    """Request advances, perhaps after a delay; if the broker is unreachable the sweeper does.

    Args:
        priority: That of their run.
    """
    try:
        engine.dispatcher.send_advance(batches, delay, priority)
    except BrokerUnavailable as error:
        extra = {"action": "send_failed"}
        logger.warning("%d advances are left to the sweeper: %s", len(batches), error, extra=extra)


def by_priority(engine: Engine, batches: Sequence[BatchId]) -> dict[int, list[BatchId]]:
    """Group batches of several runs by the priorities of these.

    Raises:
        DatabaseUnavailable: they cannot be read now.
    """
    named = {batch: parse_batch(batch)[1] for batch in batches}
    urgent = engine.records.autocommit(lambda tx: tx.runs.urgent(list(named.values())))
    groups: dict[int, list[BatchId]] = {}
    for batch, one in named.items():
        groups.setdefault(urgent.get(one, 0), []).append(batch)
    return groups


def resend(engine: Engine, batches: Sequence[Batch]) -> None:
    """Resend steps, each as a message of its own: it advances by itself, without its chord."""
    if batches:
        count = len(batches)
        extra = {"action": "resend", "steps": count}
        logger.info("resending %d steps", count, extra=extra)
    send(engine, batches, again=True)


def alone(engine: Engine, places: Sequence[StepRef]) -> list[Batch]:
    """Return a separate batch for each step."""
    batches: list[Batch] = []
    for place in places:
        try:
            known = engine.definitions.get(place.run_id)
            step = known.step(place.key)
        except RunNotFound:
            continue  # deleted meanwhile, with its steps
        except RunUnreadable as error:
            set_aside(engine, place.run_id, error)
            continue
        one = message(place.run_id, step, place.map_index)
        priority = known.definition.priority
        batches.append(Batch(_batch_of(place), (one,), in_chord=False, priority=priority))
    return batches


def _batch_of(place: StepRef) -> BatchId:
    node = node_id(place.run_id, place.key)
    return batch_of_nodes(place.run_id, node) if place.map_index is None else batch_of_items(node)
