"""Flows that workers know, and runs that were requested of them.

Revision ID: 0020
Revises: 0019
"""

import sqlalchemy as sa

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

#: Column types as they were at this revision; history imports no live code.
UTC_DATETIME = sa.DateTime(timezone=True).with_variant(sa.String(26), "sqlite")


def upgrade() -> None:
    op.create_table(
        "flow_definitions",
        sa.Column("flow_name", sa.String(length=200), nullable=False),
        sa.Column("input_schema", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("updated_at", UTC_DATETIME, nullable=False),
        sa.PrimaryKeyConstraint("flow_name", name="pk_flow_definitions"),
    )
    op.create_table(
        "flow_requests",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("flow_name", sa.String(length=200), nullable=False),
        sa.Column("inputs", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("options", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("face", sa.String(length=20), nullable=False),
        sa.Column("actor", sa.String(length=200), nullable=True),
        sa.Column("created_at", UTC_DATETIME, nullable=False),
        sa.Column("wake_at", UTC_DATETIME, nullable=True),
        sa.Column("rings", sa.Integer(), nullable=False),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_flow_requests"),
    )
    is_requested = sa.text("wake_at IS NOT NULL")
    op.create_index(
        "ix_flow_requests_wake_at",
        "flow_requests",
        ["wake_at"],
        postgresql_where=is_requested,
        sqlite_where=is_requested,
    )


def downgrade() -> None:
    # Older code does not know these kinds of actions, and would not show any of a run that has one.
    op.execute("DELETE FROM flow_actions WHERE kind IN ('start', 'rerun')")
    op.drop_index("ix_flow_requests_wake_at", "flow_requests")
    op.drop_table("flow_requests")
    op.drop_table("flow_definitions")
