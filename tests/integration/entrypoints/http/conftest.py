"""The service on an engine that runs steps in this process; one kind of database is enough here."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowq import bootstrap
from flowq.adapters.records.database import SqlRecords
from tests.tools.http_service import working
from tests.tools.playing import Stage


@pytest.fixture(scope="module")
def records(
    sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SqlRecords]:
    """The records on a migrated SQLite file of the module's own."""
    file = shutil.copy(sqlite_template, tmp_path_factory.mktemp("records") / "flowq.db")
    records = SqlRecords(f"sqlite:///{file}")
    yield records
    records.close()


@pytest.fixture
def played(records: SqlRecords, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """The service uses this stage's engine; a thread does all that there is to do."""
    stage = Stage.on(records)
    # A reader that is stopped for a while looks at the rows, which know of no order.
    monkeypatch.setattr("flowq.engine.events.follow._SILENCE", (600.0, 600.0))
    monkeypatch.setattr(bootstrap, "engine", lambda: stage.engine)
    with working(stage):
        yield stage
    stage.engine.program_cache.clear()
