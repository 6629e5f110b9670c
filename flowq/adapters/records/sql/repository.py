"""The base of the repositories: runs statements in the caller's connection or session.

The engine uses a `Connection`, since unit-of-work bookkeeping would only cost time; users pass
their `Session`. Statements of the engine are built once, at import, and bypass most of SQLAlchemy
(see `prepared`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Final, TypeVar, overload

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    CursorResult,
    Executable,
    FromClause,
    String,
    Table,
    and_,
    bindparam,
    case,
    exists,
    func,
    or_,
    select,
    type_coerce,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from flowq.adapters.records.sql.prepared import Prepared, QueryResult, Row
from flowq.adapters.records.sql.tables import Base
from flowq.adapters.records.sql.types import DbNow, json_text
from flowq.core.spec import StepKind
from flowq.core.states import RunState, StepState

T = TypeVar("T")

RUNS: Table = Base.metadata.tables["flow_runs"]
STEPS: Table = Base.metadata.tables["flow_step_runs"]
ATTEMPTS: Table = Base.metadata.tables["flow_attempts"]
DUTIES: Table = Base.metadata.tables["flow_duties"]
ACTIONS: Table = Base.metadata.tables["flow_actions"]
SIGNALS: Table = Base.metadata.tables["flow_signals"]
CACHED: Table = Base.metadata.tables["flow_cached_results"]
SLOTS: Table = Base.metadata.tables["flow_slots"]
WAITS: Table = Base.metadata.tables["flow_waits"]
METERS: Table = Base.metadata.tables["flow_meters"]
RESERVATIONS: Table = Base.metadata.tables["flow_reservations"]
TOKEN_USES: Table = Base.metadata.tables["flow_token_uses"]
DOCUMENTS: Table = Base.metadata.tables["flow_documents"]
ALIASES: Table = Base.metadata.tables["flow_document_aliases"]
SCHEDULES: Table = Base.metadata.tables["flow_schedules"]
SKIPPED: Table = Base.metadata.tables["flow_skipped_ticks"]
DEFINITIONS: Table = Base.metadata.tables["flow_definitions"]
REQUESTED: Table = Base.metadata.tables["flow_requests"]
REQUESTS: Table = Base.metadata.tables["llm_requests"]
LOGS: Table = Base.metadata.tables["flow_logs"]


def state_of(row: FromClause) -> ColumnElement[Any]:
    """Return the state of a row for a condition on a row that is found by its id.

    A partial index that was empty at the last ANALYZE, of the open steps for example, looks to
    PostgreSQL like the cheapest way to every row that may be in it, even if the id is given. It
    keeps such a plan when the index is full again: then each claim reads all open steps. No index
    serves an expression, so the plan is that of the primary key.
    """
    return type_coerce(row.c.status.concat(""), row.c.status.type)


#: The row of an attempt that holds its lease: `p_id`, `p_token`.
HELD: Final = and_(
    STEPS.c.id == bindparam("p_id"),
    STEPS.c.lease_token == bindparam("p_token"),
    state_of(STEPS) == StepState.RUNNING,
)
#: Whether the run of a step goes on, beside `RUNS.c.id == STEPS.c.flow_run_id`: it is running, or
#: the step belongs to a cancelled program that cleans up.
GOES_ON: Final = or_(
    state_of(RUNS) == RunState.RUNNING,
    and_(STEPS.c.shielded_until > DbNow(), state_of(RUNS) == RunState.CANCELLING),
)
#: The `wake_at` of a parked step: in a hundred years.
PARKED: Final = DbNow(36_500 * 86_400.0)
#: Whether the run of a step is paused.
IS_PAUSED: Final = exists().where(
    RUNS.c.id == STEPS.c.flow_run_id, state_of(RUNS) == RunState.PAUSED
)
#: Added to the time of the earlier attempts; model calls are added as they end.
USED: Final = {
    "execution_time_ms": func.coalesce(STEPS.c.execution_time_ms, 0)
    + bindparam("p_time", type_=BigInteger)
}
#: When a step began: its first attempt; maps when expanded, timers and signals when made.
FIRST_STARTED = func.coalesce(
    STEPS.c.first_started_at,
    STEPS.c.started_at,
    case(
        (
            json_text(STEPS.c.spec, "kind").in_((StepKind.TIMER, StepKind.SIGNAL)),
            STEPS.c.created_at,
        )
    ),
).label("started_at")

_LOCK = select(
    func.pg_advisory_xact_lock(func.hashtextextended(bindparam("p_name", type_=String), 0))
)
_TRY_LOCK = select(
    func.pg_try_advisory_xact_lock(func.hashtextextended(bindparam("p_name", type_=String), 0))
)
#: Keys in one IN list; SQLite takes 32,766 parameters, PostgreSQL's driver 65,535.
_MAX_KEYS = 5000


def by_dialect(table: Table, build: Callable[[Any], T]) -> Mapping[str, T]:
    """Return what is built of an INSERT that may say ON CONFLICT, by the dialect's name."""
    return {"postgresql": build(postgresql.insert(table)), "sqlite": build(sqlite.insert(table))}


def unless_paused(wake_at: Any) -> Any:
    """Return the `wake_at` of a queued step: it is parked if its run is paused."""
    return case((IS_PAUSED, PARKED), else_=wake_at)


class Repository:
    """Runs statements in the caller's transaction; never commits."""

    def __init__(self, within: Session | Connection) -> None:
        self._within = within

    @cached_property
    def _connection(self) -> Connection:
        within = self._within
        if isinstance(within, Session):
            # A session may have several databases; this is the one with flowq's tables.
            return within.connection(bind_arguments={"clause": RUNS})
        return within

    @cached_property
    def _session(self) -> Session:
        within = self._within
        return within if isinstance(within, Session) else Session(within, autoflush=False)

    @overload
    def _run(self, statement: Prepared, parameters: Mapping[str, Any]) -> QueryResult: ...

    @overload
    def _run(
        self,
        statement: Executable,
        parameters: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
    ) -> CursorResult[*tuple[Any, ...]]: ...

    def _run(self, statement: Any, parameters: Any = None) -> Any:
        if isinstance(statement, Prepared):
            return statement.run(self._connection, parameters)
        return self._connection.execute(statement, parameters)

    def _lock(self, *names: str) -> None:
        """Lock a name until the end of the transaction; SQLite has one writer at a time."""
        if self._connection.dialect.name == "postgresql":
            self._run(_LOCK, {"p_name": " ".join(("flowq", *names))})

    def _try_lock(self, *names: str) -> bool:
        """Lock a name as `_lock`, unless another transaction has it; returns whether it is ours."""
        if self._connection.dialect.name != "postgresql":
            return True
        return bool(self._run(_TRY_LOCK, {"p_name": " ".join(("flowq", *names))}).scalar())

    def _run_parts(
        self, statement: Prepared | Executable, parameters: Mapping[str, Any], keys: Sequence[Any]
    ) -> Iterator[Row]:
        """Run a statement with an IN list `p_keys` in parts of a size that the database allows."""
        for start in range(0, len(keys), _MAX_KEYS):
            part = {**parameters, "p_keys": list(keys[start : start + _MAX_KEYS])}
            yield from self._run(statement, part).all()

    def _changes(self, statement: Prepared | Executable, parameters: Mapping[str, Any]) -> bool:
        """Run a guarded UPDATE; return whether it found its row."""
        return self._run(statement, parameters).rowcount > 0
