"""Rows that are inserted into a table: JSON in, statements with bound values out.

A statement takes a limited number of values, so an insertion may need several; they belong into one
transaction.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from flowq.tools.sql import QueryFailed

#: `append` is another name of `insert`; `ignore` leaves out rows that a unique key refuses.
_MODES: Final = ("insert", "append", "ignore")
#: Values of one statement; SQLite has the lowest limit, 32,766.
_MAX_VALUES: Final = 30_000


@dataclass(frozen=True, slots=True)
class Insertion:
    """Rows for a table.

    Attributes:
        table: Its name, `schema.name` too.
        columns: All that a row has; what a row lacks is NULL.
        rows: From column to value; a list or a mapping in a column is stored as JSON text.
    """

    table: str
    columns: tuple[str, ...]
    rows: Sequence[Mapping[str, Any]]
    mode: str = "insert"

    @classmethod
    def of(cls, table: str, data: Any, mode: str = "insert") -> Self:
        """Read one row, or a list of rows; each is a mapping from columns to values.

        Raises:
            QueryFailed: these are no rows, or it is no mode.
        """
        if mode not in _MODES:
            raise QueryFailed(f"unknown mode {mode[:20]!r}; known are {', '.join(_MODES)}")
        rows = [data] if isinstance(data, Mapping) else data
        if not isinstance(rows, list):
            said = f"what is stored in {table!r} is no mapping, and no list of mappings"
            raise QueryFailed(said, hint=f"it is {_shown(data)}")
        for at, row in enumerate(rows):
            if not isinstance(row, Mapping) or not row:
                said = f"element {at} of what is stored in {table!r} is no mapping with columns"
                raise QueryFailed(said, hint=f"it is {_shown(row)}; write it as {{column: value}}")
        return cls(
            table, tuple(dict.fromkeys(str(name) for row in rows for name in row)), rows, mode
        )

    def statements(self, mark: str) -> Iterator[tuple[str, list[Any]]]:
        """Yield statements with their values.

        Args:
            mark: Stands for a value: `?` or `%s`.
        """
        where = ".".join(map(_quoted, self.table.split(".")))
        names = ", ".join(map(_quoted, self.columns))
        head = f"INSERT INTO {where} ({names}) VALUES "  # noqa: S608 - names are quoted, values are bound
        head = head.replace("%", "%%") if mark == "%s" else head
        row = f"({', '.join([mark] * len(self.columns))})"
        tail = " ON CONFLICT DO NOTHING" if self.mode == "ignore" else ""
        most = max(1, _MAX_VALUES // max(1, len(self.columns)))
        for begin in range(0, len(self.rows), most):
            part = self.rows[begin : begin + most]
            text = head + ", ".join([row] * len(part)) + tail
            yield text, [_scalar(one.get(name)) for one in part for name in self.columns]


def _shown(value: Any) -> str:
    return "nothing" if value is None else f"of the type {type(value).__name__}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _scalar(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value
