"""Column types and clock functions that mean the same on PostgreSQL and SQLite.

Times are aware UTC datetimes. Leases and timers are compared by the database's clock, since the
clocks of workers differ; `DbNow` is that clock, plus an offset in seconds, in either dialect. It is
constant during a statement: only a constant can be looked up in an index.
"""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    DateTime,
    Dialect,
    Float,
    Integer,
    Numeric,
    String,
    Text,
    bindparam,
    func,
    literal,
    literal_column,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import GenericFunction
from sqlalchemy.types import TypeDecorator

_NANO = Decimal(10**9)
#: For unbounded numbers, such as a time in milliseconds: 32 bits are 24 days.
LARGE: Final = BigInteger().with_variant(Integer(), "sqlite")


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC datetime; SQLite keeps it as sortable text."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        """Use text on SQLite, so that values and `DbNow` compare as strings."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(String(26))
        return dialect.type_descriptor(DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Refuse naive times; store UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"naive datetime {value!r}: flowq stores aware UTC times")
        utc = value.astimezone(UTC)
        return utc.strftime("%Y-%m-%d %H:%M:%S.%f") if dialect.name == "sqlite" else utc

    def process_result_value(
        self,
        value: Any,
        dialect: Dialect,  # noqa: ARG002 - part of the signature that SQLAlchemy calls
    ) -> datetime | None:
        """Return an aware UTC datetime."""
        if value is None:
            return None
        if isinstance(value, str):
            return datetime.fromisoformat(value).replace(tzinfo=UTC)
        return value.astimezone(UTC)  # type: ignore[no-any-return]


class Money(TypeDecorator[Decimal]):
    """USD as an exact Decimal with nine places; SQLite, which has none, counts nano-dollars."""

    impl = Numeric(28, 9)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        """Use a whole number on SQLite, so that sums stay exact."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(BigInteger())
        return dialect.type_descriptor(Numeric(28, 9))

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> Any:
        """Scale for SQLite."""
        if value is None or dialect.name != "sqlite":
            return value
        return int((value * _NANO).to_integral_value())

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:
        """Return an exact Decimal."""
        if value is None or dialect.name != "sqlite":
            exact: Decimal | None = value
            return exact
        return (Decimal(value) / _NANO).quantize(Decimal("1e-9"))


class DbNow(GenericFunction[datetime]):
    """The database's clock plus an offset in seconds: `DbNow(30.0)`, or that of a column."""

    type = UtcDateTime()
    inherit_cache = True
    name = "flowq_now"

    def __init__(self, offset: float | ColumnElement[float] = 0.0) -> None:
        given = isinstance(offset, ColumnElement)
        super().__init__(offset if given else bindparam(None, float(offset), type_=Float))


@compiles(DbNow, "postgresql")
def _postgres_now(element: DbNow, compiler: SQLCompiler, **kw: Any) -> str:
    offset = compiler.process(element.clauses, **kw)
    return f"(statement_timestamp() + make_interval(secs => {offset}))"


@compiles(DbNow, "sqlite")
def _sqlite_now(element: DbNow, compiler: SQLCompiler, **kw: Any) -> str:
    # %f has milliseconds; the zeros make the text as long as the stored one.
    offset = compiler.process(element.clauses, **kw)
    return f"(strftime('%Y-%m-%d %H:%M:%f', 'now', {offset} || ' seconds') || '000')"


class ElapsedMs(GenericFunction[int]):
    """Whole milliseconds since a time, by the database's clock: `ElapsedMs(started_at)`."""

    type = BigInteger()
    inherit_cache = True
    name = "flowq_elapsed_ms"


@compiles(ElapsedMs, "postgresql")
def _postgres_elapsed(element: ElapsedMs, compiler: SQLCompiler, **kw: Any) -> str:
    since = compiler.process(element.clauses, **kw)
    return f"CAST(extract(epoch FROM clock_timestamp() - {since}) * 1000 AS BIGINT)"


@compiles(ElapsedMs, "sqlite")
def _sqlite_elapsed(element: ElapsedMs, compiler: SQLCompiler, **kw: Any) -> str:
    since = compiler.process(element.clauses, **kw)
    return f"CAST(round((julianday('now') - julianday({since})) * 86400000) AS INTEGER)"


class PartOfSpan(GenericFunction[int]):
    """The part of a time span that contains a time, from 0: `PartOfSpan(at, begin, end, parts)`.

    Earlier times are in the first part; the end and later times in the last one.
    """

    type = Integer()
    inherit_cache = True
    name = "flowq_part_of_span"


@compiles(PartOfSpan, "postgresql")
def _postgres_part(element: PartOfSpan, compiler: SQLCompiler, **kw: Any) -> str:
    at, begin, end, parts = (compiler.process(one, **kw) for one in element.clauses)
    share = f"extract(epoch FROM {at} - {begin}) / extract(epoch FROM {end} - {begin})"
    return f"GREATEST(0, LEAST(CAST(floor({share} * {parts}) AS BIGINT), {parts} - 1))"


@compiles(PartOfSpan, "sqlite")
def _sqlite_part(element: PartOfSpan, compiler: SQLCompiler, **kw: Any) -> str:
    at, begin, end, parts = (compiler.process(one, **kw) for one in element.clauses)
    begin = f"julianday({begin})"
    share = f"(julianday({at}) - {begin}) / (julianday({end}) - {begin})"
    return f"MAX(0, MIN(CAST({share} * {parts} AS INTEGER), {parts} - 1))"


class UtcDay(GenericFunction[str]):
    """The UTC day of a time as `2026-01-31`: `UtcDay(created_at)`."""

    type = String()
    inherit_cache = True
    name = "flowq_utc_day"


@compiles(UtcDay, "postgresql")
def _postgres_day(element: UtcDay, compiler: SQLCompiler, **kw: Any) -> str:
    time = compiler.process(element.clauses, **kw)
    return f"to_char({time} AT TIME ZONE 'UTC', 'YYYY-MM-DD')"


@compiles(UtcDay, "sqlite")
def _sqlite_day(element: UtcDay, compiler: SQLCompiler, **kw: Any) -> str:
    return f"substr({compiler.process(element.clauses, **kw)}, 1, 10)"


class Label(GenericFunction[str]):
    """The key of a call of a program up to its `#`: `Label(step_key)`."""

    type = String()
    inherit_cache = True
    name = "flowq_label"


@compiles(Label, "postgresql")
def _postgres_label(element: Label, compiler: SQLCompiler, **kw: Any) -> str:
    return f"split_part({compiler.process(element.clauses, **kw)}, '#', 1)"


@compiles(Label, "sqlite")
def _sqlite_label(element: Label, compiler: SQLCompiler, **kw: Any) -> str:
    key = compiler.process(element.clauses, **kw)
    return f"substr({key}, 1, instr({key} || '#', '#') - 1)"


class EncodedJson:
    """Encoded JSON, which is written to a JSON column as it is."""

    __slots__ = ("text",)

    def __init__(self, data: bytes) -> None:
        self.text = data.decode()


def dump_json(value: Any) -> str:
    """Serialise for a JSON column: compact, and without encoding twice."""
    if isinstance(value, EncodedJson):
        return value.text
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def dump_json_for_sqlite(value: Any) -> str | bytes:
    """Serialise for a JSON column of SQLite, where text that is a number becomes that number.

    It would keep 15 digits of it, and no integer beyond 64 bits. Bytes are not changed.
    """
    text = dump_json(value)
    return text.encode() if len(text) > _EXACT and text[0] in _NUMBERS else text


_NUMBERS: Final = frozenset("-0123456789")
#: Digits of a number that SQLite keeps in any case.
_EXACT: Final = 15


_decode: Final = json.JSONDecoder().decode  # `json.loads` looks at the type and the options first


class Unreadable(dict[str, Any]):
    """Replaces JSON that Python cannot parse, so that the rest of the row can be read."""


def load_json(text: str | bytes) -> Any:
    """Parse a JSON column; `Unreadable` if it is broken or nested too deeply."""
    try:
        return _decode(text if isinstance(text, str) else str(text, "utf-8"))
    except (ValueError, RecursionError) as error:
        return Unreadable({"$unreadable": f"{type(error).__name__}: {error}"[:300]})


class _JsonText(GenericFunction[str]):
    """See `json_text`."""

    type = String()
    inherit_cache = True
    name = "flowq_json_text"


def json_text(column: Any, path: str) -> ColumnElement[str]:
    """Return the text at a place of a JSON column, `a.b`; NULL where there is none, or no JSON."""
    return _JsonText(column, literal_column(path))


@compiles(_JsonText, "postgresql")
def _postgres_json(element: _JsonText, compiler: SQLCompiler, **kw: Any) -> str:
    column, path = (compiler.process(one, **kw) for one in element.clauses)
    return f"({column} #>> '{{{path.replace('.', ',')}}}')"


@compiles(_JsonText, "sqlite")
def _sqlite_json(element: _JsonText, compiler: SQLCompiler, **kw: Any) -> str:
    # Invalid JSON would make the whole statement fail.
    column, path = (compiler.process(one, **kw) for one in element.clauses)
    return f"CASE WHEN json_valid({column}) THEN json_extract({column}, '$.{path}') END"


class _JsonEntry(GenericFunction[str]):
    """The value at a key of a JSON object, as text; NULL if there is none."""

    type = Text()
    inherit_cache = True
    name = "flowq_json_entry"


@compiles(_JsonEntry, "postgresql")
def _postgres_entry(element: _JsonEntry, compiler: SQLCompiler, **kw: Any) -> str:
    column, key = (compiler.process(one, **kw) for one in element.clauses)
    # PostgreSQL reads no part of a document with a NUL.
    return f"CASE WHEN position('\\u0000' in {column}::text) = 0 THEN {column} ->> {key} END"


@compiles(_JsonEntry, "sqlite")
def _sqlite_entry(element: _JsonEntry, compiler: SQLCompiler, **kw: Any) -> str:
    column, key = (compiler.process(one, **kw) for one in element.clauses)
    place = f"{column}, '$.\"' || {key} || '\"'"
    value = f"CAST(json_extract({place}) AS TEXT)"
    # SQLite has numbers in place of true and false.
    named = f"CASE json_type({place}) WHEN 'true' THEN 'true' WHEN 'false' THEN 'false'"
    return f"CASE WHEN json_valid({column}) THEN {named} ELSE {value} END END"


def json_entry(column: Any, key: str) -> ColumnElement[str]:
    """Return the value at a key of a JSON object, as text; NULL if there is none."""
    return _JsonEntry(column, key)


def total_cost(column: Any) -> ColumnElement[Decimal]:
    """Sum costs; for no rows 0 in the column's own type, not NULL."""
    return func.coalesce(func.sum(column), literal(Decimal(0), column.type))
