"""When a step first began, and how many calls of models have an unknown cost.

Revision ID: 0010
Revises: 0009
"""

import sqlalchemy as sa

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

#: Column types as they were at this revision; history imports no live code.
UTC_DATETIME = sa.DateTime(timezone=True).with_variant(sa.String(26), "sqlite")

_OF_STEPS = """
    UPDATE flow_step_runs SET unpriced_calls = (
        SELECT count(*) FROM llm_requests AS q
        WHERE q.flow_step_run_id = flow_step_runs.id AND q.cost_status = 'unknown')
    WHERE id IN (SELECT flow_step_run_id FROM llm_requests WHERE cost_status = 'unknown')
"""
_OF_RUNS = """
    UPDATE flow_runs SET unpriced_calls = (
        SELECT sum(s.unpriced_calls) FROM flow_step_runs AS s WHERE s.flow_run_id = flow_runs.id)
    WHERE id IN (SELECT flow_run_id FROM flow_step_runs WHERE unpriced_calls > 0)
"""


def upgrade() -> None:
    for table in ("flow_step_runs", "flow_runs"):
        column = sa.Column("unpriced_calls", sa.BigInteger(), nullable=False, server_default="0")
        op.add_column(table, column)
    op.add_column("flow_step_runs", sa.Column("first_started_at", UTC_DATETIME, nullable=True))
    op.execute(_OF_STEPS)
    op.execute(_OF_RUNS)


def downgrade() -> None:
    op.drop_column("flow_step_runs", "first_started_at")
    op.drop_column("flow_runs", "unpriced_calls")
    op.drop_column("flow_step_runs", "unpriced_calls")
