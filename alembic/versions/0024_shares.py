"""Fair shares: whose step a queued one is.

Revision ID: 0024
Revises: 0023
"""

import sqlalchemy as sa

from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("flow_step_runs", sa.Column("share", sa.String(length=200), nullable=True))


def downgrade() -> None:
    # Earlier code knows no lines: its sweeper sends these steps.
    op.execute(
        "UPDATE flow_step_runs SET wake_at = created_at "
        "WHERE share IS NOT NULL AND status = 'queued' AND wake_at > '2200-01-01 00:00:00.000000'"
    )
    op.drop_column("flow_step_runs", "share")
