"""When runs begin: at a time, one at a time of a key, the last of many.

Revision ID: 0018
Revises: 0017
"""

import sqlalchemy as sa

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

#: Column types as they were at this revision; history imports no live code.
UTC_DATETIME = sa.DateTime(timezone=True).with_variant(sa.String(26), "sqlite")


def upgrade() -> None:
    op.add_column("flow_runs", sa.Column("starts_at", UTC_DATETIME, nullable=True))
    for name in ("singleton_key", "debounce_key"):
        op.add_column("flow_runs", sa.Column(name, sa.String(length=200), nullable=True))


def downgrade() -> None:
    # Earlier code starts no pending run: those that wait for nothing begin now.
    op.execute(
        "UPDATE flow_runs SET status = 'running', started_at = created_at "
        "WHERE status = 'pending' AND starts_at IS NULL AND singleton_key IS NULL"
    )
    for name in ("debounce_key", "singleton_key", "starts_at"):
        op.drop_column("flow_runs", name)
