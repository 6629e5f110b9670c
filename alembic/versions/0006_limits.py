"""What is cached, who holds and waits for a limit, and what was spent under which budget.

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

#: Column types as they were at this revision; history imports no live code.
UTC_DATETIME = sa.DateTime(timezone=True).with_variant(sa.String(26), "sqlite")
MONEY = sa.Numeric(18, 9).with_variant(sa.BigInteger(), "sqlite")


def upgrade() -> None:
    op.add_column("flow_runs", sa.Column("budget_action", sa.String(length=10), nullable=True))
    op.add_column("flow_step_runs", sa.Column("cached_from", sa.Uuid(), nullable=True))
    op.add_column("flow_step_runs", sa.Column("saved_tokens", sa.BigInteger(), nullable=True))
    op.add_column("flow_step_runs", sa.Column("saved_cost", MONEY, nullable=True))
    where = sa.text("cached_from IS NOT NULL")
    op.create_index(
        "ix_flow_step_runs_cached_from",
        "flow_step_runs",
        ["cached_from"],
        postgresql_where=where,
        sqlite_where=where,
    )
    op.create_table(
        "flow_cached_results",
        sa.Column("step_run_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("step_name", sa.String(length=200), nullable=False),
        sa.Column("created_at", UTC_DATETIME, nullable=False),
        sa.Column("expires_at", UTC_DATETIME, nullable=False),
        sa.Column("result", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("outputs", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("cost", MONEY, nullable=False),
        sa.PrimaryKeyConstraint("step_run_id", name="pk_flow_cached_results"),
    )
    op.create_index(
        "ix_flow_cached_results_key_expires_at", "flow_cached_results", ["key", "expires_at"]
    )
    op.create_index("ix_flow_cached_results_expires_at", "flow_cached_results", ["expires_at"])
    op.create_table(
        "flow_slots",
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("step_run_id", sa.Uuid(), nullable=True),
        sa.Column("token", sa.Uuid(), nullable=True),
        sa.Column("free_at", UTC_DATETIME, nullable=False),
        sa.Column("used_at", UTC_DATETIME, nullable=True),
        sa.PrimaryKeyConstraint("key", "number", name="pk_flow_slots"),
    )
    op.create_index("ix_flow_slots_key_free_at", "flow_slots", ["key", "free_at"])
    op.create_table(
        "flow_waits",
        sa.Column("step_run_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("slots", sa.Integer(), nullable=False),
        sa.Column("per_seconds", sa.Double(), nullable=True),
        sa.Column("number", sa.Integer(), nullable=True),
        sa.Column("turn_at", UTC_DATETIME, nullable=True),
        sa.Column("since", UTC_DATETIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["step_run_id"],
            ["flow_step_runs.id"],
            name="fk_flow_waits_step_run_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("step_run_id", name="pk_flow_waits"),
    )
    op.create_index("ix_flow_waits_key_since", "flow_waits", ["key", "since"])
    op.create_table(
        "flow_meters",
        sa.Column("key", sa.String(length=250), nullable=False),
        sa.Column("began_at", UTC_DATETIME, nullable=False),
        sa.Column("used", sa.BigInteger(), nullable=False),
        sa.Column("used_before", sa.BigInteger(), nullable=False),
        sa.Column("cost", MONEY, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_flow_meters"),
    )


def downgrade() -> None:
    op.drop_table("flow_meters")
    op.drop_table("flow_waits")
    op.drop_table("flow_slots")
    op.drop_table("flow_cached_results")
    op.drop_index("ix_flow_step_runs_cached_from", "flow_step_runs")
    op.drop_column("flow_step_runs", "saved_cost")
    op.drop_column("flow_step_runs", "saved_tokens")
    op.drop_column("flow_step_runs", "cached_from")
    op.drop_column("flow_runs", "budget_action")
