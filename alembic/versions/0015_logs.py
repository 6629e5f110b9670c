"""What steps log.

Revision ID: 0015
Revises: 0014
"""

import sqlalchemy as sa

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

UTC_DATETIME = sa.DateTime(timezone=True).with_variant(sa.String(26), "sqlite")


def upgrade() -> None:
    op.create_table(
        "flow_logs",
        sa.Column("step_run_id", sa.Uuid(), nullable=False),
        sa.Column("lease_token", sa.Uuid(), nullable=False),
        sa.Column("first_line", sa.Integer(), nullable=False),
        sa.Column("flow_run_id", sa.Uuid(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("line_count", sa.Integer(), nullable=False),
        sa.Column("missing", sa.Integer(), nullable=False),
        sa.Column("level", sa.Integer(), nullable=False),
        sa.Column("size_bytes", sa.Integer(), nullable=False),
        sa.Column("first_at", UTC_DATETIME, nullable=False),
        sa.Column("lines", sa.JSON(), nullable=True),
        sa.Column("object_key", sa.String(length=300), nullable=True),
        sa.PrimaryKeyConstraint("step_run_id", "lease_token", "first_line", name="pk_flow_logs"),
        sa.ForeignKeyConstraint(
            ["step_run_id"],
            ["flow_step_runs.id"],
            name="fk_flow_logs_step_run_id",
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_flow_logs_flow_run_id_first_at", "flow_logs", ["flow_run_id", "first_at"])
    in_object = sa.text("object_key IS NOT NULL")
    op.create_index(
        "ix_flow_logs_object_key",
        "flow_logs",
        ["object_key"],
        postgresql_where=in_object,
        sqlite_where=in_object,
    )


def downgrade() -> None:
    op.drop_table("flow_logs")
