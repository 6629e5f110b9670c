"""Ids, and how they are derived from one another.

A run's id is given from outside (a UUIDv7, so that ids sort by time). All others are *derived* from
it: a step run's from the run and the step's key, a child run's from its parent step. So ids are
known without a query, and a second start after a crash finds the first one. A batch's id contains
the place of the batch, so a message needs only this short string.
"""

from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import NewType
from uuid import UUID

RunId = NewType("RunId", UUID)
StepRunId = NewType("StepRunId", UUID)
LeaseToken = NewType("LeaseToken", UUID)

#: The smallest and the greatest id.
FIRST_ID = UUID(int=0)
LAST_ID = UUID(int=2**128 - 1)

#: Bits of a UUIDv7 below its time, and the number of its hex digits.
_BELOW_TIME = 80
_DIGITS = 32

#: Id of a batch and of its Celery group: the kind, then the place.
BatchId = NewType("BatchId", str)


class BatchKind(StrEnum):
    """The kind of a batch."""

    NODES = "n"  #: Nodes that were queued together.
    ITEMS = "m"  #: The items of a map.
    RUN = "r"  #: All steps of a run without open dependencies; for the sweeper.
    CALL = "c"  #: A call that its program awaits alone.
    CALLS = "g"  #: Calls of a program that are awaited as a group.
    TIMER = "t"  #: No batch: a timer of a program is due.
    START = "s"  #: No batch: a run that has not begun is due.


def batch_of_nodes(run_id: RunId, lead: StepRunId) -> BatchId:
    """Id of a batch of nodes, named after its first: each is queued once, so the id is unique."""
    return BatchId(BatchKind.NODES + run_id.hex + lead.hex[-12:])


def batch_of_items(node: StepRunId) -> BatchId:
    """Id of the batch of a map's items, named after the map's own node."""
    return BatchId(BatchKind.ITEMS + node.hex)


def batch_of_calls(run_id: RunId, lead: StepRunId, members: int) -> BatchId:
    """Id of a group of calls, or of one call, of a program, named after the first."""
    kind = BatchKind.CALL if members == 1 else BatchKind.CALLS
    return BatchId(kind + run_id.hex + lead.hex[-12:])


def batch_of_timer(run_id: RunId, timer: StepRunId) -> BatchId:
    """Id of a request to end the due timers of a program, named after one of them."""
    return BatchId(BatchKind.TIMER + run_id.hex + timer.hex[-12:])


def batch_of_run(run_id: RunId) -> BatchId:
    """Id of a request to advance all steps of a run without open dependencies."""
    return BatchId(BatchKind.RUN + run_id.hex)


def batch_of_start(run_id: RunId) -> BatchId:
    """Id of a request to start a run that has not begun."""
    return BatchId(BatchKind.START + run_id.hex)


def parse_batch(batch: BatchId) -> tuple[BatchKind, UUID]:
    """Return the kind of a batch, and the id of its run, or of its map's node."""
    return BatchKind(batch[0]), UUID(batch[1:33])


def node_id(run_id: RunId, key: str) -> StepRunId:
    """Id of a node of a run."""
    return StepRunId(_derived(run_id, f"node {key}"))


def item_id(node: StepRunId, index: int) -> StepRunId:
    """Id of one item of a map."""
    return StepRunId(_derived(node, f"item {index}"))


def child_run_id(step_run_id: StepRunId) -> RunId:
    """Id of the child run of a step: the same however often it is started."""
    return RunId(_derived(step_run_id, "child run"))


def _derived(parent: UUID, name: str) -> UUID:
    """Return a UUID with its parent's time, so that ids of one run are adjacent."""
    own = parent.bytes
    random = sha256(own + name.encode()).digest()[:10]
    number = int.from_bytes(own[:6] + random, "big")
    version, variant = 0xF << 76, 0x3 << 62
    return UUID(int=number & ~version & ~variant | 7 << 76 | 2 << 62)


def earliest_id(moment: datetime) -> UUID:
    """Return the smallest UUIDv7 of a moment: earlier ids are smaller."""
    return UUID(int=max(int(moment.timestamp() * 1000), 0) << _BELOW_TIME)


def ids_of_same_moment(one: UUID) -> tuple[UUID, UUID]:
    """Return the first and last UUIDv7 of an id's moment; derived ids are between them."""
    first = one.int >> _BELOW_TIME << _BELOW_TIME
    return UUID(int=first), UUID(int=first + (1 << _BELOW_TIME) - 1)


def ids_with_prefix(text: str) -> tuple[UUID, UUID] | None:
    """Return the first and last id with a prefix, as people shorten ids; None if there is none."""
    digits = text.replace("-", "").lower()
    if not 0 < len(digits) <= _DIGITS or set(digits) - set("0123456789abcdef"):
        return None
    return UUID(digits.ljust(_DIGITS, "0")), UUID(digits.ljust(_DIGITS, "f"))


def idempotency_key(step_run_id: StepRunId) -> str:
    """A key that is the same for all attempts of a step run; for outside APIs that accept one."""
    return f"flowq-{step_run_id}"
