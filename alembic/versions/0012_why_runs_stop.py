"""Why a run is paused or has stopped, and which step has failed it, apart from the text for people.

What is stored was said in that text alone, so it is read once more: the patterns are those of the
texts as flowq wrote them before this revision. A text that fits none of them is a person's.

Revision ID: 0012
Revises: 0011
"""

import sqlalchemy as sa

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

#: The step that a run says has failed it: its key stands there as Python's repr() shows it, and may
#: hold what looks like the end of a shorter one.
_FAILED_STEPS = r"""
    UPDATE flow_runs SET failed_step_id = (
        SELECT id FROM (
            SELECT s.id, s.step_key, 'step ' || CASE
                WHEN s.step_key LIKE '%''%' AND s.step_key NOT LIKE '%"%'
                THEN '"' || replace(s.step_key, '\', '\\') || '"'
                ELSE '''' || replace(replace(s.step_key, '\', '\\'), '''', '\''') || ''''
                END || ' failed: ' AS said
            FROM flow_step_runs AS s
            WHERE s.flow_run_id = flow_runs.id AND s.map_index IS NULL AND s.status = 'failed'
        ) AS f
        WHERE substr(flow_runs.error_message, 1, length(said)) = said
        ORDER BY length(step_key) DESC LIMIT 1)
    WHERE status IN ('cancelling', 'failed', 'cancelled') AND error_message LIKE 'step % failed: %'
"""
#: The call that a program says has failed it.
_FAILED_CALLS = """
    UPDATE flow_step_runs SET failed_step_id = (
        SELECT c.id FROM flow_step_runs AS c
        WHERE c.flow_run_id = flow_step_runs.flow_run_id AND c.map_index IS NULL
          AND c.spec IS NOT NULL AND c.status = 'failed'
          AND (flow_step_runs.error_message = c.step_key || ' failed'
               OR substr(flow_step_runs.error_message, 1, length(c.step_key) + 9)
                  = c.step_key || ' failed: ')
        ORDER BY length(c.step_key) DESC LIMIT 1)
    WHERE status = 'failed' AND error_type = 'StepFailed'
      AND spec IS NULL AND observed IS NOT NULL AND map_index IS NULL
"""
_KINDS = """
    UPDATE flow_runs SET stop_kind = CASE
        WHEN failed_step_id IS NOT NULL THEN 'failed'
        WHEN error_message LIKE 'the run cannot be read: %' THEN 'unreadable'
        WHEN status = 'paused' THEN CASE
            WHEN budget_action = 'pause'
             AND error_message LIKE 'budget is spent: % of run %; %:% was not called' THEN 'budget'
            WHEN error_message LIKE 'budget is spent: % of flow % in this month; %:% was not called'
              OR error_message LIKE 'budget is spent: % of user % in this month; %:% was not called'
            THEN 'budget_month'
            WHEN error_message LIKE 'program % does something else than its record says: %'
            THEN 'changed_code'
            WHEN parent_step_run_id IS NOT NULL AND error_message LIKE 'with run %-%-%-%-%: %'
            THEN 'parent'
            ELSE 'user' END
        WHEN deadline IS NOT NULL AND error_message LIKE 'deadline passed: it was %' THEN 'deadline'
        WHEN cancel_requested_at IS NULL
         AND error_message LIKE 'the output cannot be read: %' THEN 'output'
        WHEN cancel_requested_at IS NULL THEN 'failed'
        WHEN error_message LIKE 'step % of run %, which waited for it, %' THEN 'parent'
        ELSE 'user' END
    WHERE status IN ('paused', 'cancelling', 'failed', 'cancelled') AND error_message IS NOT NULL
"""


def upgrade() -> None:
    op.add_column("flow_runs", sa.Column("stop_kind", sa.String(20), nullable=True))
    op.add_column("flow_runs", sa.Column("failed_step_id", sa.Uuid(), nullable=True))
    op.add_column("flow_step_runs", sa.Column("failed_step_id", sa.Uuid(), nullable=True))
    for fill in (_FAILED_STEPS, _FAILED_CALLS, _KINDS):
        op.execute(sa.text(fill.replace(":", r"\:")))  # a colon is no parameter here


def downgrade() -> None:
    """Keep the texts: they are what older code reads."""
    op.drop_column("flow_step_runs", "failed_step_id")
    op.drop_column("flow_runs", "failed_step_id")
    op.drop_column("flow_runs", "stop_kind")
