"""What checks of invariants are made of: a name, one sentence, and SELECTs of the rows at fault.

Checks are written against the design and not against the code that writes the rows: they count and
compare again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
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

from flowq.adapters.records.sql.repository import RUNS, SIGNALS, STEPS
from flowq.adapters.records.sql.types import DbNow
from flowq.core.states import TERMINAL_RUN_STATES, TERMINAL_STEP_STATES, StepState


@dataclass(frozen=True)
class Check:
    """An invariant and what finds the rows for which it does not hold."""

    name: str
    text: str
    queries: Sequence[Select[Any]]


S, R = STEPS.c, RUNS.c


def in_state(*states: StepState, of: Any = S) -> ColumnElement[bool]:
    """Return whether a step is in one of these states.

    They are written out: with bound ones, SQLite prepares a statement again each time it is run,
    to see whether a partial index serves it now.
    """
    # Sorted, so that the statement is the same in every process.
    return of.status.in_([literal_column(f"'{state}'") for state in sorted(states)])  # type: ignore[no-any-return]


#: What is older is no longer on its way: `p_before`, in seconds from now.
LONG_AGO: Final = DbNow(bindparam("p_before", type_=Float))
ENDED: Final = in_state(*TERMINAL_STEP_STATES)
RUN_ENDED: Final = R.status.in_(tuple(TERMINAL_RUN_STATES))
NODE: Final = S.map_index.is_(None)
IS_MAP: Final = S.map_size.is_not(None)
#: What a program has called; and programs themselves.
CALLED: Final = S.spec.is_not(null())
IS_PROGRAM: Final = and_(S.observed.is_not(None), S.spec.is_(null()))
#: What a worker runs: a running map only waits for its items.
LEASED: Final = and_(in_state(StepState.RUNNING), ~IS_MAP)


def _text(value: Any) -> ColumnElement[str]:
    return func.coalesce(cast(value, String), "none")


def _what(*parts: Any) -> ColumnElement[str]:
    """Join constants and columns to one text."""
    whole: Any = literal("", String)
    for part in parts:
        whole = whole + (literal(part, String) if isinstance(part, str) else _text(part))
    return whole  # type: ignore[no-any-return]


def steps(where: Any, *what: Any, of: FromClause = STEPS) -> Select[Any]:
    """Select steps at fault, and say what is wrong with each."""
    columns = (S.flow_run_id, S.id, S.step_key, S.map_index, _what(*what))
    return select(*columns).select_from(of).where(where)


def runs(where: Any, *what: Any, of: FromClause = RUNS) -> Select[Any]:
    """Select runs at fault, and say what is wrong with each."""
    nobody = (cast(null(), S.id.type), cast(null(), String), cast(null(), Integer))
    return select(R.id, *nobody, _what(*what)).select_from(of).where(where)


def signals(where: Any, *what: Any) -> Select[Any]:
    """Select signals at fault, by their run and who has received them, and say what is wrong."""
    columns = (SIGNALS.c.flow_run_id, SIGNALS.c.consumed_by)
    nowhere = (cast(null(), String), cast(null(), Integer))
    return select(*columns, *nowhere, _what(*what)).select_from(SIGNALS).where(where)
