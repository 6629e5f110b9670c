"""What `runs cost` asks of the calls of models, and the objects that they have made.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

#: Column types as they were at this revision; history imports no live code.
UTC_DATETIME = sa.DateTime(timezone=True).with_variant(sa.String(26), "sqlite")

TABLE = "llm_requests"


def upgrade() -> None:
    for name in ("flow_name", "user_id", "step_name"):
        op.add_column(TABLE, sa.Column(name, sa.String(length=200), nullable=True))
    op.add_column(TABLE, sa.Column("object_key", sa.String(length=300), nullable=True))
    op.add_column(TABLE, sa.Column("completed_at", UTC_DATETIME, nullable=True))


def downgrade() -> None:
    for name in ("completed_at", "object_key", "step_name", "user_id", "flow_name"):
        op.drop_column(TABLE, name)
