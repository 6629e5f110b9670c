"""Lists and tables as rows, and rows as the table that they came from.

A table is a DataFrame of pandas or polars, or a Table of pyarrow; a row of it is a mapping from the
names of its columns. The libraries are the user's own and are imported with the first table.
"""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from flowq.core.errors import StepError
from flowq.engine.results.codecs.tables import as_rows, format_of


def rows_or_none(value: Any) -> list[Any] | None:
    """Return the rows of a value, or None when it has none."""
    if isinstance(value, list):
        return value
    return list(value) if isinstance(value, tuple) else as_rows(value)


def rows_of(value: Any) -> list[Any]:
    """Return the rows of a value.

    Raises:
        StepError: it is neither a list nor a table.
    """
    found = rows_or_none(value)
    if found is None:
        raise StepError(
            f"a row-wise step is given a {type(value).__name__}, not a list or a table",
            hint="give it the result of a step that returns a list; a mapping: its items, a text: "
            "its lines",
        )
    return found


def size_of(value: Any) -> int:
    """Return how many rows a value has; raises as `rows_of`."""
    if isinstance(value, list | tuple) or format_of(value) is None:
        return len(rows_of(value))
    return int(value.shape[0])


def taken(source: Any, indices: Sequence[int]) -> Any:
    """Return some rows of a value, in the form of the value."""
    library = _library(source)
    if library == "pandas":
        found = source.iloc[list(indices)]
        plain = isinstance(source.index, import_module("pandas").RangeIndex)
        return found.reset_index(drop=True) if plain else found
    if library == "polars":
        return source[list(indices)]
    if library == "pyarrow":
        return source.take(list(indices))
    rows = rows_of(source)
    return [rows[at] for at in indices]


def like(source: Any, rows: list[Any]) -> Any:
    """Return rows as a table of the library of `source`, if that is a table and they are mappings.

    Otherwise, and when there is no row to tell the columns, the rows are returned as they are.
    """
    library = _library(source)
    if library is None or not rows or not all(isinstance(row, Mapping) for row in rows):
        return rows
    if library == "pandas":
        return import_module("pandas").DataFrame.from_records(rows)
    if library == "polars":
        return import_module("polars").DataFrame(rows, infer_schema_length=None)
    return import_module("pyarrow").Table.from_pylist(rows)


def columns(value: Any, names: list[str]) -> Any:
    """Return some columns of a table.

    Raises:
        StepError: it is no table, or has no such columns.
    """
    library = _library(value)
    if library is None:
        raise StepError(f"a {type(value).__name__} has no columns {names}")
    known = value.column_names if library == "pyarrow" else list(value.columns)
    missing = [name for name in names if name not in known]
    if missing:
        raise StepError(f"no column {missing[0]!r} (it has: {', '.join(map(str, known[:8]))})")
    return value[names] if library == "pandas" else value.select(names)


def _library(value: Any) -> str | None:
    form = format_of(value)
    return form.library if form is not None and form.library != "numpy" else None
