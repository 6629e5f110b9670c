"""Stored documents with their versions and aliases, and the view `playbook_queue`.

The view shows the calls of playbooks with the columns of a queue of commands. A later revision that
changes the type of a column that it reads has to drop it first and make it again.

Revision ID: 0013
Revises: 0012
"""

import sqlalchemy as sa

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

UTC_DATETIME = sa.DateTime(timezone=True).with_variant(sa.String(26), "sqlite")

#: A UUID as text; SQLite has its 32 digits.
_ID = {
    "postgresql": "CAST({0} AS text)",
    "sqlite": "substr({0},1,8)||'-'||substr({0},9,4)||'-'||substr({0},13,4)||'-'"
    "||substr({0},17,4)||'-'||substr({0},21)",
}
_VIEW = """
    CREATE VIEW playbook_queue AS SELECT
        {queue_id} AS queue_id,
        coalesce(r.idempotency_key, {run_id}) AS execution_id,
        s.step_key AS node_id,
        substr(s.step_name, 12) AS action,
        s.inputs AS context,
        r.priority AS priority,
        s.attempt AS attempt,
        CASE WHEN s.status = 'running' THEN 'processing'
             WHEN s.status IN ('pending', 'queued', 'retrying', 'waiting') THEN 'pending'
             ELSE s.status END AS status,
        s.worker AS assigned_worker_id,
        s.created_at AS created_at,
        coalesce(s.completed_at, s.started_at, s.created_at) AS updated_at,
        s.started_at AS started_at,
        s.completed_at AS completed_at
    FROM flow_step_runs AS s JOIN flow_runs AS r ON r.id = s.flow_run_id
    WHERE s.step_name LIKE 'flowq.tool.%'
"""


def upgrade() -> None:
    op.create_table(
        "flow_documents",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("path", sa.String(length=200), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("parent_id", sa.Uuid(), nullable=True),
        sa.Column("is_template", sa.Boolean(), nullable=False),
        sa.Column("owner_id", sa.String(length=200), nullable=True),
        sa.Column("team_id", sa.String(length=200), nullable=True),
        sa.Column("visibility", sa.String(length=20), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("created_at", UTC_DATETIME, nullable=False),
        sa.Column("deleted_at", UTC_DATETIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_flow_documents"),
    )
    op.create_index(
        "uq_flow_documents_version", "flow_documents", ["kind", "path", "version"], unique=True
    )
    op.create_table(
        "flow_document_aliases",
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("alias", sa.String(length=200), nullable=False),
        sa.Column("document_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", UTC_DATETIME, nullable=False),
        sa.PrimaryKeyConstraint("kind", "alias", name="pk_flow_document_aliases"),
        sa.ForeignKeyConstraint(
            ["document_id"],
            ["flow_documents.id"],
            name="fk_flow_document_aliases_document_id",
            ondelete="CASCADE",
        ),
    )
    op.create_index(
        "ix_flow_document_aliases_document_id", "flow_document_aliases", ["document_id"]
    )
    op.add_column("flow_runs", sa.Column("document_id", sa.Uuid(), nullable=True))
    has_document = sa.text("document_id IS NOT NULL")
    op.create_index(
        "ix_flow_runs_document_id",
        "flow_runs",
        ["document_id", "id"],
        postgresql_where=has_document,
        sqlite_where=has_document,
    )
    shown = _ID[op.get_bind().dialect.name]
    op.execute(_VIEW.format(queue_id=shown.format("s.id"), run_id=shown.format("r.id")))


def downgrade() -> None:
    op.execute("DROP VIEW playbook_queue")
    op.drop_index("ix_flow_runs_document_id", "flow_runs")
    op.drop_column("flow_runs", "document_id")
    op.drop_index("ix_flow_document_aliases_document_id", "flow_document_aliases")
    op.drop_table("flow_document_aliases")
    op.drop_index("uq_flow_documents_version", "flow_documents")
    op.drop_table("flow_documents")
