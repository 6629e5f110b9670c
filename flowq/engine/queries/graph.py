"""A run as its pictures show it: one node per step, however many items or calls it has.

A map of ten thousand items is one node with counts. So are the calls of a program, or the steps of
a graph, of one name, when there are too many to be drawn one by one (`is_collapsed`). Such a node
has the time of its first begin and of its last end.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from flowq.core.expressions import describe
from flowq.core.graph import Graph
from flowq.core.ids import RunId
from flowq.core.references import references
from flowq.core.spec import FlowSpec, StepKind
from flowq.core.states import AttemptEnd, RunState, StepState


class EdgeKind(StrEnum):
    """Why a step comes after another one."""

    DATA = "data"  #: It reads what that one returned.
    CONDITION = "condition"  #: Its condition reads it, and may skip the step.
    ORDER = "order"  #: Nothing is read: `after`, or the next batch of a program.
    NEXT = "next"  #: A document says so.


@dataclass(frozen=True, slots=True)
class PictureEdge:
    """An edge: a step comes after another one."""

    before: str
    after: str
    kind: EdgeKind = EdgeKind.DATA
    condition: str | None = None  #: As its author would write it.


@dataclass(frozen=True, slots=True)
class PastAttempt:
    """An attempt that was followed by another one."""

    number: int
    started_at: datetime
    ended_at: datetime
    outcome: AttemptEnd
    worker: str | None = None
    error_type: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class ChildRun:
    """The run that a step has started."""

    id: RunId
    status: RunState


@dataclass(frozen=True, slots=True)
class PictureNode:
    """A step of a run, or several of one name.

    Attributes:
        key: The name used by edges; unique in the picture.
        name: Of the step type or flow.
        status: For several, that of the most urgent one.
        size: How many items or calls it stands for; None of a single step, and of a map whose list
            is not known yet.
        is_map: Whether it is a map.
        counts: How many of them are in each state; of a single step its own.
        created_at: When it was recorded; of a call or an item, that is when it was queued.
        started_at: When the last attempt of a single step began, else the first of them.
        first_started_at: When the first one began.
        ended_at: When it ended; None while any of it is open.
        attempts: Of the single step, or the most that one of them took.
        batch: Steps that became ready together have the same.
        past: Earlier attempts; empty for several.
        retried: How many earlier attempts there were in all.
        ended_in: How many of several ended in each part of `RunPicture.span`.
        failed_in: How many of those failed.
    """

    key: str
    name: str
    order: int
    kind: StepKind = StepKind.STEP
    status: StepState = StepState.PENDING
    size: int | None = None
    is_map: bool = False
    counts: Mapping[StepState, int] = field(default_factory=dict)
    created_at: datetime | None = None
    started_at: datetime | None = None
    first_started_at: datetime | None = None
    ended_at: datetime | None = None
    attempts: int = 0
    recoveries: int = 0
    batch: str | None = None
    worker: str | None = None
    error_type: str | None = None
    error: str | None = None
    child: ChildRun | None = None
    past: tuple[PastAttempt, ...] = ()
    retried: int = 0
    ended_in: Mapping[int, int] = field(default_factory=dict)
    failed_in: Mapping[int, int] = field(default_factory=dict)

    @property
    def began_at(self) -> datetime | None:
        """When it began; timers and signals, which have no attempt, begin when they are made."""
        waits = self.kind in {StepKind.TIMER, StepKind.SIGNAL}
        return self.created_at if waits and self.started_at is None else self.started_at

    def took(self, now: datetime) -> timedelta | None:
        """Return how long it took, or has taken so far: all attempts, and the time between them."""
        if self.first_started_at is None:
            return None
        return (self.ended_at or now) - self.first_started_at

    @property
    def is_many(self) -> bool:
        """Whether it stands for several."""
        return self.is_map or self.size is not None


@dataclass(frozen=True, slots=True)
class RunPicture:
    """The data of a run's pictures.

    Attributes:
        created_at: When it was recorded.
        nodes: Its steps in their order; of a program without the program itself.
        edges: Between them; of a program there are none, its batches follow one another.
        program: The node of the program, if it is one.
        total: How many steps or calls there are; more than nodes when it is collapsed.
        is_collapsed: Whether those of one name are one node.
        span: From when to when the parts of `ended_in` go.
        parts: How many parts that are.
    """

    run_id: RunId
    flow_name: str
    status: RunState
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    nodes: tuple[PictureNode, ...]
    edges: tuple[PictureEdge, ...]
    program: PictureNode | None
    total: int
    is_collapsed: bool
    span: tuple[datetime, datetime]
    parts: int


def spec_edges(spec: FlowSpec) -> tuple[PictureEdge, ...]:
    """Return the edges of a flow, each with its kind."""
    graph = Graph.of(spec)
    found: list[PictureEdge] = []
    for step in spec.steps:
        asked = {ref.step for ref in references(step.when)}
        items = step.map.items if step.map else None
        needed = {ref.step for ref in references([step.arguments, items])}
        for before in graph.dependencies[step.key]:
            if before in asked:
                label = describe(step.when)
                found.append(PictureEdge(before, step.key, EdgeKind.CONDITION, label))
            else:
                kind = EdgeKind.DATA if before in needed else EdgeKind.ORDER
                found.append(PictureEdge(before, step.key, kind))
    return tuple(found)


def spec_nodes(spec: FlowSpec) -> tuple[PictureNode, ...]:
    """Return the steps of a flow that has not run."""
    return tuple(
        PictureNode(step.key, step.name, place, step.kind, is_map=step.map is not None)
        for place, step in enumerate(spec.steps, start=1)
    )


#: The most urgent first: the state that is shown for a node of several steps.
_URGENCY: Final = (
    StepState.FAILED,
    StepState.RUNNING,
    StepState.RETRYING,
    StepState.WAITING,
    StepState.QUEUED,
    StepState.PENDING,
    StepState.CANCELLED,
    StepState.COMPLETED,
    StepState.SKIPPED,
)


def most_urgent(counts: Mapping[StepState, int]) -> StepState:
    """Return the most urgent state of several steps."""
    return next((state for state in _URGENCY if counts.get(state)), StepState.PENDING)


def by_names(spec: FlowSpec, orders: Mapping[str, int]) -> tuple[PictureEdge, ...]:
    """Return the edges between the names of steps; only forwards, so that there is no cycle.

    Args:
        orders: From each name to the place of its first step.
    """
    names = {step.key: step.name for step in spec.steps}
    found: dict[tuple[str, str], PictureEdge] = {}
    for edge in spec_edges(spec):
        pair = names[edge.before], names[edge.after]
        if orders.get(pair[0], 0) < orders.get(pair[1], 0):
            found.setdefault(pair, PictureEdge(*pair, EdgeKind.ORDER))
    return tuple(found.values())
