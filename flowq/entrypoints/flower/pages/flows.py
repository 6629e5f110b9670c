"""The page of all runs: `/flows`, with filters, and the latest runs of each flow."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from tornado.web import authenticated

from flowq.core.ids import RunId
from flowq.core.states import OPEN_RUN_STATES, RunState
from flowq.engine.engine import Engine
from flowq.engine.ports import Transaction
from flowq.engine.queries.lists import (
    MAX_COUNTED,
    MAX_SEARCHED,
    MAX_STEPS_COUNTED,
    FlowHistoryBar,
    RootCause,
    RunSort,
    RunsPage,
)
from flowq.engine.waits.explain import summaries_of
from flowq.entrypoints import formatting
from flowq.entrypoints.flower.page import PageHandler
from flowq.entrypoints.flower.pages import filters
from flowq.entrypoints.flower.pages.bulk import BULK
from flowq.entrypoints.flower.pages.filters import ListQuery

#: Maximum flows whose latest runs are shown: by default, and if all are asked for.
_SOME_STRIPS: Final = 8
_MAX_STRIPS: Final = 50


@dataclass(frozen=True, slots=True)
class Listed:
    """The data of the page."""

    page: RunsPage
    strips: list[FlowHistoryBar]
    has_runs: bool  #: Whether there is any run at all.
    flow_names: list[str]
    children: Mapping[RunId, int] = field(default_factory=dict)  #: How many runs have started.
    counts: Mapping[str, int] = field(default_factory=dict)  #: Of runs, by chip.
    waits: Mapping[RunId, str] = field(default_factory=dict)  #: What open runs wait for.
    causes: Mapping[RunId, RootCause] = field(default_factory=dict)  #: In child runs.
    failed: Mapping[RunId, int] = field(default_factory=dict)  #: Steps that have failed.


class FlowsPage(PageHandler):
    """`/flows`: runs, newest first."""

    @authenticated
    async def get(self) -> None:
        """Show a page of runs."""
        now = datetime.now(UTC)
        given = {name: self.get_query_argument(name, "") for name in filters.ARGUMENTS}
        query = filters.parse(given, now, shows_content=self.shows_content, labels=self.labels)
        all_strips = self.get_query_argument("strips", "") == "all"
        most = _MAX_STRIPS if all_strips else _SOME_STRIPS
        if query.problems:
            self.set_status(400)
            listed = Listed(RunsPage(), [], has_runs=True, flow_names=[])
        else:
            listed = await self.read(lambda engine: _read(engine, query, most))
        ids = [str(run.id) for run in listed.page.runs]
        self.show(
            "flows",
            query=query,
            page=listed.page,
            shorts=dict(zip(ids, formatting.short_ids(ids), strict=True)),
            strips=listed.strips[:most],
            is_cut=len(listed.strips) > most,
            all_strips=all_strips,
            flow_names=listed.flow_names,
            has_runs=listed.has_runs,
            children=listed.children,
            now=now,
            states=filters.STATES,
            counts=listed.counts,
            waits=listed.waits,
            causes=listed.causes,
            failed=listed.failed,
            max_counted=MAX_COUNTED,
            max_searched=MAX_SEARCHED,
            sorts=list(RunSort),
            bulk=[] if self.read_only else list(BULK.values()),
            live=None if query.problems else self.reverse_url("flows-live") + query.here(),
        )


def _read(engine: Engine, query: ListQuery, most: int) -> Listed:
    def read(tx: Transaction) -> Listed:
        page = tx.overview.runs_page(query.wanted, at=query.cursor)
        counts = tx.overview.run_counts(query.wanted)
        has_runs = bool(page.runs) or tx.overview.has_runs()
        # Older pages serve to find a run, not to see the present state of the flows.
        children = tx.overview.child_counts([run.id for run in page.runs])
        failing = [run.id for run in page.runs if run.status is RunState.FAILED]
        causes = tx.overview.root_causes(failing) if failing else {}
        small = [run.id for run in page.runs if run.total <= MAX_STEPS_COUNTED]
        failed = tx.overview.failed_counts(small)
        rest: dict[str, Any] = {"children": children, "counts": counts}
        rest |= {"causes": causes, "failed": failed}
        if not has_runs or query.cursor is not None:
            return Listed(page, [], has_runs, [], **rest)
        strips = tx.overview.history_bars(flow_name=query.wanted.flow_name, flows=most + 1)
        return Listed(page, strips, has_runs, tx.overview.flow_names(), **rest)

    listed = engine.records.autocommit(read)
    going_on = [run.id for run in listed.page.runs if run.status in OPEN_RUN_STATES]
    return replace(listed, waits=summaries_of(engine, going_on))
