"""The tables of flows that workers have recorded, and of runs that were requested of them.

A request is deleted by the transaction that inserts its run. `wake_at` is when the sweeper has to
ask a worker again; NULL if the run cannot be started, and `problem` says why.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from flowq.adapters.records.sql.base import Base

IS_REQUESTED = text("wake_at IS NOT NULL")


class FlowDefinition(Base):
    """A flow that a worker knows."""

    __tablename__ = "flow_definitions"

    flow_name: Mapped[str] = mapped_column(String(200), primary_key=True)
    input_schema: Mapped[Any]
    updated_at: Mapped[datetime]


class FlowRequest(Base):
    """A run that a worker has to start."""

    __tablename__ = "flow_requests"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    flow_name: Mapped[str] = mapped_column(String(200))
    inputs: Mapped[Any]
    options: Mapped[Any]
    face: Mapped[str] = mapped_column(String(20))
    actor: Mapped[str | None] = mapped_column(String(200))
    created_at: Mapped[datetime]
    wake_at: Mapped[datetime | None]
    rings: Mapped[int]
    problem: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (
        Index(
            "ix_flow_requests_wake_at",
            "wake_at",
            postgresql_where=IS_REQUESTED,
            sqlite_where=IS_REQUESTED,
        ),
    )
