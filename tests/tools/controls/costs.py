"""Counts what the deliveries of a stage cost: statements, units of work, messages."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from flowq.adapters.records.database import SqlRecords
from flowq.adapters.records.sql.prepared import Prepared
from flowq.adapters.records.sql.repository import Repository
from tests.tools.playing import Stage


@dataclass
class Cost:
    """What one delivery cost."""

    statements: int = 0
    units: int = 0
    sent: int = 0


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch, stage: Stage) -> Iterator[Cost]:
    """Count what this thread does: others may be renewing leases meanwhile."""
    cost, own = Cost(), threading.get_ident()
    run, tried, send = Repository._run, SqlRecords._tried, stage.dispatcher.send
    prepared = Prepared.run

    def count_run(self: Repository, statement: Any, *args: Any) -> Any:
        cost.statements += own == threading.get_ident() and not isinstance(statement, Prepared)
        return run(self, statement, *args)

    def count_prepared(self: Prepared, *args: Any) -> Any:
        cost.statements += own == threading.get_ident()
        return prepared(self, *args)

    def count_unit(self: SqlRecords, *args: Any, **given: Any) -> Any:
        cost.units += own == threading.get_ident()
        return tried(self, *args, **given)

    def count_sent(batches: Any) -> None:
        cost.sent += sum(len(batch.messages) for batch in batches)
        send(batches)

    with monkeypatch.context() as patch:
        patch.setattr(Repository, "_run", count_run)
        patch.setattr(Prepared, "run", count_prepared)
        patch.setattr(SqlRecords, "_tried", count_unit)
        patch.setattr(stage.dispatcher, "send", count_sent)
        yield cost
