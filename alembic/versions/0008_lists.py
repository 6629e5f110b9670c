"""The runs that have an error, for those who look for a part of its text.

Revision ID: 0008
Revises: 0007
"""

import sqlalchemy as sa

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    where = sa.text("error_message IS NOT NULL")
    op.create_index(
        "ix_flow_runs_error", "flow_runs", ["id"], postgresql_where=where, sqlite_where=where
    )


def downgrade() -> None:
    op.drop_index("ix_flow_runs_error", "flow_runs")
