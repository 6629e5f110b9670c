"""The tables of limits, budgets and rates of tokens."""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import BigInteger, Double, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from flowq.adapters.records.sql.base import Base


class Slot(Base):
    """One of the places that a limit has: held by a lease, promised to a step, or free."""

    __tablename__ = "flow_slots"

    key: Mapped[str] = mapped_column(String(200), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    step_run_id: Mapped[UUID | None]
    token: Mapped[UUID | None]
    free_at: Mapped[datetime]
    used_at: Mapped[datetime | None]

    __table_args__ = (Index(None, "key", "free_at"),)


class Wait(Base):
    """A queued step that waits for a slot."""

    __tablename__ = "flow_waits"

    step_run_id: Mapped[UUID] = mapped_column(
        ForeignKey("flow_step_runs.id", ondelete="CASCADE"), primary_key=True
    )
    key: Mapped[str] = mapped_column(String(200))
    slots: Mapped[int]
    per_seconds: Mapped[float | None] = mapped_column(Double)
    number: Mapped[int | None]
    turn_at: Mapped[datetime | None]
    since: Mapped[datetime]

    __table_args__ = (Index(None, "key", "since"),)


class Meter(Base):
    """What was spent under a budget."""

    __tablename__ = "flow_meters"

    key: Mapped[str] = mapped_column(String(250), primary_key=True)
    began_at: Mapped[datetime]
    used: Mapped[int] = mapped_column(BigInteger)
    cost: Mapped[Decimal] = mapped_column(default=Decimal(0))
    warned_at: Mapped[datetime | None]


class Reservation(Base):
    """What a running call of a model may use, under one meter."""

    __tablename__ = "flow_reservations"

    call_id: Mapped[UUID] = mapped_column(primary_key=True)
    meter: Mapped[str] = mapped_column(String(250), primary_key=True)
    step_run_id: Mapped[UUID]
    token: Mapped[UUID]
    tokens: Mapped[int] = mapped_column(BigInteger)
    cost: Mapped[Decimal]
    created_at: Mapped[datetime]

    __table_args__ = (Index(None, "meter"), Index(None, "created_at"))


class TokenUse(Base):
    """The usage of a rate of tokens in one span of time, including reservations."""

    __tablename__ = "flow_token_uses"

    key: Mapped[str] = mapped_column(String(200), primary_key=True)
    began_at: Mapped[datetime] = mapped_column(primary_key=True)
    expires_at: Mapped[datetime]
    used: Mapped[int] = mapped_column(BigInteger)
    tokens: Mapped[int] = mapped_column(BigInteger)
    attempts: Mapped[int]

    __table_args__ = (Index(None, "expires_at"),)
