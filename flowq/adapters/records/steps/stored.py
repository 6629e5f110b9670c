"""Nodes and items as readers of results see them: their columns, and their values."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, FromClause, and_, bindparam, select

from flowq.adapters.records.sql.prepared import Prepared
from flowq.adapters.records.sql.reading import result_ref
from flowq.adapters.records.sql.repository import STEPS
from flowq.core.states import StepState
from flowq.engine.model.rows import StoredStep


def stored_columns(table: FromClause) -> list[ColumnElement[Any]]:
    """Return the columns that `stored_step` takes, of the table or of an alias of it."""
    c = table.c
    return [
        c.step_key,
        c.map_index,
        c.status,
        c.attempt,
        c.result,
        c.map_size,
        c.error_type,
        c.error_message,
        c.step_metadata,
    ]


def stored_step(row: Sequence[Any]) -> StoredStep:
    """Return the value of a row of those columns."""
    key, index, status, attempt, result, size, error_type, message, metadata = row
    ref = result_ref(result)
    return StoredStep(
        key, index, StepState(status), attempt, ref, size, error_type, message, metadata
    )


def nodes_of(run_id: ColumnElement[Any], table: FromClause = STEPS) -> ColumnElement[bool]:
    """Return the condition for the nodes `p_keys` of a run, in the table or in an alias of it."""
    return and_(
        table.c.flow_run_id == run_id,
        table.c.step_key.in_(bindparam("p_keys", expanding=True)),
        table.c.map_index.is_(None),
    )


#: Nodes of a run, not items: `p_run`, `p_keys`.
NODES = nodes_of(bindparam("p_run"))
STORED_NODES = Prepared(select(*stored_columns(STEPS)).where(NODES))
