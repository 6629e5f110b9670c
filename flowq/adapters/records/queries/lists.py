"""Lists of runs for pages, each bounded by an index however many runs there are.

A page is a range of ids in the order of an index of the filter (`user_id`, `flow_name` or `status`
with `id`, the open runs, or the primary key). A text is searched in three ways, each with its own
index, and the three short lists are merged. The names of flows are found by skipping from one to
the next in an index, since DISTINCT would read all runs.

A run's row has its progress of the last write. The steps of an open run are counted, unless there
are many: then the sweeper's last count is used, which is some seconds old.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from heapq import merge
from itertools import groupby, islice
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    CTE,
    ColumnElement,
    Select,
    and_,
    bindparam,
    func,
    literal,
    or_,
    select,
    text,
    true,
    union_all,
)
from typing_extensions import override

from flowq.adapters.records.queries.searches import (
    has_failed_with,
    needs_attention,
    order_of,
    searched,
)
from flowq.adapters.records.runs.views import written
from flowq.adapters.records.sql.repository import DOCUMENTS, RUNS, STEPS, Repository
from flowq.adapters.records.sql.tables import HAS_DOCUMENT, HAS_ERROR, IS_TOP, OPEN_RUN
from flowq.core.ids import FIRST_ID, RunId, earliest_id, ids_of_same_moment, ids_with_prefix
from flowq.core.states import DONE_STEP_STATES, OPEN_RUN_STATES, RunState
from flowq.engine.queries.lists import (
    MAX_COUNTED,
    MAX_SEARCHED,
    Cursor,
    FlowHistoryBar,
    FlowHistoryRun,
    ListedRun,
    RunFilter,
    RunSort,
    RunsPage,
)
from flowq.engine.queries.port import Lists

_R, _S, _D = RUNS.c, STEPS.c, DOCUMENTS.c
#: The steps of an open run are counted up to this number,
_MAX_COUNTED: Final = 500
#: runs of a document are looked up by each of so many versions (SQLite joins 500 parts),
_MAX_VERSIONS: Final = 200
#: and a text is compared with this number of flow names.
_MAX_FLOWS: Final = 1_000

# What a list needs, and nothing more: specs, inputs and outputs are the bulk of a row.
_LISTED: Final = select(
    _R.id,
    _R.flow_name,
    _R.status,
    _R.user_id,
    _R.parent_step_run_id,
    _R.document_id,
    _R.created_at,
    _R.started_at,
    _R.completed_at,
    _R.execution_time_ms,
    _R.total_steps,
    _R.step_progress,
    _R.total_tokens,
    _R.total_cost,
    _R.unpriced_calls,
    _R.error_message,
    _R.priority,
    _R.starts_at,
)
_STRIP: Final = (_R.id, _R.status, _R.created_at, _R.execution_time_ms)


def _names() -> CTE:
    """Return the names of all flows, each found in the index after the one before."""
    first = select(func.min(_R.flow_name).label("name")).cte("names", recursive=True)
    following = select(func.min(_R.flow_name)).where(_R.flow_name > first.c.name).scalar_subquery()
    return first.union_all(select(following).where(first.c.name.is_not(None)))


def _latest() -> Any:
    """Return the names of the flows that ran last, with the id of their newest run."""
    names = _names()
    newest = select(_R.id).where(_R.flow_name == names.c.name).order_by(_R.id.desc()).limit(1)
    return (
        select(names.c.name, newest.scalar_subquery().label("newest"))
        .where(names.c.name.is_not(None))
        .order_by(text("newest DESC"))
        .limit(bindparam("p_flows"))
        .subquery("latest")
    )


def _strips_postgresql() -> Select[Any]:
    flows = _latest()
    of_flow = _of_flow(flows).limit(bindparam("p_runs")).lateral("runs")
    return select(flows.c.name, *of_flow.c).select_from(flows.join(of_flow, true()))


def _strips_sqlite() -> Select[Any]:
    flows = _latest()
    others = RUNS.alias("others").c
    oldest = (
        select(others.id)
        .where(others.flow_name == flows.c.name)
        .order_by(others.id.desc())
        .limit(1)
        .offset(bindparam("p_runs") - 1)
        .scalar_subquery()
    )
    least = func.coalesce(oldest, literal(FIRST_ID, _R.id.type))
    joined = flows.join(RUNS, and_(_R.flow_name == flows.c.name, _R.id >= least))
    return select(flows.c.name, *_STRIP).select_from(joined)


def _of_flow(flows: Any) -> Select[Any]:
    return select(*_STRIP).where(_R.flow_name == flows.c.name).order_by(_R.id.desc())


def _newest_first(strips: Select[Any]) -> Select[Any]:
    return strips.order_by(text("latest.newest DESC, id"))


def _all_names() -> Select[Any]:
    names = _names()
    return select(names.c.name).where(names.c.name.is_not(None)).limit(bindparam("p_flows"))


_NAMES: Final = _all_names()
_STRIPS: Final = {"postgresql": _strips_postgresql(), "sqlite": _strips_sqlite()}


class ListReads(Repository, Lists):
    """The lists of `Overview`."""

    @override
    def runs_page(
        self,
        wanted: RunFilter,
        *,
        at: Cursor | None = None,
        limit: int = 50,
        counts: bool = True,
    ) -> RunsPage:
        if wanted.sort is not RunSort.NEWEST:
            at = None  # other orders have one page
        is_after = at is not None and at.is_after
        rows = self._found(wanted, at, limit + 1)
        is_more = len(rows) > limit
        rows = rows[:limit]
        if is_after and not is_more:
            return self.runs_page(wanted, limit=limit, counts=counts)
        counted = self._counted(rows) if counts else {}
        runs = tuple(_listed(row, counted.get(row.id)) for row in rows)
        if is_after:
            return RunsPage(runs[::-1], has_newer=True, has_older=True)
        return RunsPage(runs, has_newer=at is not None, has_older=is_more)

    @override
    def child_counts(self, run_ids: Collection[RunId]) -> Mapping[RunId, int]:
        if not run_ids:
            return {}
        # Ids of child runs have the time of their parent's, so they are found by the primary key.
        near = sorted({ids_of_same_moment(run_id) for run_id in run_ids})
        query = (
            select(_S.flow_run_id, func.count())
            .select_from(RUNS.join(STEPS, _S.id == _R.parent_step_run_id))
            .where(or_(*(_R.id.between(*span) for span in near)), _S.flow_run_id.in_(run_ids))
            .group_by(_S.flow_run_id)
        )
        return {RunId(run_id): many for run_id, many in self._run(query)}

    @override
    def listed(self, run_ids: Sequence[RunId]) -> list[ListedRun]:
        rows = self._run(_LISTED.where(_R.id.in_(run_ids)).order_by(_R.id.desc()))
        return [_listed(row, None) for row in rows]

    @override
    def run_counts(self, wanted: RunFilter) -> Mapping[str, int]:
        if wanted.is_searched or wanted.text:
            return {}
        plain = replace(wanted, states=frozenset(), attention=False)
        kinds = {state.value: replace(plain, states=frozenset({state})) for state in RunState}
        kinds |= {"open": replace(plain, states=OPEN_RUN_STATES)}
        kinds |= {"attention": replace(plain, attention=True, children=True)}
        counts = [_some_count(one).label(name) for name, one in kinds.items()]
        return dict(zip(kinds, self._run(select(*counts)).one(), strict=True))

    @override
    def has_runs(self) -> bool:
        return self._run(select(_R.id).limit(1)).first() is not None

    @override
    def flow_names(self, *, limit: int = 200) -> list[str]:
        return [row[0] for row in self._run(_NAMES, {"p_flows": limit})]

    @override
    def history_bars(
        self, *, flow_name: str | None = None, flows: int = 50, runs: int = 20
    ) -> list[FlowHistoryBar]:
        if flow_name is not None:
            of_flow = select(*_STRIP).where(_R.flow_name == flow_name).order_by(_R.id.desc())
            rows = self._run(of_flow.limit(runs)).all()
            return [_strip(flow_name, rows[::-1])] if rows else []
        statement = _newest_first(_STRIPS[self._connection.dialect.name])
        found = self._run(statement, {"p_flows": flows, "p_runs": runs})
        return [_strip(name, rows) for name, rows in groupby(found, key=lambda row: row.name)]

    def _found(self, wanted: RunFilter, at: Cursor | None, limit: int) -> list[Any]:
        """Return rows from the cursor on, in reading order."""
        query = _LISTED.where(and_(true(), *_conditions(wanted)))
        if wanted.is_searched:
            query = _LISTED.where(_R.id.in_(_newest_ids(wanted)), *searched(wanted))
        is_after = at is not None and at.is_after
        if at is not None:
            query = query.where(_R.id > at.run_id if is_after else _R.id < at.run_id)
        upwards = is_after or wanted.sort is RunSort.OLDEST
        in_order = _R.id if upwards else _R.id.desc()
        if wanted.sort not in {RunSort.NEWEST, RunSort.OLDEST}:
            ways = self._ways(wanted.text) if wanted.text else [true()]
            ordered = query.where(or_(*ways)).order_by(*order_of(wanted.sort))
            return list(self._run(ordered.limit(limit)))
        query = query.order_by(in_order).limit(limit)
        if wanted.document_path is not None:
            return self._of_versions(wanted, query, limit, is_after=upwards)
        if not wanted.text:
            return list(self._run(query))
        lists = [list(self._run(query.where(one))) for one in self._ways(wanted.text)]
        found = merge(*lists, key=lambda row: row.id, reverse=not upwards)
        return [next(same) for _, same in islice(groupby(found, key=lambda row: row.id), limit)]

    def _of_versions(
        self, wanted: RunFilter, query: Select[Any], limit: int, *, is_after: bool
    ) -> list[Any]:
        """Return rows of all versions of a document: of each its first, by the index."""
        versions = select(_D.id).where(
            _D.kind == wanted.document_kind, _D.path == wanted.document_path
        )
        ids = self._run(versions).scalars().all()
        if len(ids) > _MAX_VERSIONS:
            return list(self._run(query.where(_R.document_id.in_(versions))))
        parts = [select(query.where(_R.document_id == one).subquery()) for one in ids]
        if not parts:
            return []
        rows = union_all(*parts).subquery("rows")
        in_order = rows.c.id if is_after else rows.c.id.desc()
        return list(self._run(select(rows).order_by(in_order).limit(limit)))

    def _ways(self, wanted: str) -> list[ColumnElement[bool]]:
        """Return the conditions by which a run can contain a text."""
        ways = [and_(HAS_ERROR, _R.error_message.icontains(wanted, autoescape=True))]
        part = wanted.casefold()
        names = self.flow_names(limit=_MAX_FLOWS)
        having = [name for name in names if part in name.casefold()]
        if having:
            ways.append(_R.flow_name.in_(having))
        ways.append(has_failed_with(wanted))
        span = ids_with_prefix(wanted)
        if span is not None:
            ways.append(_R.id.between(*span))
        return ways

    def _counted(self, rows: Sequence[Any]) -> dict[UUID, Any]:
        """Count the steps of open runs, as far as there are not too many."""
        going_on = [row for row in rows if RunState(row.status) in OPEN_RUN_STATES]
        few = [row.id for row in going_on if (row.total_steps or 0) <= _MAX_COUNTED]
        if not few:
            return {}
        found = self._run(_counts(few, self._connection.dialect.name))
        return {row.run_id: row for row in found if row.rows <= _MAX_COUNTED}


def _counts(run_ids: Sequence[UUID], dialect: str) -> Any:
    """Count the steps of each run, up to one more than `_MAX_COUNTED`."""
    if dialect == "sqlite":  # has no LATERAL
        ids: list[Any] = [literal(run_id, _R.id.type) for run_id in run_ids]
        return union_all(*(_sums(one, _some_steps(one).subquery()) for one in ids))
    steps = _some_steps(_R.id).correlate(RUNS).lateral("steps")
    joined = RUNS.join(steps, true())
    return _sums(_R.id, steps).select_from(joined).where(_R.id.in_(run_ids)).group_by(_R.id)


def _some_steps(run_id: Any) -> Select[Any]:
    steps = select(
        *(_S.status, _S.map_size, _S.tokens_used, _S.cost_estimate, _S.unpriced_calls),
        func.coalesce(_S.completed_at, _S.started_at).label("at"),
    )
    return steps.where(_S.flow_run_id == run_id).limit(_MAX_COUNTED + 1)


def _sums(run_id: Any, steps: Any) -> Select[Any]:
    leaf = steps.c.map_size.is_(None)
    return select(
        run_id.label("run_id"),
        func.count(steps.c.status).label("rows"),
        func.count(steps.c.status).filter(leaf).label("total"),
        func.count(steps.c.status).filter(leaf, steps.c.status.in_(DONE_STEP_STATES)).label("done"),
        func.sum(steps.c.tokens_used).label("tokens"),
        func.sum(steps.c.cost_estimate).label("cost"),
        func.sum(steps.c.unpriced_calls).label("unpriced"),
        func.max(steps.c.at).label("progress_at"),
    )


def _some_count(wanted: RunFilter) -> Any:
    """Count the runs that match, up to one more than `MAX_COUNTED`."""
    some = select(_R.id).where(and_(true(), *_conditions(wanted))).limit(MAX_COUNTED + 1)
    return select(func.count()).select_from(some.subquery()).scalar_subquery()


def _newest_ids(wanted: RunFilter) -> Any:
    """Return the runs that a search looks at."""
    ids = select(_R.id).where(and_(true(), *_conditions(wanted)))
    some = ids.order_by(_R.id.desc()).limit(MAX_SEARCHED).subquery("some")
    return select(some.c.id)


def _conditions(wanted: RunFilter) -> list[ColumnElement[bool]]:
    """Return the conditions of a filter, except for its text."""
    found: list[Any] = []
    if wanted.states == OPEN_RUN_STATES:
        found.append(OPEN_RUN)  # the same text, for the index
    elif len(wanted.states) == 1:
        found.append(_R.status == next(iter(wanted.states)))
    elif wanted.states:
        found.append(_R.status.in_(sorted(wanted.states)))
    if wanted.flow_name is not None:
        found.append(_R.flow_name == wanted.flow_name)
    if wanted.user_id is not None:
        found.append(_R.user_id == wanted.user_id)
    if wanted.document_id is not None:
        found.append(_R.document_id == wanted.document_id)
    if wanted.since is not None:
        found.append(_R.id >= earliest_id(wanted.since))
    if wanted.until is not None:
        found.append(_R.id < earliest_id(wanted.until))
    if not wanted.children:
        found.append(IS_TOP)
    return [*found, *_of_steps(wanted), *_of_documents(wanted)]


def _of_steps(wanted: RunFilter) -> list[Any]:
    """Return the conditions that the indexes of the steps answer."""
    found: list[Any] = []
    if wanted.error_type is not None:
        found.append(has_failed_with(wanted.error_type))
    if wanted.attention:
        found.append(needs_attention())
    if wanted.sort is RunSort.STALLED:
        found.append(OPEN_RUN)
    return found


def _of_documents(wanted: RunFilter) -> list[Any]:
    if wanted.document_kind is None:
        return []
    versions = select(_D.id).where(_D.kind == wanted.document_kind)
    is_of_kind = _R.document_id.in_(versions) if wanted.document_path is None else true()
    return [HAS_DOCUMENT, is_of_kind]


def _listed(row: Any, counted: Any) -> ListedRun:
    return ListedRun(
        **written(row),
        is_child=row.parent_step_run_id is not None,
        document_id=row.document_id,
        total=(row.total_steps or 0) if counted is None else counted.total,
        done=row.step_progress if counted is None else counted.done,
        tokens=row.total_tokens if counted is None else int(counted.tokens or 0),
        cost=row.total_cost if counted is None or counted.cost is None else counted.cost,
        unpriced=row.unpriced_calls if counted is None else int(counted.unpriced or 0),
        progress_at=None if counted is None else counted.progress_at,
    )


def _strip(name: str, rows: Any) -> FlowHistoryBar:
    runs = (
        FlowHistoryRun(RunId(row.id), RunState(row.status), row.created_at, row.execution_time_ms)
        for row in rows
    )
    return FlowHistoryBar(name, tuple(runs))
