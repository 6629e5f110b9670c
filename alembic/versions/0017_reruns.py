"""The run that a rerun repeats.

Revision ID: 0017
Revises: 0016
"""

import sqlalchemy as sa

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("flow_runs", sa.Column("rerun_of", sa.Uuid(), nullable=True))
    is_rerun = sa.text("rerun_of IS NOT NULL")
    op.create_index(
        "ix_flow_runs_rerun_of",
        "flow_runs",
        ["rerun_of", "id"],
        postgresql_where=is_rerun,
        sqlite_where=is_rerun,
    )


def downgrade() -> None:
    op.drop_index("ix_flow_runs_rerun_of", "flow_runs")
    op.drop_column("flow_runs", "rerun_of")
