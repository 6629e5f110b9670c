"""Times in milliseconds, tokens and money that are larger than 32 bits or nine digits.

On PostgreSQL the tables of runs, steps and model requests are written anew, each once, and cannot
be used meanwhile. SQLite's whole numbers have 64 bits anyway.

Revision ID: 0011
Revises: 0010
"""

import sqlalchemy as sa

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_NUMBERS = {
    "flow_runs": ("execution_time_ms", "budget_tokens"),
    "flow_step_runs": ("execution_time_ms",),
    "llm_requests": ("input_tokens", "output_tokens", "cached_tokens", "latency_ms"),
}
_MONEY = {
    "flow_runs": ("total_cost", "budget_usd"),
    "flow_step_runs": ("cost_estimate", "saved_cost"),
    "llm_requests": ("cost",),
    "flow_cached_results": ("cost",),
    "flow_meters": ("cost",),
}


def upgrade() -> None:
    _alter("BIGINT", "NUMERIC(28, 9)")


def downgrade() -> None:
    """Fails, and changes nothing, where a row holds what the old columns do not take."""
    _alter("INTEGER", "NUMERIC(18, 9)")


def _alter(number: str, money: str) -> None:
    if op.get_bind().dialect.name == "sqlite":
        return
    for table in sorted({*_NUMBERS, *_MONEY}):
        columns = dict.fromkeys(_NUMBERS.get(table, ()), number)
        columns |= dict.fromkeys(_MONEY.get(table, ()), money)
        # All of a table in one statement, so that it is written once.
        changes = ", ".join(f"ALTER COLUMN {name} TYPE {kind}" for name, kind in columns.items())
        op.execute(sa.text(f"ALTER TABLE {table} {changes}"))
