"""The indexes of open runs and of open steps, for queries that say that they want them.

An index that was empty at the last ANALYZE looks cheap to PostgreSQL, and any condition on a state
allowed these two. The new ones need a condition that only their own queries have: on the run of the
steps, or the expression of `OPEN_RUN`.

Revision ID: 0026
Revises: 0025
"""

from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

_RUNS = "status IN ('pending', 'running', 'paused', 'cancelling')"
_STEPS = "status IN ('pending', 'queued', 'running', 'retrying', 'waiting')"

#: Of each new index: the old one, its table, columns and condition, and what the new one adds.
_INDEXES = {
    "ix_flow_runs_open_runs": (
        "ix_flow_runs_open",
        "flow_runs",
        ["id"],
        _RUNS,
        "status || '' <> ''",
    ),
    "ix_flow_step_runs_open_of_run": (
        "ix_flow_step_runs_open",
        "flow_step_runs",
        ["flow_run_id", "step_key"],
        _STEPS,
        "flow_run_id IS NOT NULL",
    ),
}


def upgrade() -> None:
    for name, (old, table, columns, where, added) in _INDEXES.items():
        op.ensure_index(name, table, columns, where=f"{where} AND {added}")
        op.drop_index(old, table, if_exists=True)


def downgrade() -> None:
    for name, (old, table, columns, where, _) in _INDEXES.items():
        op.ensure_index(old, table, columns, where=where)
        op.drop_index(name, table, if_exists=True)
