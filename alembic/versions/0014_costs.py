"""Reservations of running calls, when a budget has warned, and what a call was priced with.

Revision ID: 0014
Revises: 0013
"""

import sqlalchemy as sa

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

#: Column types as they were at this revision; history imports no live code.
UTC_DATETIME = sa.DateTime(timezone=True).with_variant(sa.String(26), "sqlite")
MONEY = sa.Numeric(28, 9).with_variant(sa.BigInteger(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "flow_reservations",
        sa.Column("call_id", sa.Uuid(), nullable=False),
        sa.Column("meter", sa.String(length=250), nullable=False),
        sa.Column("step_run_id", sa.Uuid(), nullable=False),
        sa.Column("token", sa.Uuid(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("cost", MONEY, nullable=False),
        sa.Column("created_at", UTC_DATETIME, nullable=False),
        sa.PrimaryKeyConstraint("call_id", "meter", name="pk_flow_reservations"),
    )
    op.create_index("ix_flow_reservations_meter", "flow_reservations", ["meter"])
    op.create_index("ix_flow_reservations_created_at", "flow_reservations", ["created_at"])
    op.add_column("flow_meters", sa.Column("warned_at", UTC_DATETIME, nullable=True))
    json = sa.JSON(none_as_null=True)
    op.add_column("llm_requests", sa.Column("labels", json, nullable=True))
    op.add_column("llm_requests", sa.Column("price", json, nullable=True))


def downgrade() -> None:
    op.drop_column("llm_requests", "price")
    op.drop_column("llm_requests", "labels")
    op.drop_column("flow_meters", "warned_at")
    op.drop_index("ix_flow_reservations_created_at", "flow_reservations")
    op.drop_index("ix_flow_reservations_meter", "flow_reservations")
    op.drop_table("flow_reservations")
