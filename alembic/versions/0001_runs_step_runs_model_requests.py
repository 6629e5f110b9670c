"""Runs, step runs and model requests.

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

#: Column types as they were at this revision; history imports no live code.
UTC_DATETIME = sa.DateTime(timezone=True).with_variant(sa.String(26), "sqlite")
MONEY = sa.Numeric(18, 9).with_variant(sa.BigInteger(), "sqlite")

JSON = sa.JSON(none_as_null=True)
OPEN = sa.text("status IN ('pending', 'queued', 'running', 'retrying', 'waiting')")
UNADVANCED = sa.text("NOT advanced AND status IN ('completed', 'failed', 'skipped', 'cancelled')")
SENT = sa.text("status IN ('queued', 'retrying')")
LEASED = sa.text("status = 'running' AND lease_expires_at IS NOT NULL")
HAS_REQUEST = sa.text("llm_request_id IS NOT NULL")


def where(condition: sa.TextClause) -> dict[str, sa.TextClause]:
    """Make an index partial on either database."""
    return {"postgresql_where": condition, "sqlite_where": condition}


def upgrade() -> None:
    op.create_table(
        "flow_runs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.String(length=200), nullable=True),
        sa.Column("flow_name", sa.String(length=200), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("execution_mode", sa.String(length=20), nullable=False),
        sa.Column("current_step", sa.String(length=200), nullable=True),
        sa.Column("step_progress", sa.Integer(), nullable=False),
        sa.Column("total_steps", sa.Integer(), nullable=True),
        sa.Column("progress_percentage", sa.Double(), nullable=False),
        sa.Column("created_at", UTC_DATETIME, nullable=False),
        sa.Column("started_at", UTC_DATETIME, nullable=True),
        sa.Column("completed_at", UTC_DATETIME, nullable=True),
        sa.Column("last_heartbeat", UTC_DATETIME, nullable=True),
        sa.Column("total_tokens", sa.BigInteger(), nullable=False),
        sa.Column("total_cost", MONEY, nullable=False),
        sa.Column("execution_time_ms", sa.Integer(), nullable=True),
        sa.Column("inputs", JSON, nullable=False),
        sa.Column("outputs", JSON, nullable=True),
        sa.Column("flow_metadata", JSON, nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("spec", JSON, nullable=False),
        sa.Column("parent_step_run_id", sa.Uuid(), nullable=True),
        sa.Column("idempotency_key", sa.String(length=200), nullable=True),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("deadline", UTC_DATETIME, nullable=True),
        sa.Column("budget_usd", MONEY, nullable=True),
        sa.Column("budget_tokens", sa.Integer(), nullable=True),
        sa.Column("cancel_requested_at", UTC_DATETIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_flow_runs"),
    )
    op.create_index("ix_flow_runs_flow_name_id", "flow_runs", ["flow_name", "id"])
    op.create_index("ix_flow_runs_parent_step_run_id", "flow_runs", ["parent_step_run_id"])
    op.create_index("ix_flow_runs_status_id", "flow_runs", ["status", "id"])
    op.create_index("ix_flow_runs_user_id_id", "flow_runs", ["user_id", "id"])
    op.create_index(
        "uq_flow_runs_idempotency_key", "flow_runs", ["flow_name", "idempotency_key"], unique=True
    )
    op.create_table(
        "llm_requests",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("flow_run_id", sa.Uuid(), nullable=True),
        sa.Column("flow_step_run_id", sa.Uuid(), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("provider", sa.String(length=100), nullable=False),
        sa.Column("model", sa.String(length=200), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("input_tokens", sa.Integer(), nullable=False),
        sa.Column("output_tokens", sa.Integer(), nullable=False),
        sa.Column("cached_tokens", sa.Integer(), nullable=False),
        sa.Column("cost", MONEY, nullable=True),
        sa.Column("cost_status", sa.String(length=20), nullable=False),
        sa.Column("latency_ms", sa.Integer(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("created_at", UTC_DATETIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_llm_requests"),
    )
    op.create_index("ix_llm_requests_created_at", "llm_requests", ["created_at"])
    op.create_index("ix_llm_requests_flow_run_id", "llm_requests", ["flow_run_id"])
    op.create_index("ix_llm_requests_flow_step_run_id", "llm_requests", ["flow_step_run_id"])
    op.create_table(
        "flow_step_runs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("flow_run_id", sa.Uuid(), nullable=False),
        sa.Column("llm_request_id", sa.Uuid(), nullable=True),
        sa.Column("step_name", sa.String(length=200), nullable=False),
        sa.Column("step_order", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("inputs", JSON, nullable=True),
        sa.Column("outputs", JSON, nullable=True),
        sa.Column("tokens_used", sa.BigInteger(), nullable=False),
        sa.Column("cost_estimate", MONEY, nullable=False),
        sa.Column("execution_time_ms", sa.Integer(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("step_metadata", JSON, nullable=True),
        sa.Column("created_at", UTC_DATETIME, nullable=False),
        sa.Column("completed_at", UTC_DATETIME, nullable=True),
        sa.Column("step_key", sa.String(length=200), nullable=False),
        sa.Column("map_index", sa.Integer(), nullable=True),
        sa.Column("map_size", sa.Integer(), nullable=True),
        sa.Column("batch_id", sa.String(length=64), nullable=True),
        sa.Column("pending_dependencies", sa.Integer(), nullable=False),
        sa.Column("advanced", sa.Boolean(), nullable=False),
        sa.Column("started_at", UTC_DATETIME, nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("recoveries", sa.Integer(), nullable=False),
        sa.Column("lease_token", sa.Uuid(), nullable=True),
        sa.Column("lease_expires_at", UTC_DATETIME, nullable=True),
        sa.Column("wake_at", UTC_DATETIME, nullable=True),
        sa.Column("worker", sa.String(length=200), nullable=True),
        sa.Column("result", JSON, nullable=True),
        sa.Column("error_type", sa.String(length=200), nullable=True),
        sa.ForeignKeyConstraint(
            ["flow_run_id"],
            ["flow_runs.id"],
            name="fk_flow_step_runs_flow_run_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_flow_step_runs"),
    )
    op.create_index(
        "ix_flow_step_runs_lease_expires_at",
        "flow_step_runs",
        ["lease_expires_at"],
        **where(LEASED),
    )
    op.create_index(
        "ix_flow_step_runs_llm_request_id",
        "flow_step_runs",
        ["llm_request_id"],
        **where(HAS_REQUEST),
    )
    op.create_index(
        "ix_flow_step_runs_node", "flow_step_runs", ["flow_run_id", "step_key", "map_index"]
    )
    op.create_index(
        "ix_flow_step_runs_open", "flow_step_runs", ["flow_run_id", "step_key"], **where(OPEN)
    )
    op.create_index("ix_flow_step_runs_step_name", "flow_step_runs", ["step_name"])
    op.create_index(
        "ix_flow_step_runs_unadvanced", "flow_step_runs", ["flow_run_id"], **where(UNADVANCED)
    )
    op.create_index("ix_flow_step_runs_wake_at", "flow_step_runs", ["wake_at"], **where(SENT))


def downgrade() -> None:
    op.drop_table("flow_step_runs")
    op.drop_table("llm_requests")
    op.drop_table("flow_runs")
