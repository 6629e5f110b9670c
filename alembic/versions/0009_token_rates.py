"""What was used of rates of tokens, by span of time, and the duty of a new month.

Revision ID: 0009
Revises: 0008
"""

import sqlalchemy as sa

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

#: Column types as they were at this revision; history imports no live code.
UTC_DATETIME = sa.DateTime(timezone=True).with_variant(sa.String(26), "sqlite")

DUTIES = sa.table(
    "flow_duties",
    sa.column("name", sa.String()),
    sa.column("due_at", UTC_DATETIME),
    sa.column("position", sa.Text()),
)


def upgrade() -> None:
    op.create_table(
        "flow_token_uses",
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("began_at", UTC_DATETIME, nullable=False),
        sa.Column("expires_at", UTC_DATETIME, nullable=False),
        sa.Column("used", sa.BigInteger(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("key", "began_at", name="pk_flow_token_uses"),
    )
    op.create_index("ix_flow_token_uses_expires_at", "flow_token_uses", ["expires_at"])
    op.drop_column("flow_meters", "used_before")
    # As text: since Python 3.12 the driver of SQLite warns of a datetime.
    long_ago = "2000-01-01 00:00:00+00:00"
    op.bulk_insert(DUTIES, [{"name": "months", "due_at": long_ago, "position": ""}])


def downgrade() -> None:
    op.execute(DUTIES.delete().where(DUTIES.c.name == "months"))
    column = sa.Column("used_before", sa.BigInteger(), nullable=False, server_default="0")
    op.add_column("flow_meters", column)
    op.drop_index("ix_flow_token_uses_expires_at", "flow_token_uses")
    op.drop_table("flow_token_uses")
