"""The UPDATE that closes a run, and the sums over its rows that it writes.

Until then nobody writes the row of a run for each step: it would be a hot row. A run is closed in a
state that may follow its present one; `if_clean` closes it only if nothing has gone another way.
"""

from typing import Any

from sqlalchemy import (
    ColumnElement,
    Float,
    Subquery,
    Update,
    and_,
    bindparam,
    case,
    cast,
    exists,
    func,
    select,
    update,
)

from flowq.adapters.records.control.stops import stop_unless
from flowq.adapters.records.sql.prepared import Prepared
from flowq.adapters.records.sql.repository import RUNS, STEPS
from flowq.adapters.records.sql.types import DbNow, ElapsedMs, total_cost
from flowq.core.states import (
    ACTIVE_STEP_STATES,
    DONE_STEP_STATES,
    TERMINAL_RUN_STATES,
    RunState,
    StepState,
)

_S = STEPS.c
_THIS = RUNS.c.id == bindparam("p_run")
_OF_THIS = _S.flow_run_id == bindparam("p_run")
_NODE = _S.map_index.is_(None)
#: A row that is not terminal.
OPEN = _S.status.in_(tuple(ACTIVE_STEP_STATES))
#: A row that ended, and not by a cancel of its run.
DONE = _S.status.in_(DONE_STEP_STATES)
HAS_OPEN = exists().where(_OF_THIS, OPEN)
#: A node that has failed.
FAILED = and_(_S.status == StepState.FAILED, _NODE)
HAS_FAILED = exists().where(_OF_THIS, FAILED)

#: A run's rows, summed. Items of a map are counted, not its node.
_LEAF = _S.map_size.is_(None)


def sums(done: ColumnElement[bool] = DONE, **counted: ColumnElement[bool]) -> Subquery:
    """Return the sums over the rows of the run `p_run`.

    Args:
        done: Which rows count as done.
        counted: Further conditions, by the names of the counts of the rows that meet them.
    """
    return (
        select(
            bindparam("p_run", type_=RUNS.c.id.type).label("run_id"),
            func.count().filter(_LEAF).label("total"),
            func.count().filter(_LEAF, done).label("done"),
            func.coalesce(func.sum(_S.tokens_used), 0).label("tokens"),
            total_cost(_S.cost_estimate).label("cost"),
            func.coalesce(func.sum(_S.unpriced_calls), 0).label("unpriced"),
            *(func.count().filter(one).label(name) for name, one in counted.items()),
        )
        .where(_OF_THIS)
        .subquery("sums")
    )


def _totals(known: Subquery) -> dict[str, Any]:
    """Return the columns of a run that are made of its sums."""
    return {
        "total_steps": known.c.total,
        "step_progress": known.c.done,
        "progress_percentage": case(
            (known.c.total == 0, 100.0),
            else_=100.0 * cast(known.c.done, Float) / func.nullif(known.c.total, 0),
        ),
        "total_tokens": known.c.tokens,
        "total_cost": known.c.cost,
        "unpriced_calls": known.c.unpriced,
        "last_heartbeat": DbNow(),
    }


def closing(outputs: ColumnElement[Any], known: Subquery) -> Update:
    """Return the UPDATE that closes the run `p_run` as `p_state`, if `p_sources` has its state."""
    return (
        update(RUNS)
        .where(
            _THIS,
            known.c.run_id == RUNS.c.id,
            RUNS.c.status.in_(bindparam("p_sources", expanding=True)),
        )
        .values(
            status=bindparam("p_state"),
            outputs=outputs,
            current_step=None,
            completed_at=DbNow(),
            execution_time_ms=ElapsedMs(RUNS.c.started_at),
            **_totals(known),
        )
    )


def if_clean(close: Update, *none: ColumnElement[bool]) -> Update:
    """Return an UPDATE that closes a run only if all of it has gone well.

    Args:
        close: The UPDATE.
        none: That no row is open, and no node has failed.
    """
    return close.where(
        RUNS.c.status == RunState.RUNNING, RUNS.c.cancel_requested_at.is_(None), *none
    )


_SUMS = sums()
_RECORDED = (
    select(_S.outputs).where(_OF_THIS, _NODE, _S.step_key == bindparam("p_key")).scalar_subquery()
)
_CLOSED = closing(
    func.coalesce(_RECORDED, bindparam("p_outputs", type_=RUNS.c.outputs.type)), _SUMS
)
CLOSE = Prepared(_CLOSED.values(stop_unless(RUNS.c.error_message.is_not(None))))
CLOSE_IF_CLEAN = Prepared(if_clean(_CLOSED, ~HAS_OPEN, ~HAS_FAILED))
_CURRENT = (
    select(_S.step_key)
    .where(_OF_THIS, _S.status == StepState.RUNNING)
    .order_by(_S.step_order)
    .limit(1)
    .scalar_subquery()
)
ROLL_UP = Prepared(
    update(RUNS)
    .where(
        _THIS,
        _SUMS.c.run_id == RUNS.c.id,
        RUNS.c.status.not_in(tuple(TERMINAL_RUN_STATES)),
    )
    .values(current_step=_CURRENT, **_totals(_SUMS))
)
