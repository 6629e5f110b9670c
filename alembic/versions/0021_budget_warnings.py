"""The warnings of budgets that calls of a run have caused.

Revision ID: 0021
Revises: 0020
"""

import sqlalchemy as sa

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    json = sa.JSON(none_as_null=True)
    op.add_column("flow_runs", sa.Column("budget_warnings", json, nullable=True))


def downgrade() -> None:
    op.drop_column("flow_runs", "budget_warnings")
