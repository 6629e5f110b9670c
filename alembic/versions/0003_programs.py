"""Programs: what they have called, what they have seen of it, and their timers.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

#: Column types as they were at this revision; history imports no live code.
UTC_DATETIME = sa.DateTime(timezone=True).with_variant(sa.String(26), "sqlite")

TABLE = "flow_step_runs"
#: Name, columns, condition.
INDEXES = (
    ("ix_flow_step_runs_timed", ["wake_at"], "status = 'waiting' AND wake_at IS NOT NULL"),
    ("ix_flow_step_runs_called", ["flow_run_id", "observed"], "spec IS NOT NULL"),
)


def upgrade() -> None:
    op.add_column(TABLE, sa.Column("spec", sa.JSON(none_as_null=True), nullable=True))
    op.add_column(TABLE, sa.Column("observed", sa.Integer(), nullable=True))
    op.add_column(TABLE, sa.Column("shielded_until", UTC_DATETIME, nullable=True))
    for name, columns, condition in INDEXES:
        where = sa.text(condition)
        op.create_index(name, TABLE, columns, postgresql_where=where, sqlite_where=where)


def downgrade() -> None:
    for name, _columns, _condition in reversed(INDEXES):
        op.drop_index(name, TABLE)
    for column in ("shielded_until", "observed", "spec"):
        op.drop_column(TABLE, column)
