"""INSERTs of many rows in one statement, on PostgreSQL: the values of a column are one array.

The same by `executemany` takes several times as long, and a statement for each row.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    ARRAY,
    JSON,
    ColumnElement,
    Float,
    Insert,
    Table,
    Text,
    bindparam,
    cast,
    func,
    insert,
    literal,
    select,
)

from flowq.adapters.records.sql.types import DbNow


def insert_many(
    table: Table,
    arrays: Sequence[str],
    others: Mapping[str, Any],
    *,
    later: Sequence[str] = (),
) -> Insert:
    """Return an INSERT of rows that are given column by column, as arrays.

    Args:
        arrays: Columns whose values are given as `p_all_{name}`; those of JSON as text.
        others: What all rows have: constants and expressions, by column.
        later: Columns with a time, given like `arrays`, in seconds from now.
    """
    types = {name: _given_as(table, name) for name in arrays} | dict.fromkeys(later, Float())
    given = func.unnest(
        *(bindparam(f"p_all_{name}", type_=ARRAY(one)) for name, one in types.items())
    )
    rows = given.table_valued(*types).render_derived(name="given")
    values: dict[str, ColumnElement[Any]] = {
        name: cast(rows.c[name], table.c[name].type) for name in arrays
    }
    values |= {name: DbNow(rows.c[name]) for name in later}
    values |= {name: _value(table, name, one) for name, one in others.items()}
    return insert(table).from_select(list(values), select(*values.values()))


def in_columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return the parameters of `insert_many` for rows that have the same columns."""
    return {f"p_all_{name}": [row[name] for row in rows] for name in rows[0]}


def _given_as(table: Table, name: str) -> Any:
    column = table.c[name].type
    return Text() if isinstance(column, JSON) else column


def _value(table: Table, name: str, value: Any) -> ColumnElement[Any]:
    return value if isinstance(value, ColumnElement) else literal(value, table.c[name].type)
