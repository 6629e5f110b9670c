"""The data of a run's pictures: as many rows as there are nodes to draw.

The database counts items of maps, by map, state and the part of the run's time in which they ended.
When a run has more steps than can be drawn, its steps are counted in the same way by name.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Integer, Text, bindparam, cast, func, or_, select
from typing_extensions import override

from flowq.adapters.records.sql.reading import shown_kind, shown_spec
from flowq.adapters.records.sql.repository import ATTEMPTS, FIRST_STARTED, RUNS, STEPS, Repository
from flowq.adapters.records.sql.types import Label, PartOfSpan, json_text
from flowq.core.ids import RunId
from flowq.core.spec import FlowSpec, StepKind
from flowq.core.states import TERMINAL_STEP_STATES, AttemptEnd, RunState, StepState
from flowq.engine.queries.graph import (
    ChildRun,
    PastAttempt,
    PictureEdge,
    PictureNode,
    RunPicture,
    by_names,
    most_urgent,
    spec_edges,
)
from flowq.engine.queries.port import Pictures

_C, _R, _A = STEPS.c, RUNS.c, ATTEMPTS.c

#: More steps of a graph, or calls of a program, are drawn as one node for each name.
MAX_STEPS: Final = 600
MAX_CALLS: Final = 120
#: Parts of the run's time; a chart is not much wider than this.
_PARTS: Final = 200
_MAX_ATTEMPTS: Final = 2000
_MESSAGE: Final = 300

_child = RUNS.alias("child")
_OF_RUN = _C.flow_run_id == bindparam("p_run", type_=_R.id.type)
_IS_NODE = _C.map_index.is_(None)
_IS_CALL = _C.spec.is_not(None)
_KIND = json_text(_C.spec, "kind")

_RUN = select(
    *(_R.id, _R.flow_name, _R.status, _R.created_at, _R.started_at, _R.completed_at),
    cast(_R.spec, Text).label("spec"),
).where(_R.id == bindparam("p_run", type_=_R.id.type))
_COUNT = select(func.count()).where(_OF_RUN, _IS_NODE)

_NODES = (
    select(
        _C.step_key,
        _C.step_name,
        _C.step_order,
        _C.status,
        _C.map_size,
        _C.batch_id,
        _C.created_at,
        _C.started_at,
        FIRST_STARTED.label("first_started_at"),
        _C.completed_at,
        _C.attempt,
        _C.recoveries,
        _C.worker,
        _C.error_type,
        func.substr(_C.error_message, 1, _MESSAGE).label("error"),
        _IS_CALL.label("is_call"),
        _KIND.label("kind"),
        json_text(_C.spec, "map.parameter").label("mapped"),
        _child.c.id.label("child_id"),
        _child.c.status.label("child_status"),
    )
    .select_from(STEPS.outerjoin(_child, _child.c.parent_step_run_id == _C.id))
    .where(_OF_RUN, _IS_NODE)
    .order_by(_C.step_order)
)

_BEGIN = bindparam("p_begin", type_=_C.created_at.type)
_END = bindparam("p_end", type_=_C.created_at.type)
_PART = PartOfSpan(_C.completed_at, _BEGIN, _END, bindparam("p_parts", type_=Integer))


def _counted(by: Any, *which: Any) -> Any:
    """Build the count of many step runs by a column."""
    ones = (
        select(
            by.label("of"),
            _C.status,
            _PART.label("part"),
            *(_C.step_order, _C.created_at, _C.started_at, _C.completed_at),
            *(_C.attempt, _C.recoveries, _KIND.label("kind")),
        )
        .where(_OF_RUN, *which)
        .subquery("ones")
    )
    o = ones.c
    return select(
        *(o.of, o.status, o.part, func.count().label("many")),
        func.min(o.step_order).label("step_order"),
        func.min(o.created_at).label("created_at"),
        func.min(o.started_at).label("started_at"),
        func.max(o.completed_at).label("completed_at"),
        func.max(o.attempt).label("attempt"),
        func.sum(o.recoveries).label("recoveries"),
        func.min(o.kind).label("kind"),
    ).group_by(o.of, o.status, o.part)


_ITEMS = _counted(_C.step_key, _C.map_index.is_not(None))
_STEPS_BY_NAME = _counted(_C.step_name, _IS_NODE)
_CALLS_BY_NAME = _counted(_C.step_name, _IS_NODE, _IS_CALL)
# What ran: the items of a map, and not the map.
_LABEL = Label(_C.step_key)
_CALLS_BY_LABEL = _counted(_LABEL, _C.map_size.is_(None), or_(_IS_CALL, _C.map_index.is_not(None)))
_LAST_OF_LABEL = (
    select(
        *(_LABEL.label("of"), _C.status, func.max(_C.step_order).label("last")),
        *(func.max(_C.step_name).label("name"), func.count(_C.map_size).label("maps")),
    )
    .where(_OF_RUN, _IS_NODE, _IS_CALL)
    .group_by(_LABEL, _C.status)
)

_PAST = (
    select(
        _C.step_key,
        *(_A.attempt, _A.claimed_at, _A.ended_at, _A.outcome, _A.worker, _A.error_type),
        func.substr(_A.error_message, 1, _MESSAGE),
    )
    .select_from(ATTEMPTS.join(STEPS, _C.id == _A.step_run_id))
    .where(_A.flow_run_id == bindparam("p_run", type_=_R.id.type), _IS_NODE)
    .order_by(_A.claimed_at, _A.place)
    .limit(_MAX_ATTEMPTS)
)


def _retried(by: Any) -> Any:
    return (
        select(by, func.count())
        .select_from(ATTEMPTS.join(STEPS, _C.id == _A.step_run_id))
        .where(_A.flow_run_id == bindparam("p_run", type_=_R.id.type))
        .group_by(by)
    )


_RETRIED_BY_KEY = _retried(_C.step_key)
_RETRIED_BY_NAME = _retried(_C.step_name)


@dataclass(slots=True)
class _Many:
    """The combined data of several step runs."""

    order: int = 0
    kind: str | None = None
    counts: dict[StepState, int] = field(default_factory=dict)
    created: list[datetime] = field(default_factory=list)
    started: list[datetime] = field(default_factory=list)
    ended: list[datetime] = field(default_factory=list)
    attempts: int = 0
    recoveries: int = 0
    ended_in: dict[int, int] = field(default_factory=dict)
    failed_in: dict[int, int] = field(default_factory=dict)

    def add(self, row: Any) -> None:
        """Add one row of `_counted`."""
        state = StepState(row.status)
        self.order = min(self.order or row.step_order, row.step_order)
        self.kind = self.kind or row.kind
        self.counts[state] = self.counts.get(state, 0) + row.many
        for times, time in (
            (self.created, row.created_at),
            (self.started, row.started_at),
            (self.ended, row.completed_at),
        ):
            if time is not None:
                times.append(time)
        self.attempts = max(self.attempts, row.attempt)
        self.recoveries += int(row.recoveries)
        if row.part is not None and state in {StepState.COMPLETED, StepState.FAILED}:
            self.ended_in[row.part] = self.ended_in.get(row.part, 0) + row.many
            if state is StepState.FAILED:
                self.failed_in[row.part] = self.failed_in.get(row.part, 0) + row.many

    @property
    def is_open(self) -> bool:
        """Whether any of them has not ended."""
        return not self.counts.keys() <= TERMINAL_STEP_STATES

    @property
    def total(self) -> int:
        """How many they are."""
        return sum(self.counts.values())


class PictureReads(Repository, Pictures):
    """Implements `flowq.engine.queries.port.Pictures`."""

    @override
    def picture(
        self,
        run_id: RunId,
        *,
        now: datetime,
        max_steps: int = MAX_STEPS,
        max_calls: int = MAX_CALLS,
        by_label: bool = False,
    ) -> RunPicture | None:
        run = self._run(_RUN, {"p_run": run_id}).first()
        if run is None:
            return None
        spec = shown_spec(run.spec, run.flow_name)
        begin = run.started_at or run.created_at
        end = max(run.completed_at or now, begin + timedelta(milliseconds=1))
        spanned = {"p_run": run_id, "p_begin": begin, "p_end": end, "p_parts": _PARTS}
        of_program = 0 if spec.program is None else 1
        total = self._run(_COUNT, {"p_run": run_id}).scalar_one() - of_program
        is_collapsed = total > (max_calls if of_program else max_steps)
        is_collapsed |= by_label
        edges: tuple[PictureEdge, ...] = ()
        if by_label:
            nodes = self._by_label(spanned)
        elif is_collapsed:
            nodes = self._by_name(spec, spanned)
            edges = () if of_program else by_names(spec, {one.key: one.order for one in nodes})
        else:
            nodes = self._nodes(spec, spanned)
            edges = () if of_program else spec_edges(spec)
        program = None
        if spec.program is not None:
            key = spec.program.key
            alone = self._nodes(spec, spanned, _C.step_key == key) if is_collapsed else nodes
            program = next((one for one in alone if one.key == key), None)
            nodes = [one for one in nodes if one is not program]
            if program is not None:  # it began with the run; its row has its last attempt
                program = replace(program, started_at=run.started_at)
        return RunPicture(
            run_id=run_id,
            flow_name=run.flow_name,
            status=RunState(run.status),
            created_at=run.created_at,
            started_at=run.started_at,
            ended_at=run.completed_at,
            nodes=tuple(nodes),
            edges=edges,
            program=program,
            total=total,
            is_collapsed=is_collapsed,
            span=(begin, end),
            parts=_PARTS,
        )

    def _nodes(self, spec: FlowSpec, spanned: Mapping[str, Any], *which: Any) -> list[PictureNode]:
        run = {"p_run": spanned["p_run"]}
        rows = self._run(_NODES.where(*which), run).all()
        has_maps = any(row.map_size for row in rows)
        items = _counts(self._run(_ITEMS, spanned)) if has_maps else {}
        retried = dict(map(tuple, self._run(_RETRIED_BY_KEY, run)))
        past: dict[str, list[PastAttempt]] = {}
        for row in self._run(_PAST, run) if retried else ():
            past.setdefault(row[0], []).append(
                PastAttempt(row[1], row[2], row[3], AttemptEnd(row[4]), *row[5:])
            )
        return [
            _node(row, spec, items.get(row.step_key), past.get(row.step_key, ()), retried)
            for row in rows
        ]

    def _by_name(self, spec: FlowSpec, spanned: Mapping[str, Any]) -> list[PictureNode]:
        """Return one node for each name."""
        counting = _STEPS_BY_NAME if spec.program is None else _CALLS_BY_NAME
        kinds = {step.name: step.kind for step in spec.steps}
        retried = dict(map(tuple, self._run(_RETRIED_BY_NAME, {"p_run": spanned["p_run"]})))
        found = _counts(self._run(counting, spanned)).items()
        nodes = [
            PictureNode(
                key=name,
                name=name,
                order=many.order,
                kind=shown_kind(many.kind) if many.kind else kinds.get(name, StepKind.STEP),
                status=most_urgent(many.counts),
                size=many.total,
                counts=many.counts,
                created_at=min(many.created),
                started_at=min(many.started, default=None),
                first_started_at=min(many.started, default=None),
                ended_at=None if many.is_open else max(many.ended, default=None),
                attempts=many.attempts,
                recoveries=many.recoveries,
                retried=retried.get(name, 0),
                ended_in=many.ended_in,
                failed_in=many.failed_in,
            )
            for name, many in found
        ]
        return sorted(nodes, key=lambda one: one.order)

    def _by_label(self, spanned: Mapping[str, Any]) -> list[PictureNode]:
        """Return one node for each label of calls."""
        found = _counts(self._run(_CALLS_BY_LABEL, spanned))
        states: dict[str, list[Any]] = {}
        for row in self._run(_LAST_OF_LABEL, {"p_run": spanned["p_run"]}):
            states.setdefault(row.of, []).append(row)
        nodes = [_labelled(rows, found.get(label, _Many())) for label, rows in states.items()]
        return sorted(nodes, key=lambda one: one.order)


def _labelled(rows: Sequence[Any], many: _Many) -> PictureNode:
    """Return the node of the calls of one label, from the last of them in each state."""
    is_open = [row for row in rows if StepState(row.status) not in TERMINAL_STEP_STATES]
    last = max(is_open or rows, key=lambda row: row.last)
    is_map = any(row.maps for row in rows)
    return PictureNode(
        key=last.of,
        name=last.name,
        order=last.last,
        kind=shown_kind(many.kind),
        status=StepState(last.status),
        size=many.total if is_map or many.total > 1 else None,
        is_map=is_map,
        counts=many.counts,
        created_at=min(many.created, default=None),
        started_at=min(many.started, default=None),
        first_started_at=min(many.started, default=None),
        ended_at=None if is_open else max(many.ended, default=None),
        attempts=many.attempts,
        recoveries=many.recoveries,
        ended_in=many.ended_in,
        failed_in=many.failed_in,
    )


def _counts(rows: Iterable[Any]) -> dict[str, _Many]:
    found: dict[str, _Many] = {}
    for row in rows:
        found.setdefault(row.of, _Many()).add(row)
    return found


def _node(
    row: Any,
    spec: FlowSpec,
    items: _Many | None,
    past: Sequence[PastAttempt],
    retried: Mapping[str, int],
) -> PictureNode:
    known = None if row.is_call else spec.by_key.get(row.step_key)
    kind = shown_kind(row.kind) if known is None else known.kind
    status = StepState(row.status)
    is_map = row.map_size is not None or row.mapped is not None
    is_map |= known is not None and known.map is not None
    child = None if row.child_id is None else ChildRun(row.child_id, RunState(row.child_status))
    return PictureNode(
        key=row.step_key,
        name=row.step_name,
        order=row.step_order,
        kind=kind,
        status=status,
        size=row.map_size,
        is_map=is_map,
        counts=items.counts if items else {} if is_map else {status: 1},
        created_at=row.created_at,
        started_at=row.started_at,
        first_started_at=row.first_started_at,
        ended_at=row.completed_at,
        attempts=max(row.attempt, items.attempts if items else 0),
        recoveries=row.recoveries + (items.recoveries if items else 0),
        batch=row.batch_id,
        worker=row.worker,
        error_type=row.error_type,
        error=row.error,
        child=child,
        past=tuple(past),
        retried=retried.get(row.step_key, 0),
        ended_in=items.ended_in if items else {},
        failed_in=items.failed_in if items else {},
    )
