"""Messages to workers: building them, and sending them in batches.

Messages are sent after the commit. While the broker is unreachable the steps stay queued in their
rows, and the sweeper sends them later.

Steps of a share are queued in its lines instead (see `core.limits.shares`), and sent in bunches:
when they are queued, when a worker has claimed a step of the line, and by the sweeper. One step
that follows another is sent at once, so that runs that have begun come to their end first.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

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
from flowq.core.limits.shares import place_in_line
from flowq.core.spec import StepSpec
from flowq.engine.advance.unreadable import set_aside
from flowq.engine.engine import Engine
from flowq.engine.events import publish
from flowq.engine.model.rows import Batch, Definition, Message, StepRef
from flowq.engine.ports import Line

logger = logging.getLogger(__name__)

#: How often a line is looked at whose steps other transactions hold; then it is the sweeper's.
_LOOKS: Final = 3


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


def share_of(definition: Definition, steps: int, *, follow: bool) -> str | None:
    """Return the share in whose lines steps are queued; None if they are sent at once.

    Args:
        definition: That of their run.
        steps: How many they are.
        follow: Whether they follow a step that has ended.
    """
    return None if follow and steps == 1 else definition.spec.share


def first_look(engine: Engine, definition: Definition, share: str | None) -> timedelta:
    """Return when the sweeper first looks at steps that are queued now, in the lines of a share."""
    return engine.policies.resend_after if share is None else place_in_line(definition.priority)


def node_batch(
    engine: Engine,
    definition: Definition,
    batch: BatchId,
    keys: Iterable[str],
    share: str | None,
) -> Batch:
    """Return a batch of nodes, which are queued in the lines of a share or sent at once."""
    step = definition.spec.step
    messages = tuple(message(definition.run_id, step(key), None) for key in keys)
    return batch_of(engine, definition, batch, messages, share)


def batch_of(
    engine: Engine,
    definition: Definition,
    batch: BatchId,
    messages: Sequence[Message],
    share: str | None,
) -> Batch:
    """Return a batch of a run, as `node_batch`."""
    in_chord = len(messages) >= engine.policies.chord_from
    return Batch(batch, messages, in_chord, definition.priority, share=share)


def program_batch(engine: Engine, run_id: RunId) -> Batch:
    """Return the message that resumes a program."""
    definition = engine.definitions.get(run_id).definition
    program = definition.spec.program
    assert program is not None
    batch = batch_of_nodes(run_id, node_id(run_id, program.key))
    one = message(run_id, program, None)
    return Batch(batch, (one,), in_chord=False, priority=definition.priority)


def send(engine: Engine, batches: Sequence[Batch], *, again: bool = False) -> None:
    """Send batches, those in lines as far as it is their turn; raises nothing.

    While the broker or the database is unreachable they stay queued for the sweeper.

    Args:
        batches: What to send; may be empty.
        again: Whether the event that these steps are queued was already published.
    """
    if not batches:
        return
    if not again:
        publish.batches_started(engine, batches)
    at_once = [batch for batch in batches if batch.share is None]
    try:
        if at_once:
            engine.dispatcher.send(at_once)
    except BrokerUnavailable as error:
        logger.warning(
            "%d steps are queued but were not sent; the sweeper will send them: %s",
            sum(len(batch.messages) for batch in at_once),
            error,
            extra={"action": "send_failed"},
        )
    if len(at_once) < len(batches):
        _send_lines(engine, batches)


def _send_lines(engine: Engine, batches: Sequence[Batch]) -> None:
    names = {(one.share, message.name) for one in batches for message in one.messages}
    try:
        for line in sorted(Line(share, name) for share, name in names if share is not None):
            send_next(engine, line)
    except Unavailable as error:
        extra = {"action": "send_failed"}
        logger.warning("the lines of a share are left to the sweeper: %s", error, extra=extra)


def send_next(engine: Engine, line: Line) -> int:
    """Send the next steps of a line, if half of its window is free; returns how many.

    Who finds the line locked leaves it to the process that has locked it, so that no claim waits
    for a process that has stopped. That one may have counted before the claim; so if it has sent
    nothing, it looks again after its commit. If it dies, the sweeper sends.

    Raises:
        DatabaseUnavailable: that could not be recorded.
    """
    window, resend_after = engine.policies.share_window, engine.policies.resend_after
    for _ in range(_LOOKS):
        places = engine.records.transaction(lambda tx: tx.shares.take(line, window, resend_after))
        if places is None:
            return 0
        if places:
            send(engine, alone(engine, places), again=True)
            return len(places)
        if not engine.records.autocommit(lambda tx: tx.shares.has_room(line, window)):
            return 0
    return 0


def place_is_free(engine: Engine, run_id: RunId, key: str, name: str | None = None) -> None:
    """Send the next steps of the line of a step that waits no longer.

    A run without a share costs nothing here. If the database is unreachable the sweeper does it.

    Args:
        key: The key of the step.
        name: The name of its step type, if the caller has it.

    Raises:
        RunUnreadable: its rows cannot be read.
        RunNotFound: it was deleted.
    """
    try:
        known = engine.definitions.get(run_id)
        share = known.definition.spec.share
        if share is None:
            return
        line, window = Line(share, name or known.step(key).name), engine.policies.share_window
        if engine.records.autocommit(lambda tx: tx.shares.has_room(line, window)):
            send_next(engine, line)
    except Unavailable as error:
        extra = {"action": "send_failed"}
        logger.warning("the line of %s is left to the sweeper: %s", key, error, extra=extra)


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


def alone(engine: Engine, places: Sequence[StepRef], *, in_line: bool = False) -> list[Batch]:
    """Return a separate batch for each step.

    Args:
        in_line: Whether those whose run has a share are in the lines of it.
    """
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
        share = known.definition.spec.share if in_line else None
        batches.append(Batch(_batch_of(place), (one,), False, priority, share=share))
    return batches


def _batch_of(place: StepRef) -> BatchId:
    node = node_id(place.run_id, place.key)
    return batch_of_nodes(place.run_id, node) if place.map_index is None else batch_of_items(node)
