"""When runs begin: at a time, one at a time of a key, the last of many.

Revision ID: 0018
Revises: 0017
"""

import sqlalchemy as sa

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

#: Column types as they were at this revision; history imports no live code.
UTC_DATETIME = sa.DateTime(timezone=True).with_variant(sa.String(26), "sqlite")

_STARTING = "starts_at IS NOT NULL AND status = 'pending'"
_SINGLETON = "singleton_key IS NOT NULL AND started_at IS NOT NULL AND completed_at IS NULL"
_IN_LINE = "singleton_key IS NOT NULL AND status = 'pending'"
_DEBOUNCED = "debounce_key IS NOT NULL AND status = 'pending'"

#: Of each index: its columns and condition.
_INDEXES = {
    "ix_flow_runs_starting": (["starts_at"], _STARTING),
    "uq_flow_runs_singleton": (["flow_name", "singleton_key"], _SINGLETON),
    "ix_flow_runs_in_line": (["flow_name", "singleton_key", "id"], _IN_LINE),
    "uq_flow_runs_debounce": (["flow_name", "debounce_key"], _DEBOUNCED),
}


def upgrade() -> None:
    op.add_column("flow_runs", sa.Column("starts_at", UTC_DATETIME, nullable=True))
    for name in ("singleton_key", "debounce_key"):
        op.add_column("flow_runs", sa.Column(name, sa.String(length=200), nullable=True))
    for name, (columns, where) in _INDEXES.items():
        condition = sa.text(where)
        op.create_index(
            name,
            "flow_runs",
            columns,
            unique=name.startswith("uq_"),
            postgresql_where=condition,
            sqlite_where=condition,
        )


def downgrade() -> None:
    # Earlier code starts no pending run: those that wait for nothing begin now.
    op.execute(
        "UPDATE flow_runs SET status = 'running', started_at = created_at "
        "WHERE status = 'pending' AND starts_at IS NULL AND singleton_key IS NULL"
    )
    for name in reversed(_INDEXES):
        op.drop_index(name, "flow_runs")
    for name in ("debounce_key", "singleton_key", "starts_at"):
        op.drop_column("flow_runs", name)
