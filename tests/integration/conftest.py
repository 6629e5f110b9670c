"""Databases for whole modules: their tests share one, since runs do not know of each other."""

import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from flowq.adapters.records.database import SqlRecords
from tests.tools.invariants import assert_invariants
from tests.tools.playing import Stage
from tests.tools.session import databases

#: Some tests leave a run where it is; how it stands must be right all the same.
LEFT = timedelta(hours=1)


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def records(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SqlRecords]:
    """The records on a migrated database of the module's own; each test runs on each kind."""
    if request.param == "sqlite":
        template: Path = request.getfixturevalue("sqlite_template")
        file = shutil.copy(template, tmp_path_factory.mktemp("records") / "flowq.db")
        records = SqlRecords(f"sqlite:///{file}")
        yield records
        records.close()
        return
    made: databases.PostgresDatabases = request.getfixturevalue("postgres_databases")
    with made.one() as url:
        records = SqlRecords(url)
        yield records
        records.close()


@pytest.fixture(scope="session")
def emptier() -> Iterator[databases.Emptier]:
    """Deletes the rows of the records that tests use."""
    emptier = databases.Emptier()
    yield emptier
    emptier.close()


@pytest.fixture(autouse=True)
def _invariants_hold(request: pytest.FixtureRequest, emptier: databases.Emptier) -> Iterator[None]:
    """After each test that has used the records, everything in them fits together.

    Then they are emptied, so that what has been looked at is not looked at again, unless the
    module says that its tests share rows: `SHARES_ROWS = True`.
    """
    yield
    if "records" in request.fixturenames:
        records: SqlRecords = request.getfixturevalue("records")
        assert_invariants(records, grace=LEFT)
        if not getattr(request.module, "SHARES_ROWS", False):
            emptier.delete_rows(records.url)


@pytest.fixture
def stage(records: SqlRecords) -> Iterator[Stage]:
    """An engine that runs steps in the test's own thread."""
    stage = Stage.on(records)
    yield stage
    stage.engine.program_cache.clear()  # programs that a test has left waiting
