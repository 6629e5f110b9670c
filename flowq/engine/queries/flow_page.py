"""What the page of a flow shows: outcomes, time and cost of its latest runs.

All figures are of a bounded number of runs and step runs, so the page of a flow with a million runs
takes as long as one with a thousand. A percentile is the nearest-rank one: a value that did occur.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from math import ceil
from typing import Any, Final, TypeVar

from flowq.core.ids import RunId
from flowq.core.spec import FlowSpec
from flowq.core.states import RunState, StepState
from flowq.core.usage import Usage

#: How many runs of a flow are read, the latest;
MAX_RUNS: Final = 1_000
#: the steps of how many of them;
MAX_RUNS_OF_STEPS: Final = 100
#: how many of their step runs, at most;
MAX_STEPS: Final = 50_000
#: and how many child runs, with theirs.
MAX_CHILDREN: Final = 50_000

#: How many runs a grid has, and how many steps.
GRID_RUNS: Final = 25
GRID_STEPS: Final = 100
#: Step runs of each run that are read for a grid.
MAX_NODES: Final = 2_000

_Value = TypeVar("_Value", int, Decimal)


@dataclass(frozen=True, slots=True)
class PastRun:
    """A run as the figures of its flow count it.

    Attributes:
        used: By the run with its child runs, and theirs.
        is_within: Whether it is below another run of the same figures, which includes its usage.
    """

    id: RunId
    status: RunState
    execution_time_ms: int | None
    used: Usage
    is_within: bool = False


@dataclass(frozen=True, slots=True)
class ChildUsage:
    """What a child run has used, without its own child runs."""

    id: RunId
    parent: RunId
    used: Usage


@dataclass(frozen=True, slots=True)
class StepFigures:
    """How the step runs of one step went."""

    name: str  #: Its key; of a step that a program calls, its registered name.
    runs: int
    failed: int
    median_ms: int | None  #: How long its code ran, in all attempts, as `p95_ms`.
    p95_ms: int | None
    tokens: int
    cost: Decimal
    unpriced: int = 0


@dataclass(frozen=True, slots=True)
class GridCell:
    """What became of a step in one run; of several calls of a program the worst state.

    Attributes:
        key: Its key; None of several calls.
        ms: How long its code ran; of a map it is not known.
    """

    status: StepState
    count: int
    key: str | None
    ms: int | None


@dataclass(frozen=True, slots=True)
class GridRun:
    """A run with its steps, by name: the key, or of calls of a program the registered name.

    Its cost, and the number of calls whose cost is unknown, include its child runs.
    """

    id: RunId
    status: RunState
    created_at: datetime
    execution_time_ms: int | None
    cost: Decimal
    unpriced: int
    cells: Mapping[str, GridCell]


@dataclass(frozen=True, slots=True)
class FlowGrid:
    """The steps of a flow in its latest runs.

    Attributes:
        steps: The names of the steps, in their order.
        runs: The runs, the newest last.
        left: How many steps are left out, of those that were read.
        is_cut: Whether a run has more than `MAX_NODES` step runs; the others were not read.
        lacks_children: Whether there are more child runs than were read: costs are a lower bound.
    """

    steps: tuple[str, ...]
    runs: tuple[GridRun, ...]
    left: int = 0
    is_cut: bool = False
    lacks_children: bool = False


@dataclass(frozen=True, slots=True)
class FlowHistory:
    """The latest runs of a flow, in a window of time.

    Attributes:
        newest: The newest run of all, in the window or not.
        spec: What that run was.
        runs: Those in the window, the newest first; `MAX_RUNS` at most.
        steps: Of the step runs of the newest `runs_of_steps` of them.
        lacks_children: Whether there are more child runs than were read: costs are a lower bound.
    """

    name: str
    newest: RunId
    newest_at: datetime
    spec: FlowSpec
    runs: tuple[PastRun, ...]
    runs_of_steps: int
    steps: tuple[StepFigures, ...]
    lacks_children: bool = False

    @property
    def is_cut(self) -> bool:
        """Whether there may be more runs in the window than were read."""
        return len(self.runs) >= MAX_RUNS


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures of a set of runs.

    Attributes:
        success: Completed runs among those that have completed or failed; None if none has.
        median_ms: Of the completed runs, as `p95_ms`.
        median_cost: Of the completed runs, with their child runs, as `p95_cost`: one that failed
            early has cost less than a run does.
        unpriced: Calls of models whose cost is unknown, so not in the costs.
    """

    total: int
    open: int
    completed: int
    failed: int
    cancelled: int
    success: float | None
    median_ms: int | None
    p95_ms: int | None
    median_cost: Decimal | None
    p95_cost: Decimal | None
    tokens: int
    cost: Decimal
    unpriced: int


def figures(runs: Sequence[PastRun]) -> Figures:
    """Compute the figures of runs."""
    states = [run.status for run in runs]
    completed, failed = states.count(RunState.COMPLETED), states.count(RunState.FAILED)
    cancelled = states.count(RunState.CANCELLED)
    times = [
        run.execution_time_ms
        for run in runs
        if run.status is RunState.COMPLETED and run.execution_time_ms is not None
    ]
    costs = [run.used.cost for run in runs if run.status is RunState.COMPLETED]
    used = sum((run.used for run in runs if not run.is_within), Usage())
    return Figures(
        total=len(runs),
        open=len(runs) - completed - failed - cancelled,
        completed=completed,
        failed=failed,
        cancelled=cancelled,
        success=completed / (completed + failed) if completed + failed else None,
        median_ms=percentile(times, 0.5),
        p95_ms=percentile(times, 0.95),
        median_cost=percentile(costs, 0.5),
        p95_cost=percentile(costs, 0.95),
        tokens=used.tokens,
        cost=used.cost,
        unpriced=used.unpriced,
    )


def with_child_runs(runs: Sequence[PastRun], children: Sequence[ChildUsage]) -> tuple[PastRun, ...]:
    """Add what child runs have used to the runs that they are below, however deep."""
    parents: Mapping[RunId, RunId] = {child.id: child.parent for child in children}
    below = {run.id: run.used for run in runs}
    within: set[RunId] = set()
    for child in children:
        above: RunId | None = child.parent
        while above is not None:
            if above in below:
                below[above] += child.used
                within.add(child.id)
            above = parents.get(above)
    return tuple(replace(run, used=below[run.id], is_within=run.id in within) for run in runs)


def percentile(values: Sequence[_Value], share: float) -> Any:
    """Return the nearest-rank percentile of the values; None without values."""
    if not values:
        return None
    return sorted(values)[max(ceil(share * len(values)) - 1, 0)]
