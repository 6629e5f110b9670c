"""Indexes of runs without a parent, for lists without child runs, and of child runs by theirs.

An index of all parents would find the runs without one, too, but in no order: SQLite sorts all of
them for the first page of a list.

Revision ID: 0023
Revises: 0022
"""

from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    top = "parent_step_run_id IS NULL"
    op.ensure_index("ix_flow_runs_top", "flow_runs", ["id"], where=top)
    child = "parent_step_run_id IS NOT NULL"
    op.ensure_index("ix_flow_runs_child", "flow_runs", ["parent_step_run_id"], where=child)
    op.drop_index("ix_flow_runs_parent_step_run_id", "flow_runs", if_exists=True)


def downgrade() -> None:
    op.ensure_index("ix_flow_runs_parent_step_run_id", "flow_runs", ["parent_step_run_id"])
    op.drop_index("ix_flow_runs_child", "flow_runs")
    op.drop_index("ix_flow_runs_top", "flow_runs")
