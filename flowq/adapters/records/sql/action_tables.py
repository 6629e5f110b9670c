"""The table of actions: who paused, resumed, cancelled or signalled a run, and when.

An action is inserted by the transaction that does it, and never changed. It is deleted with its
run.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from flowq.adapters.records.sql.base import Base


class FlowAction(Base):
    """What somebody did to a run."""

    __tablename__ = "flow_actions"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    flow_run_id: Mapped[UUID] = mapped_column(ForeignKey("flow_runs.id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(String(20))
    face: Mapped[str] = mapped_column(String(20))
    actor: Mapped[str | None] = mapped_column(String(200))
    details: Mapped[Any | None]
    created_at: Mapped[datetime]

    __table_args__ = (Index(None, "flow_run_id", "created_at"),)
