"""The page of a flow: `/flows/by-name/<name>`, its definition and statistics of its runs."""

from datetime import UTC, datetime
from functools import partial
from typing import Final

from tornado.web import authenticated

from flowq.core.errors import FlowNotFound
from flowq.engine.engine import Engine
from flowq.engine.ports import Transaction
from flowq.engine.queries.flow_page import (
    MAX_CHILDREN,
    MAX_NODES,
    MAX_RUNS,
    MAX_RUNS_OF_STEPS,
    MAX_STEPS,
    FlowGrid,
    FlowHistory,
    StepFigures,
    figures,
)
from flowq.entrypoints import formatting
from flowq.entrypoints.flower.page import PageHandler
from flowq.entrypoints.flower.pages import windows
from flowq.entrypoints.flower.pictures.graph import flow_graph
from flowq.entrypoints.flower.pictures.grid import grid_rows, trend

WINDOWS: Final = (windows.DAY, windows.WEEK, windows.MONTH)
#: Steps in each of the two lists.
_MAX_LISTED: Final = 10


class FlowPage(PageHandler):
    """`/flows/by-name/<name>`."""

    @authenticated
    async def get(self, name: str) -> None:
        """Show a flow."""
        now = datetime.now(UTC)
        window = windows.chosen(self.get_query_argument("window", ""), WINDOWS, windows.WEEK)
        history, grid, is_known = await self.read(
            partial(_read, name=name, since=window.since(now))
        )
        self.show(
            "flow",
            history=history,
            sums=figures(history.runs),
            slowest=slowest(history.steps),
            dearest=dearest(history.steps),
            grid=grid,
            max_nodes=MAX_NODES,
            rows=grid_rows(grid, self.reverse_url),
            duration=trend(grid, "Duration"),
            cost=trend(grid, "Cost"),
            graph=flow_graph(
                history.spec, link=lambda child: self.reverse_url("flow-by-name", child)
            ),
            window=window,
            windows=WINDOWS,
            limits=_limits(history),
            now=now,
            can_start=is_known and not self.read_only,
        )


def slowest(steps: tuple[StepFigures, ...]) -> list[StepFigures]:
    """Return the steps with the longest times, the longest first."""
    timed = [step for step in steps if step.p95_ms is not None]
    return sorted(timed, key=lambda step: (-(step.p95_ms or 0), step.name))[:_MAX_LISTED]


def dearest(steps: tuple[StepFigures, ...]) -> list[StepFigures]:
    """Return the steps with the highest cost, or the most tokens; omit those without either."""
    paid = [step for step in steps if step.cost or step.tokens]
    return sorted(paid, key=lambda step: (-step.cost, -step.tokens, step.name))[:_MAX_LISTED]


def _limits(history: FlowHistory) -> list[str]:
    """Return which runs or steps the figures omit, if any."""
    found = []
    if history.is_cut:
        found.append(f"Runs: the latest {formatting.count(MAX_RUNS)} in this period.")
    if len(history.runs) > MAX_RUNS_OF_STEPS:
        found.append(f"Steps: those of the latest {formatting.count(MAX_RUNS_OF_STEPS)} runs.")
    if sum(step.runs for step in history.steps) >= MAX_STEPS:
        found.append(f"Step runs: {formatting.count(MAX_STEPS)} at most.")
    if history.lacks_children:
        found.append(f"Child runs: {formatting.count(MAX_CHILDREN)} at most; costs are higher.")
    return found


def _read(engine: Engine, name: str, since: datetime) -> tuple[FlowHistory, FlowGrid, bool]:
    def read(tx: Transaction) -> tuple[FlowHistory | None, FlowGrid, bool]:
        return (
            tx.overview.history(name, since=since),
            tx.overview.grid(name),
            tx.requested.flow(name) is not None,
        )

    history, grid, is_known = engine.records.autocommit(read)
    if history is None:
        raise FlowNotFound(f"no run of a flow {name!r} is recorded", hint="see the list of flows")
    return history, grid, is_known
