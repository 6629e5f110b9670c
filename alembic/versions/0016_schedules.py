"""Schedules, the ticks of them that started no run, and the schedule that has started a run.

Revision ID: 0016
Revises: 0015
"""

import sqlalchemy as sa

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

UTC_DATETIME = sa.DateTime(timezone=True).with_variant(sa.String(26), "sqlite")


def upgrade() -> None:
    op.create_table(
        "flow_schedules",
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("flow_name", sa.String(length=200), nullable=False),
        sa.Column("cron", sa.String(length=200), nullable=True),
        sa.Column("every_seconds", sa.Double(), nullable=True),
        sa.Column("timezone", sa.String(length=100), nullable=False),
        sa.Column("anchor_at", UTC_DATETIME, nullable=False),
        sa.Column("inputs", sa.JSON(), nullable=False),
        sa.Column("time_input", sa.String(length=200), nullable=True),
        sa.Column("options", sa.JSON(), nullable=False),
        sa.Column("catch_up", sa.String(length=20), nullable=False),
        sa.Column("catch_up_limit", sa.Integer(), nullable=False),
        sa.Column("overlap", sa.String(length=20), nullable=False),
        sa.Column("jitter_seconds", sa.Double(), nullable=False),
        sa.Column("starts_at", UTC_DATETIME, nullable=True),
        sa.Column("ends_at", UTC_DATETIME, nullable=True),
        sa.Column("declared_in", sa.String(length=400), nullable=True),
        sa.Column("created_at", UTC_DATETIME, nullable=False),
        sa.Column("updated_at", UTC_DATETIME, nullable=False),
        sa.Column("paused_at", UTC_DATETIME, nullable=True),
        sa.Column("next_at", UTC_DATETIME, nullable=True),
        sa.Column("wake_at", UTC_DATETIME, nullable=True),
        sa.Column("last_at", UTC_DATETIME, nullable=True),
        sa.Column("held_at", UTC_DATETIME, nullable=True),
        sa.Column("requested_at", UTC_DATETIME, nullable=True),
        sa.Column("backfill_at", UTC_DATETIME, nullable=True),
        sa.Column("backfill_until", UTC_DATETIME, nullable=True),
        sa.Column("rings", sa.Integer(), nullable=False),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_flow_schedules"),
    )
    is_due = sa.text("wake_at IS NOT NULL")
    op.create_index(
        "ix_flow_schedules_wake_at",
        "flow_schedules",
        ["wake_at"],
        postgresql_where=is_due,
        sqlite_where=is_due,
    )
    op.create_table(
        "flow_skipped_ticks",
        sa.Column("schedule_name", sa.String(length=200), nullable=False),
        sa.Column("first_at", UTC_DATETIME, nullable=False),
        sa.Column("last_at", UTC_DATETIME, nullable=False),
        sa.Column("ticks", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(length=20), nullable=False),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("recorded_at", UTC_DATETIME, nullable=False),
        sa.PrimaryKeyConstraint("schedule_name", "first_at", name="pk_flow_skipped_ticks"),
        sa.ForeignKeyConstraint(
            ["schedule_name"],
            ["flow_schedules.name"],
            name="fk_flow_skipped_ticks_schedule_name",
            ondelete="CASCADE",
        ),
    )
    op.add_column("flow_runs", sa.Column("schedule_name", sa.String(length=200), nullable=True))


def downgrade() -> None:
    op.drop_column("flow_runs", "schedule_name")
    op.drop_table("flow_skipped_ticks")
    op.drop_index("ix_flow_schedules_wake_at", "flow_schedules")
    op.drop_table("flow_schedules")
