"""The table of what steps have logged.

A row is a bunch of lines of one attempt. Its key has the lease token, because attempts that are not
counted share their number, and the number of its first line, so that a repeated INSERT changes
nothing. The lines are in the row, or when they are large in the object store.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from flowq.adapters.records.sql.base import Base

#: The condition of the index by which the collector finds the bunch of an object.
IN_OBJECT = text("object_key IS NOT NULL")


class FlowLog(Base):
    """A bunch of lines of one attempt."""

    __tablename__ = "flow_logs"

    step_run_id: Mapped[UUID] = mapped_column(
        ForeignKey("flow_step_runs.id", ondelete="CASCADE"), primary_key=True
    )
    lease_token: Mapped[UUID] = mapped_column(primary_key=True)
    first_line: Mapped[int] = mapped_column(primary_key=True)
    flow_run_id: Mapped[UUID]
    attempt: Mapped[int]
    line_count: Mapped[int]
    missing: Mapped[int]
    level: Mapped[int]
    size_bytes: Mapped[int]
    first_at: Mapped[datetime]
    lines: Mapped[Any | None]
    object_key: Mapped[str | None] = mapped_column(String(300))

    __table_args__ = (
        Index(None, "flow_run_id", "first_at"),
        Index(
            "ix_flow_logs_object_key",
            "object_key",
            postgresql_where=IN_OBJECT,
            sqlite_where=IN_OBJECT,
        ),
    )
