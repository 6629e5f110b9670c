"""The child runs of a run as a tree, bounded at each level; failed and open ones come first."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from flowq.core.ids import RunId
from flowq.core.states import RunState

#: Levels of the tree; runs of one step; and runs of one level.
MAX_LEVELS: Final = 4
MAX_OF_STEP: Final = 10
MAX_OF_LEVEL: Final = 100


@dataclass(frozen=True, slots=True)
class ChildRun:
    """A child run.

    Attributes:
        index: Of a map: the index of the item that waits for it.
        done: How many of its steps have ended, as its row says.
        total: How many it has, as far as known.
        steps: Its own child runs.
    """

    id: RunId
    flow_name: str
    status: RunState
    index: int | None
    started_at: datetime | None
    completed_at: datetime | None
    done: int
    total: int
    tokens: int
    cost: Decimal
    unpriced: int
    steps: tuple["ChildrenOfStep", ...] = ()


@dataclass(frozen=True, slots=True)
class ChildrenOfStep:
    """The child runs that one step has started.

    Attributes:
        key: The key of the step.
        count: How many there are,
        failed: and how many of them failed.
        runs: Some of them: `MAX_OF_STEP` at most.
    """

    key: str
    count: int
    failed: int
    runs: tuple[ChildRun, ...]
