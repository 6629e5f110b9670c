"""Indexes of the columns that 0016 to 0019 have added, and of failed steps by their error.

They are in a revision of their own because PostgreSQL builds them without a lock, outside of a
transaction: if one of them fails, this revision alone is done again. See `ensure_index`.

Revision ID: 0022
Revises: 0021
"""

from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

_SCHEDULED = "schedule_name IS NOT NULL"
_OPEN = "status IN ('pending', 'running', 'paused', 'cancelling')"
_SINGLETON = "singleton_key IS NOT NULL AND started_at IS NOT NULL AND completed_at IS NULL"
_FAILED = "status = 'failed' AND error_type IS NOT NULL"

#: Of each index: its table, columns and condition.
_INDEXES = {
    "ix_flow_runs_schedule_name": ("flow_runs", ["schedule_name", "id"], _SCHEDULED),
    "ix_flow_runs_open_scheduled": ("flow_runs", ["schedule_name"], f"{_SCHEDULED} AND {_OPEN}"),
    "ix_flow_runs_rerun_of": ("flow_runs", ["rerun_of", "id"], "rerun_of IS NOT NULL"),
    "ix_flow_runs_starting": (
        "flow_runs",
        ["starts_at"],
        "starts_at IS NOT NULL AND status = 'pending'",
    ),
    "uq_flow_runs_singleton": ("flow_runs", ["flow_name", "singleton_key"], _SINGLETON),
    "ix_flow_runs_in_line": (
        "flow_runs",
        ["flow_name", "singleton_key", "id"],
        "singleton_key IS NOT NULL AND status = 'pending'",
    ),
    "uq_flow_runs_debounce": (
        "flow_runs",
        ["flow_name", "debounce_key"],
        "debounce_key IS NOT NULL AND status = 'pending'",
    ),
    "ix_flow_step_runs_error_type": ("flow_step_runs", ["error_type"], _FAILED),
}


def upgrade() -> None:
    for name, (table, columns, where) in _INDEXES.items():
        op.ensure_index(name, table, columns, where=where, unique=name.startswith("uq_"))


def downgrade() -> None:
    for name, (table, _, _) in _INDEXES.items():
        op.drop_index(name, table)
