"""Fair shares: whose step a queued one is, and its place in the line.

Revision ID: 0024
Revises: 0023
"""

import sqlalchemy as sa

from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

_SHARED = sa.text("share IS NOT NULL AND status = 'queued'")


def upgrade() -> None:
    op.add_column("flow_step_runs", sa.Column("share", sa.String(length=200), nullable=True))
    op.create_index(
        "ix_flow_step_runs_share",
        "flow_step_runs",
        ["share", "step_name", "wake_at", "map_index"],
        postgresql_where=_SHARED,
        sqlite_where=_SHARED,
    )


def downgrade() -> None:
    # Earlier code knows no lines: its sweeper sends these steps.
    op.execute(
        "UPDATE flow_step_runs SET wake_at = created_at "
        "WHERE share IS NOT NULL AND status = 'queued' AND wake_at > '2200-01-01 00:00:00.000000'"
    )
    op.drop_index("ix_flow_step_runs_share", "flow_step_runs")
    op.drop_column("flow_step_runs", "share")
