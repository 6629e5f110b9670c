"""Signals to programs, and runs that go on as new ones.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

#: Column types as they were at this revision; history imports no live code.
UTC_DATETIME = sa.DateTime(timezone=True).with_variant(sa.String(26), "sqlite")

OPEN = "consumed_by IS NULL"


def upgrade() -> None:
    op.create_table(
        "flow_signals",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("flow_run_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("payload", sa.JSON(), nullable=True),
        sa.Column("created_at", UTC_DATETIME, nullable=False),
        sa.Column("consumed_at", UTC_DATETIME, nullable=True),
        sa.Column("consumed_by", sa.Uuid(), nullable=True),
        sa.ForeignKeyConstraint(
            ["flow_run_id"],
            ["flow_runs.id"],
            name="fk_flow_signals_flow_run_id_flow_runs",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_flow_signals"),
    )
    op.create_index("ix_flow_signals_flow_run_id", "flow_signals", ["flow_run_id"])
    where = sa.text(OPEN)
    op.create_index(
        "ix_flow_signals_open",
        "flow_signals",
        ["flow_run_id", "name"],
        postgresql_where=where,
        sqlite_where=where,
    )
    op.add_column("flow_runs", sa.Column("continued_as", sa.Uuid(), nullable=True))


def downgrade() -> None:
    op.drop_column("flow_runs", "continued_as")
    op.drop_table("flow_signals")
