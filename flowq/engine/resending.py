"""Sending steps that are queued already: each on its own, whatever became of its batch."""

import logging
from collections.abc import Sequence

from flowq.core.errors import RunNotFound, RunUnreadable
from flowq.core.ids import BatchId, batch_of_items, batch_of_nodes, node_id
from flowq.engine.engine import Engine
from flowq.engine.rows import Batch, StepPlace
from flowq.engine.sending import message, send_again
from flowq.engine.unreadable import set_aside

logger = logging.getLogger(__name__)


def resend(engine: Engine, batches: Sequence[Batch]) -> None:
    """Send steps again, each on its own: it advances by itself, whatever became of its chord."""
    if batches:
        count = len(batches)
        extra = {"action": "resend", "steps": count}
        logger.info("sending %d steps again", count, extra=extra)
    send_again(engine, batches)


def alone(engine: Engine, places: Sequence[StepPlace]) -> list[Batch]:
    """Return a batch of its own for each step."""
    batches: list[Batch] = []
    for place in places:
        try:
            step = engine.definitions.get(place.run_id).step(place.key)
        except RunNotFound:
            continue  # deleted meanwhile, with its steps
        except RunUnreadable as error:
            set_aside(engine, place.run_id, error)
            continue
        one = message(place.run_id, step, place.map_index)
        batches.append(Batch(_batch_of(place), (one,), joined=False))
    return batches


def _batch_of(place: StepPlace) -> BatchId:
    node = node_id(place.run_id, place.key)
    return batch_of_nodes(place.run_id, node) if place.map_index is None else batch_of_items(node)
