"""The index of the lines of shares: the place of a queued step among those of its share.

Revision ID: 0025
Revises: 0024
"""

from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A database may have it from an earlier form of 0024; it is kept.
    op.ensure_index(
        "ix_flow_step_runs_share",
        "flow_step_runs",
        ["share", "step_name", "wake_at", "map_index"],
        where="share IS NOT NULL AND status = 'queued'",
    )


def downgrade() -> None:
    op.drop_index("ix_flow_step_runs_share", "flow_step_runs")
