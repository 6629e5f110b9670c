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
        below: Its own child runs.
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
    below: "ChildrenOfRun | None" = None


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


@dataclass(frozen=True, slots=True)
class ChildrenOfRun:
    """The child runs of a run, without theirs.

    Attributes:
        count: How many there are,
        failed: and how many of them failed.
        steps: Some of the steps that have started them: those with failed ones come before others.
    """

    count: int = 0
    failed: int = 0
    steps: tuple[ChildrenOfStep, ...] = ()

    @property
    def left(self) -> int:
        """How many child runs are those of steps that are left out."""
        return self.count - sum(step.count for step in self.steps)

    @property
    def left_failed(self) -> int:
        """How many of those failed."""
        return self.failed - sum(step.failed for step in self.steps)
