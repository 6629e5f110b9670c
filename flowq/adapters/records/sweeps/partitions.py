"""The sweeper's care for the partitions of the large tables, by the database's clock."""

from collections.abc import Iterator
from datetime import datetime

from sqlalchemy import func, select
from typing_extensions import override

from flowq.adapters.records.migrations.revisions import TURN
from flowq.adapters.records.partitions.months import (
    LargeTable,
    drop_check,
    drop_if_empty,
    make_month,
    missing_month,
    read_tables,
)
from flowq.adapters.records.sql.repository import Repository
from flowq.adapters.records.sql.types import DbNow
from flowq.engine.ports.sweeps import Sweeps

_NOW = select(DbNow())
_TAKE = select(func.pg_try_advisory_xact_lock(TURN))


class PartitionSweeps(Repository, Sweeps):
    """The part of `SqlSweeps` about partitions; nothing on SQLite, nor before `flowq db partition`.

    It does nothing while a migration or a conversion has the turn.
    """

    @override
    def prepare_month(self) -> str | None:
        for table, now in self._tables():
            if not table.is_partitioned:
                if table.is_interrupted:
                    drop_check(self._connection, table)
                continue
            begin = missing_month(table, now)
            if begin is not None:
                return make_month(self._connection, table, begin)
        return None

    @override
    def drop_empty_month(self) -> str | None:
        for table, now in self._tables():
            if table.is_partitioned and (name := drop_if_empty(self._connection, table, now)):
                return name
        return None

    def _tables(self) -> Iterator[tuple[LargeTable, datetime]]:
        if self._connection.dialect.name != "postgresql":
            return
        tables = read_tables(self._connection)
        if not any(one.is_partitioned or one.is_interrupted for one in tables):
            return
        if not self._run(_TAKE).scalar():
            return
        now = self._run(_NOW).scalar_one()
        for table in tables:
            yield table, now
