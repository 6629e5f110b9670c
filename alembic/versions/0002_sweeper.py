"""What the sweeper asks: how often a step was sent again, deadlines, and whose turn it is.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

#: Column types as they were at this revision; history imports no live code.
UTC_DATETIME = sa.DateTime(timezone=True).with_variant(sa.String(26), "sqlite")

SENT = "status IN ('queued', 'retrying')"
DUTIES = ("collect", "inspect")
#: Name, table, column, condition.
INDEXES = (
    (
        "ix_flow_runs_open",
        "flow_runs",
        "id",
        "status IN ('pending', 'running', 'paused', 'cancelling')",
    ),
    ("ix_flow_step_runs_queued", "flow_step_runs", "wake_at", "status = 'queued'"),
    ("ix_flow_step_runs_retrying", "flow_step_runs", "wake_at", "status = 'retrying'"),
    (
        "ix_flow_step_runs_expanded",
        "flow_step_runs",
        "started_at",
        "status = 'running' AND map_size IS NOT NULL",
    ),
    (
        "ix_flow_runs_deadline",
        "flow_runs",
        "deadline",
        "deadline IS NOT NULL AND status IN ('pending', 'running', 'paused')",
    ),
)


def create_index(name: str, table: str, column: str, condition: str) -> None:
    """Make a partial index on either database."""
    where = sa.text(condition)
    op.create_index(name, table, [column], postgresql_where=where, sqlite_where=where)


def upgrade() -> None:
    duties = op.create_table(
        "flow_duties",
        sa.Column("name", sa.String(length=50), nullable=False),
        sa.Column("due_at", UTC_DATETIME, nullable=False),
        sa.Column("position", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_flow_duties"),
    )
    # As text: since Python 3.12 the driver of SQLite warns of a datetime.
    long_ago = "2000-01-01 00:00:00+00:00"
    op.bulk_insert(duties, [{"name": name, "due_at": long_ago, "position": ""} for name in DUTIES])
    op.drop_index("ix_flow_step_runs_wake_at", "flow_step_runs")
    op.add_column(
        "flow_step_runs", sa.Column("resends", sa.Integer(), nullable=False, server_default="0")
    )
    for index in INDEXES:
        create_index(*index)


def downgrade() -> None:
    for name, table, _column, _condition in reversed(INDEXES):
        op.drop_index(name, table)
    op.drop_column("flow_step_runs", "resends")
    create_index("ix_flow_step_runs_wake_at", "flow_step_runs", "wake_at", SENT)
    op.drop_table("flow_duties")
