"""What must hold between the rows, as SELECTs that return the rows at fault.

This is written against the design and not against the code that writes the rows: it counts and
compares anew. All checks are one statement, so they see one moment, and a database at work has no
violations either: what is allowed for a short while (a run whose last step ended just now) is
reported only once it has lasted for `grace`. What only the spec of a run can tell is asked by
`flowq.engine.invariants`, with the rows that the last queries here return.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Float,
    Integer,
    Select,
    String,
    and_,
    bindparam,
    case,
    cast,
    exists,
    func,
    literal,
    null,
    or_,
    select,
    union_all,
)
from sqlalchemy.sql.selectable import FromClause

from flowq.adapters.records.repository import RUNS, STEPS, Repository
from flowq.adapters.records.types import DbNow
from flowq.core.ids import RunId, StepRunId
from flowq.core.results import Place, ResultRef
from flowq.core.states import TERMINAL_RUN_STATES, TERMINAL_STEP_STATES, RunState, StepState
from flowq.engine.rows import Invariant, PlacedNode, PlacedRun, StoredObject, Suspect, Violation

_S, _R = STEPS.c, RUNS.c
_OTHER: Final = STEPS.alias("other")
_CHILD: Final = RUNS.alias("child")
_O, _K = _OTHER.c, _CHILD.c

_LONG_AGO: Final = DbNow(bindparam("p_before", type_=Float))
_ENDED: Final = _S.status.in_(tuple(TERMINAL_STEP_STATES))
_RUN_ENDED: Final = _R.status.in_(tuple(TERMINAL_RUN_STATES))
_NODE: Final = _S.map_index.is_(None)
_IS_MAP: Final = _S.map_size.is_not(None)
#: What a worker runs: a running map only waits for its items.
_LEASED: Final = and_(_S.status == StepState.RUNNING, ~_IS_MAP)


def _text(value: Any) -> ColumnElement[str]:
    return func.coalesce(cast(value, String), "none")


def _what(*parts: Any) -> ColumnElement[str]:
    """Join constants and columns to one text."""
    whole: Any = literal("", String)
    for part in parts:
        whole = whole + (literal(part, String) if isinstance(part, str) else _text(part))
    return whole  # type: ignore[no-any-return]


def _steps(where: Any, *what: Any, of: FromClause = STEPS) -> Select[Any]:
    """Select steps at fault."""
    columns = (_S.flow_run_id, _S.id, _S.step_key, _S.map_index, _what(*what))
    return select(*columns).select_from(of).where(where)


def _runs(where: Any, *what: Any, of: FromClause = RUNS) -> Select[Any]:
    """Select runs at fault."""
    nobody = (cast(null(), _S.id.type), cast(null(), String), cast(null(), Integer))
    return select(_R.id, *nobody, _what(*what)).select_from(of).where(where)


def _has(*where: Any) -> ColumnElement[bool]:
    """Tell whether a run has a step of this kind."""
    return exists().where(_S.flow_run_id == _R.id, *where).correlate(RUNS)


# --- runs -----------------------------------------------------------------------------------------

_IN_RUNNING = and_(_S.flow_run_id == _R.id, _R.status == RunState.RUNNING)
_MOVES = case(
    (
        _R.status == RunState.RUNNING,
        _has(
            or_(
                _S.status.in_((StepState.QUEUED, StepState.RETRYING, StepState.WAITING)),
                and_(_S.status == StepState.PENDING, _S.pending_dependencies == 0),
                _LEASED,
            )
        ),
    ),
    else_=_has(or_(_S.status == StepState.WAITING, _LEASED)),
)
_LAST = func.coalesce(
    select(func.max(_S.completed_at))
    .where(_S.flow_run_id == _R.id)
    .correlate(RUNS)
    .scalar_subquery(),
    _R.started_at,
    _R.created_at,
)
_AT_REST = _runs(
    and_(
        _R.status.in_((RunState.RUNNING, RunState.CANCELLING)),
        ~_MOVES,
        _LAST <= _LONG_AGO,
        or_(_R.cancel_requested_at.is_(None), _R.cancel_requested_at <= _LONG_AGO),
    ),
    "it is ",
    _R.status,
    ", but no step of it moves",
)

_TIMES = _runs(
    _R.completed_at.is_not(None) != _RUN_ENDED,
    "it is ",
    _R.status,
    ", completed_at is ",
    _R.completed_at,
)
_STILL_OPEN = _steps(
    and_(_S.flow_run_id == _R.id, _RUN_ENDED, ~_ENDED),
    "the run is ",
    _R.status,
    ", this step ",
    _S.status,
    of=STEPS.join(RUNS),
)

#: The node of a map is no step of its own: its items are. Cancelled steps were not done.
_SUMS = (
    select(
        _S.flow_run_id.label("run_id"),
        func.count().filter(~_IS_MAP).label("total"),
        func.count()
        .filter(
            ~_IS_MAP,
            _S.status.in_((StepState.COMPLETED, StepState.SKIPPED, StepState.FAILED)),
        )
        .label("done"),
        func.sum(_S.tokens_used).label("tokens"),
        func.sum(_S.cost_estimate).label("cost"),
    )
    .group_by(_S.flow_run_id)
    .subquery("sums")
)
_SUMMED = RUNS.outerjoin(_SUMS, _SUMS.c.run_id == _R.id)


def _sum(column: ColumnElement[Any], name: str) -> Select[Any]:
    total = func.coalesce(_SUMS.c[name], 0)
    differs = column.is_distinct_from(total)
    return _runs(
        and_(_RUN_ENDED, differs),
        f"{column.key} is ",
        column,
        ", its steps make ",
        total,
        of=_SUMMED,
    )


_OUTCOME = [
    _steps(
        and_(_NODE, _R.status == RunState.COMPLETED, _S.status == StepState.CANCELLED),
        "the run is completed, this step cancelled",
        of=STEPS.join(RUNS),
    ),
    _runs(
        and_(_R.status == RunState.FAILED, _R.error_message.is_(None)),
        "it has failed without an error",
    ),
    _runs(
        and_(_R.status == RunState.COMPLETED, _R.error_message.is_not(None)),
        "it has completed with the error ",
        _R.error_message,
    ),
]

# --- steps ----------------------------------------------------------------------------------------

_TWIN = exists().where(
    _O.flow_run_id == _S.flow_run_id,
    _O.step_key == _S.step_key,
    _O.id < _S.id,
    or_(_O.map_index == _S.map_index, and_(_O.map_index.is_(None), _NODE)),
)
_UNIQUE = _steps(_TWIN, "there is another row of this step")

_ITEMS = (
    select(
        _O.flow_run_id.label("run_id"),
        _O.step_key.label("key"),
        func.count().label("count"),
        func.min(_O.map_index).label("first"),
        func.max(_O.map_index).label("last"),
    )
    .where(_O.map_index.is_not(None))
    .group_by(_O.flow_run_id, _O.step_key)
    .subquery("items")
)
_FOUND = func.coalesce(_ITEMS.c.count, 0)
_MAP = _steps(
    and_(
        _NODE,
        or_(
            func.coalesce(_S.map_size, 0) != _FOUND,
            and_(_FOUND > 0, or_(_ITEMS.c.first != 0, _ITEMS.c.last != _FOUND - 1)),
        ),
    ),
    "map_size is ",
    _S.map_size,
    ", it has ",
    _FOUND,
    " items, from ",
    _ITEMS.c.first,
    " to ",
    _ITEMS.c.last,
    of=STEPS.outerjoin(
        _ITEMS, and_(_ITEMS.c.run_id == _S.flow_run_id, _ITEMS.c.key == _S.step_key)
    ),
)
_ITS_NODE = exists().where(
    _O.flow_run_id == _S.flow_run_id, _O.step_key == _S.step_key, _O.map_index.is_(None)
)
_ITS_ITEMS = and_(
    _O.flow_run_id == _S.flow_run_id, _O.step_key == _S.step_key, _O.map_index.is_not(None)
)
_RECENT_ITEM = exists().where(
    _ITS_ITEMS,
    or_(
        _O.status.not_in(tuple(TERMINAL_STEP_STATES)),
        _O.completed_at > _LONG_AGO,
    ),
)
_OPEN_MAP = and_(_S.status == StepState.RUNNING, _IS_MAP, _NODE)

_LEASE = _steps(
    or_(
        and_(_LEASED, or_(_S.lease_token.is_(None), _S.lease_expires_at.is_(None))),
        and_(~_LEASED, or_(_S.lease_token.is_not(None), _S.lease_expires_at.is_not(None))),
    ),
    "it is ",
    _S.status,
    ", lease_token is ",
    _S.lease_token,
    ", lease_expires_at is ",
    _S.lease_expires_at,
)
_SENT = _S.status.in_((StepState.QUEUED, StepState.RETRYING))
_TIMER = _steps(
    # What a pending step has there is not looked at before it is queued.
    or_(
        and_(_SENT, or_(_S.wake_at.is_(None), _S.batch_id.is_(None))),
        and_(_S.wake_at.is_not(None), or_(_ENDED, _LEASED, _S.status == StepState.WAITING)),
    ),
    "it is ",
    _S.status,
    ", wake_at is ",
    _S.wake_at,
    ", batch_id is ",
    _S.batch_id,
)
_END_TIME = _steps(
    _S.completed_at.is_not(None) != _ENDED,
    "it is ",
    _S.status,
    ", completed_at is ",
    _S.completed_at,
)
_ERROR = _steps(
    or_(
        and_(
            _S.status == StepState.COMPLETED,
            or_(_S.error_type.is_not(None), _S.error_message.is_not(None)),
        ),
        and_(
            _S.status == StepState.FAILED,
            or_(_S.error_type.is_(None), _S.error_message.is_(None)),
        ),
    ),
    "it is ",
    _S.status,
    ", error_type is ",
    _S.error_type,
    ", error_message is ",
    _S.error_message,
)

_HEX_ID = func.replace(cast(_S.id, String), "-", "")
_IS_ITS_OWN = func.replace(_S.result["key"].as_string(), "-", "").contains(_HEX_ID)
_NO_RESULT = _steps(
    and_(_S.status == StepState.COMPLETED, ~_IS_MAP, _S.result.is_(null())),
    "it has completed without a result",
)
_NO_COPY = _steps(
    # A step that waited for a child run may refer to a row of that.
    and_(
        _S.status == StepState.COMPLETED,
        _S.result["place"].as_string() == Place.ROW,
        _IS_ITS_OWN,
        _S.outputs.is_(null()),
    ),
    "its result is said to lie in its row, and does not",
)

_COUNTED = _steps(
    or_(
        _S.pending_dependencies < 0,
        and_(
            _S.pending_dependencies != 0,
            _S.status.not_in((StepState.PENDING, StepState.CANCELLED)),
        ),
    ),
    "it is ",
    _S.status,
    ", but pending_dependencies is ",
    _S.pending_dependencies,
)
_UNADVANCED = _steps(
    and_(_ENDED, _S.advanced.is_(False), _S.completed_at <= _LONG_AGO),
    "it is ",
    _S.status,
    " since ",
    _S.completed_at,
    ", and nobody went on",
)

_CAP = bindparam("p_recoveries", type_=Integer)
_RECOVERIES = _steps(
    or_(_S.recoveries > _CAP + 1, _S.recoveries > _S.attempt, _S.recoveries < 0),
    "it was recovered ",
    _S.recoveries,
    " times in ",
    _S.attempt,
    " attempts, the cap is ",
    _CAP,
)
_OVERDUE = _steps(
    and_(
        _R.status.in_((RunState.RUNNING, RunState.CANCELLING)),
        or_(
            and_(_R.status == RunState.RUNNING, _SENT, _S.wake_at <= _LONG_AGO),
            and_(_LEASED, _S.lease_expires_at <= _LONG_AGO),
        ),
    ),
    "it is ",
    _S.status,
    ", due at ",
    func.coalesce(_S.wake_at, _S.lease_expires_at),
    of=STEPS.join(RUNS),
)

# --- child runs -----------------------------------------------------------------------------------

_OPEN_CHILD = exists().where(
    _K.parent_step_run_id == _S.id, _K.status.not_in(tuple(TERMINAL_RUN_STATES))
)
_CHILDLESS = _steps(
    and_(_S.status == StepState.WAITING, ~_OPEN_CHILD), "it waits for no child run that is open"
)
_PARENT = RUNS.outerjoin(STEPS, _S.id == _R.parent_step_run_id)
_ALONE = _runs(
    and_(
        _R.parent_step_run_id.is_not(None),
        # A child that is being cancelled may outlive the wait for it.
        _R.status.in_((RunState.PENDING, RunState.RUNNING, RunState.PAUSED)),
        or_(
            _S.id.is_(None),
            and_(
                _S.status != StepState.WAITING,
                or_(_S.completed_at.is_(None), _S.completed_at <= _LONG_AGO),
            ),
        ),
    ),
    "it is ",
    _R.status,
    ", the step ",
    _R.parent_step_run_id,
    " that waits for it is ",
    _S.status,
    of=_PARENT,
)

#: Name, what must hold, and what finds the rows for which it does not.
_CHECKS: Final[Sequence[tuple[str, str, Sequence[Select[Any]]]]] = (
    ("run moves", "A run that is open has a step that will move it.", [_AT_REST]),
    ("run ends", "Exactly the runs that have ended have an end time.", [_TIMES]),
    ("run is whole", "All steps of a run that has ended have ended.", [_STILL_OPEN]),
    (
        "run totals",
        "Totals and progress of a run that has ended are sums over its steps.",
        [
            _sum(_R.total_steps, "total"),
            _sum(_R.step_progress, "done"),
            _sum(_R.total_tokens, "tokens"),
            _sum(_R.total_cost, "cost"),
        ],
    ),
    (
        "run outcome",
        "A failed run has an error; a completed one has none, and no cancelled step.",
        _OUTCOME,
    ),
    ("step once", "A step has one row in a run, and an item of a map one.", [_UNIQUE]),
    (
        "map items",
        "A map has as many items as it says, numbered from 0, and only a map has items.",
        [_MAP, _steps(and_(~_NODE, ~_ITS_NODE), "it is an item of nothing")],
    ),
    (
        "map ends",
        "A running map has an item that is open.",
        [_steps(and_(_OPEN_MAP, ~_RECENT_ITEM), "all its items have ended")],
    ),
    ("lease", "Exactly the steps that a worker runs have a lease.", [_LEASE]),
    (
        "timer",
        "A queued or retrying step has a time to be looked at and a batch; a later one has none.",
        [_TIMER],
    ),
    (
        "on time",
        "No lease has lapsed, and no queued or retrying step was due, without a sweeper acting.",
        [_OVERDUE],
    ),
    ("step ends", "Exactly the steps that have ended have an end time.", [_END_TIME]),
    ("step error", "A failed step has an error, a completed one has none.", [_ERROR]),
    (
        "step result",
        "A completed step has a result, and the row that is to hold it does.",
        [_NO_RESULT, _NO_COPY],
    ),
    ("step waits", "Only a step that is pending, or cancelled, waits for others.", [_COUNTED]),
    ("step advanced", "After each step that has ended someone went on.", [_UNADVANCED]),
    ("recoveries", "No step was recovered more often than allowed.", [_RECOVERIES]),
    (
        "child run",
        "A step waits exactly as long as its child run is open.",
        [_CHILDLESS, _ALONE],
    ),
)

INVARIANTS: Final = tuple(Invariant(name, text) for name, text, _ in _CHECKS)

_ALL = union_all(
    *(
        query.add_columns(literal(name, String).label("invariant"))
        for name, _, queries in _CHECKS
        for query in queries
    )
)

_FAILURES = _S.attempt - _S.recoveries
_HAS_FAILED = and_(_R.status == RunState.COMPLETED, _S.status == StepState.FAILED, _NODE)
_SUSPECTS = (
    select(_R.id, _S.id, _S.step_key, _S.map_index, _FAILURES, _HAS_FAILED)
    .select_from(STEPS.join(RUNS))
    .where(or_(_FAILURES > 1, _HAS_FAILED))
)
_OBJECTS = (
    select(_S.flow_run_id, _S.id, _S.step_key, _S.map_index, _S.result)
    .where(_S.result["place"].as_string() == Place.OBJECT)
    .order_by(_S.id)
)
_PAGE: Final = 200
_RUNS_AFTER = select(_R.id).where(_R.id > bindparam("p_after")).order_by(_R.id).limit(_PAGE)
_FIRST_RUNS = select(_R.id).order_by(_R.id).limit(_PAGE)
_PLACED = (
    select(
        _R.id,
        _R.status,
        _R.started_at,
        DbNow(),
        _S.id,
        _S.step_key,
        _S.status,
        _S.pending_dependencies,
        _S.advanced,
        _S.started_at,
        _S.completed_at,
    )
    .select_from(RUNS.outerjoin(STEPS, and_(_S.flow_run_id == _R.id, _NODE)))
    .where(_R.id.in_(bindparam("p_runs", expanding=True)))
    .order_by(_R.id, _S.step_order)
)


class SqlInvariants(Repository):
    """Implements `flowq.engine.ports.Invariants`; only reads."""

    @property
    def listed(self) -> Sequence[Invariant]:
        """What is checked."""
        return INVARIANTS

    def violations(self, *, grace: timedelta, max_recoveries: int) -> list[Violation]:
        """Return the rows at fault, all as of one moment."""
        given = {"p_before": -grace.total_seconds(), "p_recoveries": max_recoveries}
        return [
            Violation(name, RunId(run), what, None if step is None else StepRunId(step), key, index)
            for run, step, key, index, what, name in self._run(_ALL, given)
        ]

    def suspects(self) -> list[Suspect]:
        """Return steps whose failures only the spec of their run can allow."""
        return [
            Suspect(RunId(run), StepRunId(step), key, index, failures, bool(failed))
            for run, step, key, index, failures, failed in self._run(_SUSPECTS)
        ]

    def placed(self, after: RunId | None = None) -> list[PlacedRun]:
        """Return some runs with their nodes, in the order of their ids, all as of one moment."""
        page = _FIRST_RUNS if after is None else _RUNS_AFTER
        ids = [row[0] for row in self._run(page, {} if after is None else {"p_after": after})]
        found: dict[RunId, tuple[Any, list[PlacedNode]]] = {}
        for row in self._run(_PLACED, {"p_runs": ids}) if ids else ():
            nodes = found.setdefault(RunId(row[0]), (row, []))[1]
            if row[4] is not None:
                nodes.append(PlacedNode(StepRunId(row[4]), row[5], StepState(row[6]), *row[7:11]))
        return [
            PlacedRun(run_id, RunState(row[1]), row[2], row[3], tuple(nodes))
            for run_id, (row, nodes) in found.items()
        ]

    def objects(self) -> list[StoredObject]:
        """Return what rows say about objects."""
        return [
            StoredObject(RunId(run), StepRunId(step), key, index, ResultRef.model_validate(result))
            for run, step, key, index, result in self._run(_OBJECTS)
        ]
