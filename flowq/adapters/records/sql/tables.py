"""The tables, as typed SQLAlchemy models.

One row of `flow_step_runs` is one *node* of a run (`map_index` NULL) or one item of a map. A node's
`pending_dependencies` counts its open dependencies; when a step ends, one UPDATE decrements this
counter of its dependents, and sets `advanced`, so it is done once. `wake_at` is when the sweeper
has to check a queued or retrying row, `resends` how often it resent a queued one. The run's row is
written when the run starts, stops and ends, not per step: under a wide map all steps would wait for
this one row.

Calls of a program are rows of its run, too: they have their own `spec`, and `observed` is their
number in the order in which the program saw them end. The program's own row has no spec; its
`observed` is the count of seen events. `shielded_until` lets a row run on while its run is
stopping, so that a cancelled program may clean up.
"""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, String, Text, TextClause, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from flowq.adapters.records.sql.action_tables import FlowAction
from flowq.adapters.records.sql.base import Base
from flowq.adapters.records.sql.document_tables import DocumentAlias, StoredDocument
from flowq.adapters.records.sql.limit_tables import Meter, Reservation, Slot, TokenUse, Wait
from flowq.adapters.records.sql.log_tables import FlowLog
from flowq.adapters.records.sql.request_tables import FlowDefinition, FlowRequest
from flowq.adapters.records.sql.schedule_tables import FlowSchedule, SkippedTick
from flowq.adapters.records.sql.types import LARGE

__all__ = [
    "CALLED",
    "DEBOUNCED",
    "EXPANDED",
    "HAS_DEADLINE",
    "HAS_DOCUMENT",
    "HAS_ERROR",
    "HAS_SCHEDULE",
    "IN_LINE",
    "IS_CHILD",
    "IS_RERUN",
    "IS_TOP",
    "LEASED",
    "OPEN",
    "OPEN_OF_RUN",
    "OPEN_RUN",
    "OPEN_SCHEDULED",
    "QUEUED",
    "RETRYING",
    "REVISION",
    "SHARED",
    "SINGLETON",
    "STARTING",
    "TIMED",
    "UNADVANCED",
    "UNCONSUMED",
    "VERSION_TABLE",
    "Base",
    "CachedResult",
    "DocumentAlias",
    "FlowAction",
    "FlowAttempt",
    "FlowDefinition",
    "FlowDuty",
    "FlowLog",
    "FlowRequest",
    "FlowRun",
    "FlowSchedule",
    "FlowSignal",
    "FlowStepRun",
    "LlmRequest",
    "Meter",
    "Reservation",
    "SkippedTick",
    "Slot",
    "StoredDocument",
    "TokenUse",
    "Wait",
]

#: The Alembic revision of these models; a test compares it with the scripts.
REVISION = "0026"
#: A name of flowq's own, since the tables may be in a database with other migrations.
VERSION_TABLE = "flowq_alembic_version"

# The conditions of partial indexes. Queries contain the same text: a database uses such an index
# only if the statement itself, without its parameters, implies the condition.
_OPEN_STATES = "status IN ('pending', 'running', 'paused', 'cancelling')"
#: The second part is always true. Only queries for open runs as such have it, so PostgreSQL takes
#: the index for no others, cheap as it looks while it is empty (see `state_of`, `OPEN_OF_RUN`).
OPEN_RUN = text(f"{_OPEN_STATES} AND status || '' <> ''")
HAS_ERROR = text("error_message IS NOT NULL")
HAS_DOCUMENT = text("document_id IS NOT NULL")
HAS_SCHEDULE = text("schedule_name IS NOT NULL")
OPEN_SCHEDULED = text(f"{HAS_SCHEDULE.text} AND {_OPEN_STATES}")
IS_TOP = text("parent_step_run_id IS NULL")
IS_CHILD = text("parent_step_run_id IS NOT NULL")
IS_RERUN = text("rerun_of IS NOT NULL")
HAS_DEADLINE = text("deadline IS NOT NULL AND status IN ('pending', 'running', 'paused')")
STARTING = text("starts_at IS NOT NULL AND status = 'pending'")
# Not by the state: a run that is cancelled before it begins is `cancelling`, too.
SINGLETON = text("singleton_key IS NOT NULL AND started_at IS NOT NULL AND completed_at IS NULL")
IN_LINE = text("singleton_key IS NOT NULL AND status = 'pending'")
DEBOUNCED = text("debounce_key IS NOT NULL AND status = 'pending'")


def _partial(name: str, *columns: str, where: TextClause, unique: bool = False) -> Index:
    return Index(name, *columns, unique=unique, postgresql_where=where, sqlite_where=where)


class FlowRun(Base):
    """One execution of a flow with one input."""

    __tablename__ = "flow_runs"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[str | None] = mapped_column(String(200))
    flow_name: Mapped[str] = mapped_column(String(200))
    status: Mapped[str] = mapped_column(String(20), default="pending")
    execution_mode: Mapped[str] = mapped_column(String(20), default="async")
    current_step: Mapped[str | None] = mapped_column(String(200))
    step_progress: Mapped[int] = mapped_column(default=0)
    total_steps: Mapped[int | None]
    progress_percentage: Mapped[float] = mapped_column(default=0.0)
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]
    last_heartbeat: Mapped[datetime | None]
    total_tokens: Mapped[int] = mapped_column(BigInteger, default=0)
    total_cost: Mapped[Decimal] = mapped_column(default=Decimal(0))
    unpriced_calls: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    execution_time_ms: Mapped[int | None] = mapped_column(LARGE)
    inputs: Mapped[Any]
    outputs: Mapped[Any | None]
    flow_metadata: Mapped[Any | None]
    error_message: Mapped[str | None] = mapped_column(Text)
    # The same as `error_message`, for programs: see `StopKind`.
    stop_kind: Mapped[str | None] = mapped_column(String(20))
    failed_step_id: Mapped[UUID | None]

    spec: Mapped[Any]
    parent_step_run_id: Mapped[UUID | None]
    # The stored document that it was started from; it has no other effect on the run.
    document_id: Mapped[UUID | None]
    # The schedule that has started it; there may be no such schedule any more.
    schedule_name: Mapped[str | None] = mapped_column(String(200))
    idempotency_key: Mapped[str | None] = mapped_column(String(200))
    priority: Mapped[int] = mapped_column(default=0)
    # Of a pending run: when it begins, unless it waits for its singleton key.
    starts_at: Mapped[datetime | None]
    singleton_key: Mapped[str | None] = mapped_column(String(200))
    debounce_key: Mapped[str | None] = mapped_column(String(200))
    deadline: Mapped[datetime | None]
    budget_usd: Mapped[Decimal | None]
    budget_tokens: Mapped[int | None] = mapped_column(LARGE)
    budget_action: Mapped[str | None] = mapped_column(String(10))
    budget_warnings: Mapped[Any | None]
    cancel_requested_at: Mapped[datetime | None]
    continued_as: Mapped[UUID | None]
    # Of a rerun: the run that it repeats, which is kept as long as the rerun.
    rerun_of: Mapped[UUID | None]

    steps: Mapped[list["FlowStepRun"]] = relationship(
        back_populates="run",
        cascade="all, delete-orphan",
        passive_deletes=True,
        order_by="(FlowStepRun.step_order, FlowStepRun.map_index)",
    )

    __table_args__ = (
        Index(None, "user_id", "id"),
        Index(None, "flow_name", "id"),
        Index(None, "status", "id"),
        _partial("ix_flow_runs_top", "id", where=IS_TOP),
        _partial("ix_flow_runs_child", "parent_step_run_id", where=IS_CHILD),
        Index("uq_flow_runs_idempotency_key", "flow_name", "idempotency_key", unique=True),
        _partial("ix_flow_runs_document_id", "document_id", "id", where=HAS_DOCUMENT),
        _partial("ix_flow_runs_schedule_name", "schedule_name", "id", where=HAS_SCHEDULE),
        _partial("ix_flow_runs_open_scheduled", "schedule_name", where=OPEN_SCHEDULED),
        _partial("ix_flow_runs_rerun_of", "rerun_of", "id", where=IS_RERUN),
        _partial("ix_flow_runs_open_runs", "id", where=OPEN_RUN),
        _partial("ix_flow_runs_deadline", "deadline", where=HAS_DEADLINE),
        _partial("ix_flow_runs_error", "id", where=HAS_ERROR),
        _partial("ix_flow_runs_starting", "starts_at", where=STARTING),
        _partial(
            "uq_flow_runs_singleton", "flow_name", "singleton_key", where=SINGLETON, unique=True
        ),
        _partial("ix_flow_runs_in_line", "flow_name", "singleton_key", "id", where=IN_LINE),
        _partial(
            "uq_flow_runs_debounce", "flow_name", "debounce_key", where=DEBOUNCED, unique=True
        ),
    )


OPEN = text("status IN ('pending', 'queued', 'running', 'retrying', 'waiting')")
OPEN_OF_RUN = text(f"{OPEN.text} AND flow_run_id IS NOT NULL")
UNADVANCED = text("NOT advanced AND status IN ('completed', 'failed', 'skipped', 'cancelled')")
QUEUED = text("status = 'queued'")
SHARED = text("share IS NOT NULL AND status = 'queued'")
RETRYING = text("status = 'retrying'")
EXPANDED = text("status = 'running' AND map_size IS NOT NULL")
LEASED = text("status = 'running' AND lease_expires_at IS NOT NULL")
TIMED = text("status = 'waiting' AND wake_at IS NOT NULL")
CALLED = text("spec IS NOT NULL")
UNCONSUMED = text("consumed_by IS NULL")
_HAS_REQUEST = text("llm_request_id IS NOT NULL")
#: Failed steps, by the class of their error.
_HAS_FAILED = text("status = 'failed' AND error_type IS NOT NULL")
_IS_HIT = text("cached_from IS NOT NULL")


class FlowStepRun(Base):
    """One step within one run; one per item of a map."""

    __tablename__ = "flow_step_runs"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    flow_run_id: Mapped[UUID] = mapped_column(ForeignKey("flow_runs.id", ondelete="CASCADE"))
    llm_request_id: Mapped[UUID | None]
    step_name: Mapped[str] = mapped_column(String(200))
    step_order: Mapped[int]
    status: Mapped[str] = mapped_column(String(20), default="pending")
    inputs: Mapped[Any | None]
    outputs: Mapped[Any | None]
    tokens_used: Mapped[int] = mapped_column(BigInteger, default=0)
    cost_estimate: Mapped[Decimal] = mapped_column(default=Decimal(0))
    unpriced_calls: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    execution_time_ms: Mapped[int | None] = mapped_column(LARGE)
    error_message: Mapped[str | None] = mapped_column(Text)
    step_metadata: Mapped[Any | None]
    created_at: Mapped[datetime]
    completed_at: Mapped[datetime | None]

    step_key: Mapped[str] = mapped_column(String(200))
    map_index: Mapped[int | None]
    map_size: Mapped[int | None]
    batch_id: Mapped[str | None] = mapped_column(String(64))
    pending_dependencies: Mapped[int] = mapped_column(default=0)
    advanced: Mapped[bool] = mapped_column(default=False)
    # Of the last attempt, and of the first one.
    started_at: Mapped[datetime | None]
    first_started_at: Mapped[datetime | None]
    attempt: Mapped[int] = mapped_column(default=0)
    recoveries: Mapped[int] = mapped_column(default=0)
    lease_token: Mapped[UUID | None]
    lease_expires_at: Mapped[datetime | None]
    wake_at: Mapped[datetime | None]
    resends: Mapped[int] = mapped_column(default=0, server_default="0")
    worker: Mapped[str | None] = mapped_column(String(200))
    result: Mapped[Any | None]
    error_type: Mapped[str | None] = mapped_column(String(200))
    # Of a failed program: the call whose failure it did not catch.
    failed_step_id: Mapped[UUID | None]
    spec: Mapped[Any | None]
    observed: Mapped[int | None]
    shielded_until: Mapped[datetime | None]
    # Of a hit, and of a reused step of a rerun: the step that made the result, and what that cost.
    cached_from: Mapped[UUID | None]
    saved_tokens: Mapped[int | None] = mapped_column(BigInteger)
    saved_cost: Mapped[Decimal | None]
    # That of its run, if the step may be queued: by it the lines of shares are found.
    share: Mapped[str | None] = mapped_column(String(200))

    run: Mapped[FlowRun] = relationship(back_populates="steps")

    __table_args__ = (
        Index("ix_flow_step_runs_node", "flow_run_id", "step_key", "map_index"),
        Index("ix_flow_step_runs_step_name", "step_name"),
        _partial("ix_flow_step_runs_llm_request_id", "llm_request_id", where=_HAS_REQUEST),
        _partial("ix_flow_step_runs_cached_from", "cached_from", where=_IS_HIT),
        _partial("ix_flow_step_runs_error_type", "error_type", where=_HAS_FAILED),
        # For queries of the engine and the sweeper, over the few rows that can match.
        _partial("ix_flow_step_runs_open_of_run", "flow_run_id", "step_key", where=OPEN_OF_RUN),
        _partial("ix_flow_step_runs_unadvanced", "flow_run_id", where=UNADVANCED),
        _partial("ix_flow_step_runs_queued", "wake_at", where=QUEUED),
        _partial(
            "ix_flow_step_runs_share",
            *("share", "step_name", "wake_at", "map_index"),
            where=SHARED,
        ),
        _partial("ix_flow_step_runs_retrying", "wake_at", where=RETRYING),
        _partial("ix_flow_step_runs_expanded", "started_at", where=EXPANDED),
        _partial("ix_flow_step_runs_lease_expires_at", "lease_expires_at", where=LEASED),
        _partial("ix_flow_step_runs_timed", "wake_at", where=TIMED),
        _partial("ix_flow_step_runs_called", "flow_run_id", "observed", where=CALLED),
    )


class FlowAttempt(Base):
    """An attempt that did not end its step; the last attempt of a step is in the step's row.

    `attempt` is not unique for a step, since released attempts are not counted; `place` is the
    order of the attempts.
    """

    __tablename__ = "flow_attempts"

    step_run_id: Mapped[UUID] = mapped_column(
        ForeignKey("flow_step_runs.id", ondelete="CASCADE"), primary_key=True
    )
    place: Mapped[int] = mapped_column(primary_key=True)
    flow_run_id: Mapped[UUID]
    attempt: Mapped[int]
    claimed_at: Mapped[datetime]
    ended_at: Mapped[datetime]
    worker: Mapped[str | None] = mapped_column(String(200))
    outcome: Mapped[str] = mapped_column(String(20))
    error_type: Mapped[str | None] = mapped_column(String(200))
    error_message: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (Index(None, "flow_run_id"),)


class LlmRequest(Base):
    """One call of a model. Failed calls too: they were paid for."""

    __tablename__ = "llm_requests"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    flow_run_id: Mapped[UUID | None]
    flow_step_run_id: Mapped[UUID | None]
    attempt: Mapped[int] = mapped_column(default=1)
    # Copied from the run, so that costs are summed from one table, also of calls outside a run.
    flow_name: Mapped[str | None] = mapped_column(String(200))
    user_id: Mapped[str | None] = mapped_column(String(200))
    step_name: Mapped[str | None] = mapped_column(String(200))
    provider: Mapped[str] = mapped_column(String(100))
    model: Mapped[str] = mapped_column(String(200))
    status: Mapped[str] = mapped_column(String(20))
    input_tokens: Mapped[int] = mapped_column(LARGE, default=0)
    output_tokens: Mapped[int] = mapped_column(LARGE, default=0)
    cached_tokens: Mapped[int] = mapped_column(LARGE, default=0)
    cost: Mapped[Decimal | None]
    cost_status: Mapped[str] = mapped_column(String(20), default="unknown")
    latency_ms: Mapped[int | None] = mapped_column(LARGE)
    error_message: Mapped[str | None] = mapped_column(Text)
    object_key: Mapped[str | None] = mapped_column(String(300))
    prompt: Mapped[str | None] = mapped_column(Text)
    answer: Mapped[str | None] = mapped_column(Text)
    # What metadata the outermost run had, as far as costs are grouped by it.
    labels: Mapped[Any | None]
    # What the cost was computed with: prices change.
    price: Mapped[Any | None]
    created_at: Mapped[datetime]
    completed_at: Mapped[datetime | None]

    __table_args__ = (
        Index(None, "flow_run_id"),
        Index(None, "flow_step_run_id"),
        Index(None, "created_at"),
    )


class FlowSignal(Base):
    """A message from outside for a program; `consumed_by` is the row of its wait."""

    __tablename__ = "flow_signals"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    flow_run_id: Mapped[UUID] = mapped_column(ForeignKey("flow_runs.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(200))
    payload: Mapped[Any | None] = mapped_column(JSON())
    created_at: Mapped[datetime]
    consumed_at: Mapped[datetime | None]
    consumed_by: Mapped[UUID | None]

    __table_args__ = (
        Index(None, "flow_run_id"),
        _partial("ix_flow_signals_open", "flow_run_id", "name", where=UNCONSUMED),
    )


class FlowDuty(Base):
    """Work that one sweeper at a time does: the one that advances `due_at` has the turn."""

    __tablename__ = "flow_duties"

    name: Mapped[str] = mapped_column(String(50), primary_key=True)
    due_at: Mapped[datetime]
    position: Mapped[str] = mapped_column(Text, default="")


class CachedResult(Base):
    """A cached result, until it expires, with the step that made it."""

    __tablename__ = "flow_cached_results"

    step_run_id: Mapped[UUID] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(64))
    step_name: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    result: Mapped[Any]
    outputs: Mapped[Any | None]
    tokens: Mapped[int] = mapped_column(BigInteger)
    cost: Mapped[Decimal]

    __table_args__ = (Index(None, "key", "expires_at"), Index(None, "expires_at"))
