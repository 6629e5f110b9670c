"""What pages show of runs: read models, each with one query or a few, whatever the size of a run.

The values stand in files of their own beside `flowq.engine.model.rows`.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from flowq.core.ids import RunId, StepRunId
from flowq.core.spec import FlowSpec
from flowq.core.states import StepState
from flowq.core.usage import Usage
from flowq.engine.model.rows import StepProgress, StepView
from flowq.engine.model.waits import OpenSteps, QueuedSteps, WaitingSteps
from flowq.engine.queries.flow_page import FlowHistory
from flowq.engine.queries.graph import RunPicture
from flowq.engine.queries.lists import (
    BudgetedRun,
    BudgetUsage,
    CacheSavings,
    Cursor,
    FlowHistoryBar,
    RunFilter,
    RunsPage,
)
from flowq.engine.queries.live import RunSummary
from flowq.engine.queries.metrics import CallSums, EndedRun, MetricsSnapshot, StepSums
from flowq.engine.queries.run_page import FailedStep, ItemView, RunPage, StepCost


class Lists(Protocol):
    """Lists of runs, and figures of flows."""

    def runs_page(
        self, wanted: RunFilter, *, at: Cursor | None = None, limit: int = 50
    ) -> RunsPage:
        """A part of the runs that are wanted; without a cursor the newest.

        What comes after a cursor is given as it would be without one when it is all there is: a
        page that begins with the newest run is always full.
        """

    def has_runs(self) -> bool:
        """Whether there is any run."""

    def flow_names(self, *, limit: int = 200) -> list[str]:
        """The names of flows that have run, in their order."""

    def history_bars(
        self, *, flow_name: str | None = None, flows: int = 50, runs: int = 20
    ) -> list[FlowHistoryBar]:
        """The latest runs of each flow; the flow with the latest run first.

        Args:
            flow_name: Of this flow alone.
            flows: Of so many flows at most,
            runs: and so many runs of each.
        """

    def history(self, flow_name: str, *, since: datetime) -> FlowHistory | None:
        """The latest runs of a flow since a moment; None when it has no run at all."""

    def monthly_budgets(self, *, limit: int = 100) -> list[BudgetUsage]:
        """What flows and users have spent in this month, of those that have a budget."""

    def latest_specs(self, flow_names: Sequence[str]) -> dict[str, FlowSpec]:
        """What the newest run of each flow was; a flow without a run is left out."""

    def budgeted_runs(self, *, limit: int = 20) -> list[BudgetedRun]:
        """The newest open runs that have a budget of their own."""

    def saved(
        self, *, since: datetime, flow_name: str | None = None, user_id: str | None = None
    ) -> CacheSavings:
        """What was taken from the cache since a moment."""


class Pictures(Protocol):
    """What the pictures of runs are drawn from."""

    def picture(self, run_id: RunId, *, now: datetime) -> RunPicture | None:
        """A run with its steps, those of a map counted; None when there is no such run.

        Args:
            run_id: The run.
            now: Until when the parts of `RunPicture.span` go while the run continues.
        """


class RunPages(Protocol):
    """What the page of one run shows."""

    def run_page(self, run_id: RunId) -> RunPage | None:
        """The head of a run's page; None when there is no such run."""

    def steps(
        self,
        run_id: RunId,
        *,
        limit: int,
        after: int | None = None,
        before: int | None = None,
        status: StepState | None = None,
        text: str | None = None,
        key: str | None = None,
    ) -> list[StepView]:
        """Some steps of a run in their order, without inputs and metadata; a map is one of them.

        Args:
            run_id: The run.
            limit: How many at most.
            after: Only those whose `order` is larger.
            before: Only those whose `order` is smaller: the last ones of these.
            status: Only those in this state, and maps with an item in it.
            text: Only those with this in their key, name, worker or error.
            key: Only the one of this key.
        """

    def items(
        self,
        run_id: RunId,
        key: str,
        *,
        limit: int,
        after: int | None = None,
        before: int | None = None,
        status: StepState | None = None,
    ) -> list[ItemView]:
        """Some items of a map, by index: those after one, or the last before one."""

    def failures(
        self, run_id: RunId, *, limit: int, step: StepRunId | None = None
    ) -> list[FailedStep]:
        """What has failed, the first failure first; items stand for their map.

        Args:
            run_id: The run.
            limit: How many at most.
            step: Only this node, or the items of this map.
        """

    def step_costs(self, run_id: RunId, *, limit: int, by_name: bool = False) -> list[StepCost]:
        """What steps have used or spared, the most expensive first; those with nothing left out.

        Args:
            run_id: The run.
            limit: How many at most.
            by_name: Sum those of one name, not those of one key: for what a program has called.
        """

    def newest_progress(self, run_id: RunId, *, limit: int) -> list[StepProgress]:
        """The step runs to which something happened last, in step order."""

    def result_bytes(self, run_id: RunId, keys: Sequence[str]) -> int:
        """How large the recorded results of steps are together; of a map those of its items."""


class LiveRuns(Protocol):
    """How runs stand now, asked again and again."""

    def recent(self, *, newest: int, unended: int, also: Sequence[RunId] = ()) -> list[RunSummary]:
        """The newest runs, the newest of those that have not ended, and some more.

        Args:
            newest: How many runs.
            unended: How many that have not ended.
            also: Others.
        """

    def progress(self, runs: Sequence[RunId]) -> Mapping[RunId, tuple[int, int, Usage]]:
        """How many steps of some runs have ended, of all, and what they have used, now."""


class Metrics(Protocol):
    """Sums for those who watch all flows together."""

    def snapshot(self) -> MetricsSnapshot:
        """How the whole stands now; costs as much as there is to do, not what was done."""

    def ended_runs(self, since: datetime) -> list[EndedRun]:
        """The runs that have ended after a moment; looks at every run once."""

    def step_sums(self, runs: Sequence[RunId]) -> list[StepSums]:
        """Sums over the steps of runs that have ended."""

    def call_sums(self, since: datetime | None, until: datetime | None) -> list[CallSums]:
        """Sums over the calls of models that were begun in a span of time, and have ended."""


class Waits(Protocol):
    """What open steps wait for, as far as rows know."""

    def open_steps(self, run_id: RunId) -> OpenSteps | None:
        """The open steps of a run; None when there is no such run."""

    def waiting_steps(self, run_ids: Sequence[RunId]) -> list[WaitingSteps]:
        """What those of these runs wait for of which no worker runs a step, by state and kind."""

    def ended_at(self, run_id: RunId, keys: Sequence[str]) -> dict[str, datetime]:
        """When those of these steps ended that have."""

    def queued_steps(self) -> list[QueuedSteps]:
        """What is queued in runs that go on, by the name of the step; those with most first."""


class Overview(Lists, Pictures, RunPages, LiveRuns, Metrics, Waits, Protocol):
    """Reads for pages; changes nothing."""
