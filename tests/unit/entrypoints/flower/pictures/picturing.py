"""Runs to draw, written down in seconds since their beginning."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from flowq.core.ids import RunId
from flowq.core.states import AttemptEnd, RunState, StepState
from flowq.engine.queries.graph import PastAttempt, PictureEdge, PictureNode, RunPicture

BEGIN = datetime(2030, 1, 1, 9, tzinfo=UTC)
RUN = RunId(UUID(int=1))
CHILD = RunId(UUID(int=2))


def at(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


def node(
    key: str,
    began: float | None = None,
    ended: float | None = None,
    status: StepState = StepState.COMPLETED,
    *,
    created: float = 0,
    **more: Any,
) -> PictureNode:
    return PictureNode(
        key=key,
        name=more.pop("name", f"steps.{key}"),
        order=more.pop("order", 1),
        status=status,
        counts=more.pop("counts", {status: 1}),
        created_at=at(created),
        started_at=None if began is None else at(began),
        ended_at=None if ended is None else at(ended),
        **more,
    )


def past(
    number: int, began: float, ended: float, outcome: AttemptEnd = AttemptEnd.FAILED
) -> PastAttempt:
    return PastAttempt(number, at(began), at(ended), outcome)


def written(edge: str) -> PictureEdge:
    before, _, after = edge.partition(">")
    return PictureEdge(before, after)


def run(
    nodes: Sequence[PictureNode],
    edges: Sequence[str] = (),
    status: RunState = RunState.COMPLETED,
    ended: float | None = None,
    **more: Any,
) -> RunPicture:
    """A run; an edge is written `a>b`."""
    return RunPicture(
        run_id=RUN,
        flow_name=more.pop("flow_name", "demo"),
        status=status,
        created_at=BEGIN,
        started_at=BEGIN,
        ended_at=None if ended is None else at(ended),
        nodes=tuple(nodes),
        edges=tuple(map(written, edges)) + more.pop("also", ()),
        program=more.pop("program", None),
        total=more.pop("total", len(nodes)),
        is_collapsed=more.pop("is_collapsed", False),
        span=(BEGIN, at(ended or 10)),
        parts=more.pop("parts", 10),
        **more,
    )
