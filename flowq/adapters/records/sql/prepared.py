"""Statements of the hot path, run on the driver's own cursor.

SQLAlchemy builds these statements, converts their values and keeps the connections; but between an
`execute` and the driver it spends more time than PostgreSQL needs to answer. So each statement is
compiled once for a dialect and for the lengths of its lists, and is then run directly by psycopg,
which prepares it on the server after a few uses. On SQLite, without a network, SQLAlchemy runs it
normally. Errors are SQLAlchemy's own in both cases.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from sqlalchemy import CompoundSelect, Connection, Dialect, Select, UpdateBase
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.compiler import SQLCompiler

Row: TypeAlias = Sequence[Any]
_Convert: TypeAlias = Callable[[Any], Any]

#: Lengths of lists for which a compiled statement is kept.
_MAX_FORMS: Final = 64
#: Where a connection keeps its cursor: to make one takes a tenth of the time of a statement.
_CURSOR: Final = "flowq_cursor"
#: Rows of the last result that a cursor may hold until the next one.
_MAX_KEPT: Final = 100


class QueryResult(Sequence[Row]):
    """The rows that a statement returned, read like those of SQLAlchemy's result.

    Attributes:
        rowcount: How many rows it returned or changed.
    """

    def __init__(self, rows: Sequence[Row], rowcount: int) -> None:
        self._rows = rows
        self.rowcount = rowcount

    def __getitem__(self, index: Any) -> Any:
        return self._rows[index]

    def __len__(self) -> int:
        return len(self._rows)

    def all(self) -> Sequence[Row]:
        """Return the rows."""
        return self._rows

    def first(self) -> Row | None:
        """Return the first row, or None."""
        return self._rows[0] if self._rows else None

    def scalar(self) -> Any:
        """Return the first value of the first row, or None."""
        return self._rows[0][0] if self._rows else None


@dataclass(frozen=True, slots=True)
class _CompiledStatement:
    """A statement for one dialect and one set of lengths of its lists."""

    sql: str  #: With its constants.
    conversions: Mapping[str, _Convert]  #: Converters of the given values.
    lists: Mapping[str, Sequence[str]]  #: From a list's name to the names of its values.


class Prepared:
    """A statement with `bindparam`s that is compiled once."""

    def __init__(self, statement: CompoundSelect[Any] | Select[Any] | UpdateBase) -> None:
        self.statement: Any = statement
        self._compiled: SQLCompiler | None = None
        self._lists: Sequence[str] = ()
        self._has_rows: bool | None = None
        self._forms: dict[tuple[int, ...], _CompiledStatement] = {}

    def run(self, connection: Connection, given: Mapping[str, Any]) -> QueryResult:
        """Run the statement.

        Raises:
            DBAPIError: as SQLAlchemy's `execute` would.
        """
        dialect = connection.dialect
        if dialect.driver != "psycopg":
            result = connection.execute(self.statement, given)
            return QueryResult(result.all() if result.returns_rows else (), result.rowcount)
        form = self._form(dialect, given)
        values = _values(form, given)
        proxied = connection.connection
        cursor = proxied.info.pop(_CURSOR, None) or proxied.cursor()
        try:
            cursor.execute(form.sql, values)
            if self._has_rows is None:  # reading it each time would describe the columns each time
                self._has_rows = cursor.description is not None
            rows = cursor.fetchall() if self._has_rows else ()
            if len(rows) <= _MAX_KEPT:
                proxied.info[_CURSOR] = cursor
            return QueryResult(rows, cursor.rowcount)
        except dialect.loaded_dbapi.Error as error:
            lost = dialect.is_disconnect(error, proxied.dbapi_connection, cursor)
            if lost:
                # The whole pool counts as lost, as SQLAlchemy does it too.
                connection.invalidate(error)
                connection.engine.dispose()
            raise DBAPIError.instance(
                form.sql,
                values,
                error,
                dialect.loaded_dbapi.Error,
                connection_invalidated=lost,
                dialect=dialect,
            ) from error

    def _form(self, dialect: Dialect, given: Mapping[str, Any]) -> _CompiledStatement:
        if self._compiled is None:
            compiled = self.statement.compile(dialect=dialect)
            assert isinstance(compiled, SQLCompiler)
            binds = compiled.binds.items()
            self._lists = [name for name, bound in binds if bound.expanding and name in given]
            self._compiled = compiled
        lengths = tuple([len(given[name]) for name in self._lists])
        form = self._forms.get(lengths)
        if form is None:
            if len(self._forms) == _MAX_FORMS:
                self._forms.clear()
            form = self._forms[lengths] = _expanded(self._compiled, dialect, given)
        return form


def _expanded(
    compiled: SQLCompiler, dialect: Dialect, given: Mapping[str, Any]
) -> _CompiledStatement:
    """Compile the statement with its lists and its constants.

    A constant that is written out is not sent each time, and PostgreSQL can use the partial indexes
    that it allows.
    """
    state = compiled.construct_expanded_state(given)
    lists = {name: names for name, names in state.parameter_expansion.items() if name in given}
    changing = {*given, *(name for names in lists.values() for name in names)}
    converters: dict[str, _Convert] = dict(state.processors)
    for name, bound in compiled.binds.items():
        convert = bound.type.dialect_impl(dialect).bind_processor(dialect)
        if convert is not None and name not in state.parameter_expansion:
            converters[name] = convert
    constants = {
        name: converters[name](value) if name in converters else value
        for name, value in state.parameters.items()
        if name not in changing
    }
    conversions = {name: one for name, one in converters.items() if name in changing}
    literal = dialect.loaded_dbapi.sql.Literal
    sql = state.statement
    for name, value in constants.items():
        sql = sql.replace(f"%({name})s", literal(value).as_string(None).replace("%", "%%"))
    return _CompiledStatement(sql, conversions, lists)


def _values(form: _CompiledStatement, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values converted for the driver."""
    values = dict(given)
    for name, names in form.lists.items():
        values.update(zip(names, values.pop(name), strict=True))
    for name, convert in form.conversions.items():
        values[name] = convert(values[name])
    return values
