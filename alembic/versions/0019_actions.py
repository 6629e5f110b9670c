"""Actions on runs, prompts and answers of model calls.

Revision ID: 0019
Revises: 0018
"""

import sqlalchemy as sa

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

#: Column types as they were at this revision; history imports no live code.
UTC_DATETIME = sa.DateTime(timezone=True).with_variant(sa.String(26), "sqlite")


def upgrade() -> None:
    op.create_table(
        "flow_actions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("flow_run_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("face", sa.String(length=20), nullable=False),
        sa.Column("actor", sa.String(length=200), nullable=True),
        sa.Column("details", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("created_at", UTC_DATETIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_flow_actions"),
        sa.ForeignKeyConstraint(
            ["flow_run_id"],
            ["flow_runs.id"],
            name="fk_flow_actions_flow_run_id",
            ondelete="CASCADE",
        ),
    )
    op.create_index(
        "ix_flow_actions_flow_run_id_created_at", "flow_actions", ["flow_run_id", "created_at"]
    )
    op.add_column("llm_requests", sa.Column("prompt", sa.Text(), nullable=True))
    op.add_column("llm_requests", sa.Column("answer", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("llm_requests", "answer")
    op.drop_column("llm_requests", "prompt")
    op.drop_index("ix_flow_actions_flow_run_id_created_at", "flow_actions")
    op.drop_table("flow_actions")
