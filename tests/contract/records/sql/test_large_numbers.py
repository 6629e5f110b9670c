"""Every column of numbers takes what can come to stand there: a run ends, however long it took."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

import pytest
from sqlalchemy import BigInteger, Column, Integer, Numeric, text, update

from flowq import flow, step
from flowq.adapters.records.database import SqlRecords
from flowq.adapters.records.sql.tables import Base, FlowRun, FlowStepRun
from flowq.adapters.records.sql.types import Money
from flowq.core.states import RunState
from flowq.core.usage import Price, reported
from flowq.engine.runs.cancel import cancel
from tests.tools.playing import Stage

#: Columns of 32 bits, and what keeps them below that.
BOUNDED: Final = {
    **dict.fromkeys(("step_progress", "total_steps"), "the rows of a run"),
    **dict.fromkeys(("step_order", "map_index", "map_size"), "the rows of a run"),
    **dict.fromkeys(("pending_dependencies", "observed", "place"), "the rows of a run"),
    **dict.fromkeys(("attempt", "attempts", "recoveries", "resends"), "each takes a while"),
    **dict.fromkeys(("slots", "number"), "checked where a limit is given"),
    **dict.fromkeys(("first_line", "line_count", "missing", "size_bytes"), "lines of an attempt"),
    **dict.fromkeys(("catch_up_limit", "ticks"), "checked where a schedule is made"),
    "rings": "each takes a while",
    "level": "those of logging",
    "priority": "checked where it is given",
    "version": "each is the registration of another text",
}
LARGEST: Final = 2**62
AGES: Final = timedelta(days=1000)


def columns(kind: type) -> Iterator[tuple[str, Column[object]]]:
    for table in Base.metadata.sorted_tables:
        for column in table.columns:
            if isinstance(column.type, kind):
                yield f"{table.name}.{column.name}", column


def test_every_whole_number_is_large_or_bounded() -> None:
    small = {
        name: column.name
        for name, column in columns(Integer)
        if not isinstance(column.type, BigInteger)
    }

    assert {name for name, short in small.items() if short not in BOUNDED} == set()


def test_every_fraction_is_money() -> None:
    assert {name for name, column in columns(Numeric) if not isinstance(column.type, Money)} <= {
        "flow_runs.progress_percentage",
        "flow_waits.per_seconds",
    }


def test_columns_take_what_is_large(records: SqlRecords) -> None:
    """In the tables as the migrations have made them."""
    narrow = []
    for name, column in columns(Integer):
        if not isinstance(column.type, BigInteger):
            continue
        table = name.partition(".")[0]
        writing = text(f"UPDATE {table} SET {column.name} = :large")
        with records.engine.connect() as connection:
            kind = records.engine.dialect.name
            if kind == "postgresql":
                found = connection.execute(
                    text(
                        "SELECT data_type FROM information_schema.columns "
                        "WHERE table_name = :t AND column_name = :c"
                    ),
                    {"t": table, "c": column.name},
                ).scalar()
                narrow += [name] if found != "bigint" else []
            else:
                connection.execute(writing, {"large": LARGEST})
                connection.rollback()

    assert narrow == []


def test_a_price_that_is_a_mistake_costs_what_a_column_takes() -> None:
    price = Price(input=Decimal(10) ** 30)

    cost = price.of(reported(10**9, 1, 0, says_something=True))

    assert cost is not None
    assert cost * 100 < Decimal(10) ** 9 * 10  # SQLite counts nano-dollars in 64 bits


@pytest.fixture
def records(database_url: str) -> Iterator[SqlRecords]:
    records = SqlRecords(database_url)
    yield records
    records.close()


@step
def work(number: int) -> int:
    if number < 0:
        raise ValueError("less than nothing")
    return number


@flow
def working(number: int) -> int:
    return work(number)


@pytest.mark.parametrize("end", ["completed", "failed", "cancelled", "overdue"])
def test_run_that_took_years_ends(records: SqlRecords, end: str) -> None:
    stage = Stage.on(records)
    played = stage.submit(working, {"number": -1 if end == "failed" else 1})
    _have_begun_long_ago(records)
    if end == "cancelled":
        cancel(stage.engine, played.id)
    elif end == "overdue":
        _pass_the_deadline(records)
        stage.sweep()
    stage.dispatcher.run(stage.engine)

    assert played.status is RunState("failed" if end == "overdue" else end)
    assert played.view.execution_time_ms is not None
    assert played.view.execution_time_ms > AGES.total_seconds() * 1000 - 1


def _have_begun_long_ago(records: SqlRecords) -> None:
    begun = datetime.now(UTC) - AGES
    with records.engine.begin() as connection:
        for table in (FlowRun, FlowStepRun):
            connection.execute(update(table).values(started_at=begun, created_at=begun))


def _pass_the_deadline(records: SqlRecords) -> None:
    with records.engine.begin() as connection:
        connection.execute(text("UPDATE flow_runs SET deadline = '2020-01-01 00:00:00.000000'"))
