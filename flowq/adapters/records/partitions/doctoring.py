"""What `flowq doctor` says about partitions; it changes nothing."""

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from flowq.adapters.records.connections.engine import begin_on, open_engine
from flowq.adapters.records.connections.error_kinds import translated
from flowq.adapters.records.partitions.months import (
    LargeTable,
    has_row,
    moment_of,
    month_after,
    read_tables,
)

_NEXT = 2


@dataclass(frozen=True, slots=True)
class Partitioning:
    """How a large table is partitioned.

    Attributes:
        table: Its name.
        until: The end of its last month; None: it is not partitioned.
        has_next_month: Whether this month and the next one have a partition.
        is_interrupted: Whether a conversion has not ended.
        others: Whether there are rows of ids that no month contains.
    """

    table: str
    until: datetime | None
    has_next_month: bool
    is_interrupted: bool
    others: bool


def partitioning(url: str) -> list[Partitioning]:
    """Return how the large tables of a PostgreSQL database are partitioned.

    Raises:
        DatabaseUnavailable: it cannot be reached.
    """
    engine = open_engine(url)
    try:
        with engine.connect() as connection:
            begin_on(connection)
            return [_of(connection, one) for one in read_tables(connection)]
    except SQLAlchemyError as error:
        raise translated(error, engine.url) from error
    finally:
        engine.dispose()


def _of(connection: Connection, table: LargeTable) -> Partitioning:
    until = moment_of(table.until) if table.months else None
    others = [one for one in table.partitions if one.upper is None]
    return Partitioning(
        table.name,
        until,
        has_next_month=until is not None and until >= month_after(datetime.now(UTC), _NEXT),
        is_interrupted=table.is_interrupted,
        others=any(has_row(connection, table, one) for one in others),
    )
