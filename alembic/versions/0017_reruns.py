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


def downgrade() -> None:
    op.drop_column("flow_runs", "rerun_of")
