"""Identifiers, and how they are derived from one another.

A run's id is given from outside (a UUIDv7, so that ids sort by time). All others are *derived* from
it: a step run's from the run and the step's key, a child run's from the step that started it. So an
id is known without asking, and whatever is started twice after a crash finds the first one. A
batch's id says where it belongs, so one short string is all that a message needs.
"""

from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import NewType
from uuid import UUID

RunId = NewType("RunId", UUID)
StepRunId = NewType("StepRunId", UUID)
LeaseToken = NewType("LeaseToken", UUID)

#: Before, and after, every other id.
FIRST_ID = UUID(int=0)
LAST_ID = UUID(int=2**128 - 1)

#: Bits of a UUIDv7 below its time, and the hex digits of all of it.
_BELOW_TIME = 80
_DIGITS = 32

#: Id of a batch and of its Celery group: what it holds, then where.
BatchId = NewType("BatchId", str)


class BatchKind(StrEnum):
    """What a batch id stands for."""

    NODES = "n"  #: Nodes that were queued together.
    ITEMS = "m"  #: The items of a map.
    RUN = "r"  #: Whatever of a run waits for nothing; the sweeper's.
    CALL = "c"  #: What a program has called and awaits by itself.
    CALLS = "g"  #: What a program has called together, and awaits as a whole.
    TIMER = "t"  #: No batch: a timer of a program is due.


def batch_of_nodes(run_id: RunId, lead: StepRunId) -> BatchId:
    """Id of a batch of nodes, named after its first: each is queued once, so no id comes twice."""
    return BatchId(BatchKind.NODES + run_id.hex + lead.hex[-12:])


def batch_of_items(node: StepRunId) -> BatchId:
    """Id of the batch that holds the items of a map, named after the map's own node."""
    return BatchId(BatchKind.ITEMS + node.hex)


def batch_of_calls(run_id: RunId, lead: StepRunId, members: int) -> BatchId:
    """Id of what a program has called together, named after the first; may be one."""
    kind = BatchKind.CALL if members == 1 else BatchKind.CALLS
    return BatchId(kind + run_id.hex + lead.hex[-12:])


def batch_of_timer(run_id: RunId, timer: StepRunId) -> BatchId:
    """Id that asks to end the timers of a program that are due, named after one of them."""
    return BatchId(BatchKind.TIMER + run_id.hex + timer.hex[-12:])


def batch_of_run(run_id: RunId) -> BatchId:
    """Id that asks to advance whatever of a run waits for nothing."""
    return BatchId(BatchKind.RUN + run_id.hex)


def parse_batch(batch: BatchId) -> tuple[BatchKind, UUID]:
    """Return what a batch id stands for, and the id of its run, or of its map's node."""
    return BatchKind(batch[0]), UUID(batch[1:33])


def node_id(run_id: RunId, key: str) -> StepRunId:
    """Id of a node of a run."""
    return StepRunId(_derived(run_id, f"node {key}"))


def item_id(node: StepRunId, index: int) -> StepRunId:
    """Id of one item of a map."""
    return StepRunId(_derived(node, f"item {index}"))


def child_run_id(step_run_id: StepRunId) -> RunId:
    """Id of the child run that a step starts: the same however often it is started."""
    return RunId(_derived(step_run_id, "child run"))


def _derived(parent: UUID, name: str) -> UUID:
    """Return a UUID that keeps its parent's time, so that ids of one run lie side by side."""
    random = sha256(parent.bytes + name.encode()).digest()[:10]
    number = int.from_bytes(parent.bytes[:6] + random, "big")
    version, variant = 0xF << 76, 0x3 << 62
    return UUID(int=number & ~version & ~variant | 7 << 76 | 2 << 62)


def earliest_id(moment: datetime) -> UUID:
    """Return the least UUIDv7 of a moment: ids made before it are smaller."""
    return UUID(int=int(moment.timestamp() * 1000) << _BELOW_TIME)


def ids_of_same_moment(one: UUID) -> tuple[UUID, UUID]:
    """Return the first and last UUIDv7 of an id's moment: what is derived from it lies between."""
    first = one.int >> _BELOW_TIME << _BELOW_TIME
    return UUID(int=first), UUID(int=first + (1 << _BELOW_TIME) - 1)


def ids_with_prefix(text: str) -> tuple[UUID, UUID] | None:
    """Return the first and last id that begin with a text, as people shorten ids; None if none."""
    digits = text.replace("-", "").lower()
    if not 0 < len(digits) <= _DIGITS or set(digits) - set("0123456789abcdef"):
        return None
    return UUID(digits.ljust(_DIGITS, "0")), UUID(digits.ljust(_DIGITS, "f"))


def idempotency_key(step_run_id: StepRunId) -> str:
    """Key that stays the same over all attempts of a step run; for outside APIs that accept one."""
    return f"flowq-{step_run_id}"
