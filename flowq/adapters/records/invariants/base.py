"""The parts of a check: a name, one sentence, and SELECTs of the rows that break it.

Checks follow the design and not the code that writes the rows: they count and compare again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import Formatter
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Float,
    Integer,
    Select,
    String,
    and_,
    bindparam,
    cast,
    func,
    literal,
    literal_column,
    null,
    select,
)
from sqlalchemy.sql.selectable import FromClause

from flowq.adapters.records.sql.repository import RUNS, SCHEDULES, SIGNALS, STEPS
from flowq.adapters.records.sql.types import DbNow
from flowq.core.states import TERMINAL_RUN_STATES, TERMINAL_STEP_STATES, StepState


@dataclass(frozen=True)
class Check:
    """An invariant with the SELECTs of the rows that break it."""

    name: str
    text: str
    queries: Sequence[Select[Any]]


S, R = STEPS.c, RUNS.c


def in_state(*states: StepState, of: Any = S) -> ColumnElement[bool]:
    """Return whether a step is in one of these states.

    They are literals: with bound values, SQLite prepares a statement again for each run, to check
    whether a partial index can be used.
    """
    # Sorted, so that the statement is the same in every process.
    return of.status.in_([literal_column(f"'{state}'") for state in sorted(states)])  # type: ignore[no-any-return]


#: Older states are not intermediate any more: `p_before`, in seconds from now.
LONG_AGO: Final = DbNow(bindparam("p_before", type_=Float))
ENDED: Final = in_state(*TERMINAL_STEP_STATES)
RUN_ENDED: Final = R.status.in_(tuple(TERMINAL_RUN_STATES))
NODE: Final = S.map_index.is_(None)
IS_MAP: Final = S.map_size.is_not(None)
#: Calls of programs; and programs themselves.
CALLED: Final = S.spec.is_not(null())
IS_PROGRAM: Final = and_(S.observed.is_not(None), S.spec.is_(null()))
#: Steps that a worker runs: a running map only waits for its items.
LEASED: Final = and_(in_state(StepState.RUNNING), ~IS_MAP)


def _text(value: Any) -> ColumnElement[str]:
    return func.coalesce(cast(value, String), "none")


def _what(text: str, own: Any, others: Mapping[str, Any]) -> ColumnElement[str]:
    """Fill in the names in braces: columns of the table at fault, and given names."""
    whole: Any = literal("", String)
    for words, name, _, _ in Formatter().parse(text):
        whole = whole + literal(words, String)
        if name is not None:
            whole = whole + _text(others[name] if name in others else own[name])
    return whole  # type: ignore[no-any-return]


def steps(where: Any, what: str, of: FromClause = STEPS, **others: Any) -> Select[Any]:
    """Select steps that break an invariant, with what is wrong."""
    columns = (S.flow_run_id, S.id, S.step_key, S.map_index, _what(what, S, others))
    return select(*columns).select_from(of).where(where)


def runs(where: Any, what: str, of: FromClause = RUNS, **others: Any) -> Select[Any]:
    """Select runs that break an invariant, with what is wrong."""
    nobody = (cast(null(), S.id.type), cast(null(), String), cast(null(), Integer))
    return select(R.id, *nobody, _what(what, R, others)).select_from(of).where(where)


def signals(where: Any, what: str) -> Select[Any]:
    """Select signals that break an invariant, by run and receiver, with what is wrong."""
    columns = (SIGNALS.c.flow_run_id, SIGNALS.c.consumed_by)
    nowhere = (cast(null(), String), cast(null(), Integer))
    return select(*columns, *nowhere, _what(what, SIGNALS.c, {})).select_from(SIGNALS).where(where)


def schedules(where: Any, what: str) -> Select[Any]:
    """Select schedules that break an invariant, with what is wrong; they are rows of no run."""
    nobody = (cast(null(), R.id.type), cast(null(), S.id.type))
    nowhere = (cast(null(), String), cast(null(), Integer))
    text = "schedule {name}: " + what
    columns = (*nobody, *nowhere, _what(text, SCHEDULES.c, {}))
    return select(*columns).select_from(SCHEDULES).where(where)
