"""What pages show of runs: read models, each with one query or a few, whatever the size of a run.

The values stand in files of their own beside `flowq.engine.rows`.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from flowq.core.ids import RunId
from flowq.core.spec import FlowSpec
from flowq.engine.flow_rows import FlowHistory
from flowq.engine.list_rows import (
    BudgetedRun,
    Cursor,
    RunFilter,
    RunsPage,
    Saved,
    Spent,
    Strip,
)
from flowq.engine.picture_rows import RunPicture


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

    def strips(
        self, *, flow_name: str | None = None, flows: int = 50, runs: int = 20
    ) -> list[Strip]:
        """The latest runs of each flow; the flow with the latest run first.

        Args:
            flow_name: Of this flow alone.
            flows: Of so many flows at most,
            runs: and so many runs of each.
        """

    def history(self, flow_name: str, *, since: datetime) -> FlowHistory | None:
        """The latest runs of a flow since a moment; None when it has no run at all."""

    def monthly_budgets(self, *, limit: int = 100) -> list[Spent]:
        """What flows and users have spent in this month, of those that have a budget."""

    def latest_specs(self, flow_names: Sequence[str]) -> dict[str, FlowSpec]:
        """What the newest run of each flow was; a flow without a run is left out."""

    def budgeted_runs(self, *, limit: int = 20) -> list[BudgetedRun]:
        """The newest open runs that have a budget of their own."""

    def saved(
        self, *, since: datetime, flow_name: str | None = None, user_id: str | None = None
    ) -> Saved:
        """What was taken from the cache since a moment."""


class Pictures(Protocol):
    """What the pictures of runs are drawn from."""

    def picture(self, run_id: RunId, *, now: datetime) -> RunPicture | None:
        """A run with its steps, those of a map counted; None when there is no such run.

        Args:
            run_id: The run.
            now: Until when the parts of `RunPicture.span` go while the run goes on.
        """


class Overview(Lists, Pictures, Protocol):
    """Reads for pages; changes nothing."""
