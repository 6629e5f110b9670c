"""The tables of schedules, and of the ticks that started no run.

`wake_at` is when the sweeper has to look at a schedule: the next tick with its jitter, now for a
requested run, NULL for a paused or ended one. The sweeper moves it forward when it asks a worker to
start what is due, so that one worker at a time is asked. `next_at` is the next tick itself, and
changes only together with its effect.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from flowq.adapters.records.sql.base import Base

HAS_WAKE = text("wake_at IS NOT NULL")


class FlowSchedule(Base):
    """A schedule."""

    __tablename__ = "flow_schedules"

    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    flow_name: Mapped[str] = mapped_column(String(200))
    cron: Mapped[str | None] = mapped_column(String(200))
    every_seconds: Mapped[float | None]
    timezone: Mapped[str] = mapped_column(String(100))
    anchor_at: Mapped[datetime]
    inputs: Mapped[Any]
    time_input: Mapped[str | None] = mapped_column(String(200))
    options: Mapped[Any]
    catch_up: Mapped[str] = mapped_column(String(20))
    catch_up_limit: Mapped[int]
    overlap: Mapped[str] = mapped_column(String(20))
    jitter_seconds: Mapped[float]
    starts_at: Mapped[datetime | None]
    ends_at: Mapped[datetime | None]
    declared_in: Mapped[str | None] = mapped_column(String(400))
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    paused_at: Mapped[datetime | None]
    next_at: Mapped[datetime | None]
    wake_at: Mapped[datetime | None]
    last_at: Mapped[datetime | None]
    held_at: Mapped[datetime | None]
    requested_at: Mapped[datetime | None]
    backfill_at: Mapped[datetime | None]
    backfill_until: Mapped[datetime | None]
    rings: Mapped[int]
    problem: Mapped[str | None] = mapped_column(Text)
    version: Mapped[int]

    __table_args__ = (
        Index(
            "ix_flow_schedules_wake_at",
            "wake_at",
            postgresql_where=HAS_WAKE,
            sqlite_where=HAS_WAKE,
        ),
    )


class SkippedTick(Base):
    """Ticks of a schedule, one after the other, that have started no run for one reason."""

    __tablename__ = "flow_skipped_ticks"

    schedule_name: Mapped[str] = mapped_column(
        String(200), ForeignKey("flow_schedules.name", ondelete="CASCADE"), primary_key=True
    )
    first_at: Mapped[datetime] = mapped_column(primary_key=True)
    last_at: Mapped[datetime]
    ticks: Mapped[int]
    reason: Mapped[str] = mapped_column(String(20))
    detail: Mapped[str | None] = mapped_column(Text)
    recorded_at: Mapped[datetime]
