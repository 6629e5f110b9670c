"""What pages show of runs: read models, each with a few queries, whatever the size of a run.

The values are in files of their own beside `flowq.engine.model.rows`.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from flowq.core.ids import RunId, StepRunId
from flowq.core.spec import FlowSpec
from flowq.core.states import RunState, StepState
from flowq.core.usage import Usage
from flowq.engine.model.documents import DocumentKind
from flowq.engine.model.rows import StepProgress, StepView
from flowq.engine.model.waits import OpenSteps, QueuedSteps, WaitingSteps
from flowq.engine.queries.children import ChildrenOfRun
from flowq.engine.queries.flow_page import FlowGrid, FlowHistory
from flowq.engine.queries.graph import RunPicture
from flowq.engine.queries.instances import DocumentRun, DocumentUsage
from flowq.engine.queries.lists import (
    BudgetedRun,
    BudgetUsage,
    CacheSavings,
    Cursor,
    FlowHistoryBar,
    ListedRun,
    RootCause,
    RunFilter,
    RunsPage,
)
from flowq.engine.queries.metrics import CallSums, EndedRun, MetricsSnapshot, StepSums
from flowq.engine.queries.run_page import FailedStep, ItemFilter, ItemView, RunPage, StepCost
from flowq.engine.queries.schedules import ListedSchedule, ScheduledRun, SkippedTicks
from flowq.engine.queries.step_page import StepPage


class Lists(Protocol):
    """Lists of runs, and figures of flows."""

    def runs_page(
        self,
        wanted: RunFilter,
        *,
        at: Cursor | None = None,
        limit: int = 50,
        counts: bool = True,
    ) -> RunsPage:
        """A page of the matching runs; without a cursor the newest.

        If fewer runs than a page come before the cursor, the first page is returned: a page that
        begins with the newest run is always full.

        Args:
            wanted: Which runs match.
            at: Where the page begins.
            limit: How many runs at most.
            counts: Whether to count the steps of open runs; if not, they are as their rows say.
        """

    def child_counts(self, run_ids: Collection[RunId]) -> Mapping[RunId, int]:
        """How many child runs each of these runs has; those without are missing."""

    def root_causes(self, run_ids: Sequence[RunId]) -> Mapping[RunId, RootCause]:
        """The first failure of each run that a step of it has failed; others are missing."""

    def failed_counts(self, run_ids: Sequence[RunId]) -> Mapping[RunId, int]:
        """How many steps of these runs have failed; those without are missing.

        Reads all steps of the runs: ask for runs of up to `MAX_STEPS_COUNTED` steps.
        """

    def listed(self, run_ids: Sequence[RunId]) -> list[ListedRun]:
        """Those of the runs that there are, newest first, as their rows say."""

    def run_counts(self, wanted: RunFilter) -> Mapping[str, int]:
        """How many runs match in each state, and in need of `attention`; at most `MAX_COUNTED` + 1.

        Args:
            wanted: Which runs; its states are ignored. Empty if no index answers it.
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
            flow_name: Only of this flow.
            flows: How many flows at most,
            runs: and how many runs of each.
        """

    def history(self, flow_name: str, *, since: datetime) -> FlowHistory | None:
        """The latest runs of a flow since a moment; None when it has no run at all."""

    def grid(self, flow_name: str) -> FlowGrid:
        """The steps of the latest `GRID_RUNS` runs of a flow."""

    def monthly_budgets(self, *, limit: int = 100) -> list[BudgetUsage]:
        """What flows and users have spent in this month, of those that have a budget."""

    def latest_specs(self, flow_names: Sequence[str]) -> dict[str, FlowSpec]:
        """The spec of each flow's newest run; a flow without a run is left out."""

    def budgeted_runs(self, *, limit: int = 20) -> list[BudgetedRun]:
        """The newest open runs that have a budget of their own."""

    def saved(
        self, *, since: datetime, flow_name: str | None = None, user_id: str | None = None
    ) -> CacheSavings:
        """What cache hits have saved since a time."""


class Pictures(Protocol):
    """What the pictures of runs are drawn from."""

    def picture(self, run_id: RunId, *, now: datetime, by_label: bool = False) -> RunPicture | None:
        """A run with its steps, those of a map counted; None when there is no such run.

        Args:
            now: The end of `RunPicture.span` while the run is open.
            by_label: Calls of a program whose keys are equal up to `#` are one node, with the state
                of the last of them that is open, else of the last.
        """


class Instances(Protocol):
    """Runs of stored documents."""

    def document_run(self, run_id: RunId, kind: DocumentKind) -> DocumentRun | None:
        """What a run was started from; None if that is no document of this kind."""

    def document_versions(self, ids: Sequence[UUID]) -> dict[UUID, DocumentRun]:
        """Some versions of documents, by their ids."""

    def document_usage(
        self,
        kind: DocumentKind,
        *,
        path: str | None = None,
        user_id: str | None = None,
        since: datetime,
    ) -> list[DocumentUsage]:
        """What the runs of each document have used since a moment, by path.

        Args:
            kind: Of documents of this kind.
            path: Only of this document.
            user_id: Only the runs of this user.
            since: Only runs that were started since then.
        """


class SchedulePages(Protocol):
    """What pages show of schedules."""

    def schedules(
        self,
        *,
        after: str = "",
        limit: int = 100,
        names: Sequence[str] | None = None,
        user_id: str | None = None,
    ) -> list[ListedSchedule]:
        """Schedules by name, each with its last run.

        Args:
            after: Only those whose name is greater.
            limit: How many at most.
            names: Only those of these names.
            user_id: Only those whose runs are of this user.
        """

    def runs_of_schedule(self, name: str, *, limit: int = 20) -> list[ScheduledRun]:
        """The runs that a schedule has started, the newest first."""

    def skipped_ticks(self, name: str, *, limit: int = 20) -> list[SkippedTicks]:
        """The ticks of a schedule that have started no run, the latest first."""


class RunPages(Protocol):
    """What the page of one run shows."""

    def run_page(self, run_id: RunId) -> RunPage | None:
        """The head of a run's page; None when there is no such run."""

    def child_runs(self, run_id: RunId) -> ChildrenOfRun:
        """The child runs of a run, by step, with their own child runs; see `children`."""

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
        wanted: ItemFilter | None = None,
    ) -> list[ItemView]:
        """Some items of a map, by index: those after one, or the last before one."""

    def item_states(
        self, run_id: RunId, key: str, *, first: int, limit: int
    ) -> list[tuple[int, StepState]]:
        """The index and the state of items of a map, from an index on."""

    def item_inputs(
        self, run_id: RunId, key: str, *, longest: int, indexes: Sequence[int] | None = None
    ) -> dict[int, Any]:
        """The inputs of items of a map by index, of the first `MAX_INPUTS`.

        Args:
            longest: Those with more characters of JSON are left out.
            indexes: Only of these items.
        """

    def failures(
        self, run_id: RunId, *, limit: int, step: StepRunId | None = None
    ) -> list[FailedStep]:
        """Failed steps, the first failure first; items are listed in place of their map.

        Args:
            limit: How many at most.
            step: Only this node, or the items of this map.
        """

    def step_costs(self, run_id: RunId, *, limit: int, by_name: bool = False) -> list[StepCost]:
        """What steps have used or saved, the most expensive first; steps with neither are left out.

        Args:
            limit: How many at most.
            by_name: Sum by name and not by key: for the calls of a program.
        """

    def newest_progress(self, run_id: RunId, *, limit: int) -> list[StepProgress]:
        """The step runs that changed last, in step order."""

    def result_bytes(self, run_id: RunId, keys: Sequence[str]) -> int:
        """The total size of the results of steps; of a map those of its items."""

    def step_page(self, run_id: RunId, key: str, index: int | None = None) -> StepPage | None:
        """A step of a run, or one item of a map; None if there is no such one."""


class LiveRuns(Protocol):
    """The present state of runs, for polling."""

    def states(self, runs: Sequence[RunId]) -> Mapping[RunId, tuple[RunState, int]]:
        """For each run that there is, its state and how many steps it has."""

    def progress(self, runs: Sequence[RunId]) -> Mapping[RunId, tuple[int, int, Usage]]:
        """For each run, how many steps have ended, how many it has, and what they have used."""


class Metrics(Protocol):
    """Sums over all flows, for monitoring."""

    def snapshot(self) -> MetricsSnapshot:
        """The present state of all runs; the cost depends on open runs, not on ended ones."""

    def ended_runs(self, since: datetime) -> list[EndedRun]:
        """The runs that have ended after a time; scans all runs."""

    def step_sums(self, runs: Sequence[RunId]) -> list[StepSums]:
        """Sums over the steps of runs that have ended."""

    def call_sums(self, since: datetime | None, until: datetime | None) -> list[CallSums]:
        """Sums over the ended calls of models that began in a span of time."""


class Waits(Protocol):
    """What open steps wait for, as far as rows show."""

    def open_steps(self, run_id: RunId) -> OpenSteps | None:
        """The open steps of a run; None when there is no such run."""

    def waiting_steps(self, run_ids: Sequence[RunId]) -> list[WaitingSteps]:
        """What those of the runs wait for that have no running step, by state and kind."""

    def ended_at(self, run_id: RunId, keys: Sequence[str]) -> dict[str, datetime]:
        """When those of the steps that have ended did so."""

    def queued_steps(self) -> list[QueuedSteps]:
        """Queued steps of running runs, by name; the most frequent first."""


class Overview(
    Lists, Instances, Pictures, RunPages, SchedulePages, LiveRuns, Metrics, Waits, Protocol
):
    """Reads for pages; changes nothing."""
