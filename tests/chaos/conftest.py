"""Fixtures of the chaos suite, and the table at its end."""

import logging
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from random import SystemRandom

import pytest

from tests.chaos.harness import breakable
from tests.chaos.harness.breakable import Broker, Database
from tests.chaos.harness.scenario import Figures, Play, Scenario, as_json, as_table, scenario
from tests.chaos.simulation.database import Database as MemoryDatabase

_REPORT = pytest.StashKey[list[Figures]]()
_SEED = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_REPORT] = []
    config.stash[_SEED] = int(os.environ.get("FLOWQ_CHAOS_SEED") or SystemRandom().randrange(10**6))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    report = terminalreporter.config.stash[_REPORT]
    if not report:
        return
    seed = terminalreporter.config.stash[_SEED]
    terminalreporter.section(f"chaos, FLOWQ_CHAOS_SEED={seed}")
    terminalreporter.write_line("\n".join(as_table(report)))
    if name := os.environ.get("FLOWQ_CHAOS_REPORT"):
        Path(name).write_text(as_json(report))


def _name(test: str) -> str:
    """Return what a scenario is called in the table."""
    words, _, parameters = test.removeprefix("test_").replace("_", " ").partition("[")
    return f"{words[:60]} [{parameters}" if parameters else words[:60]


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.chaos)])
def database_url(request: pytest.FixtureRequest) -> str:
    """A migrated database of the test's own; on PostgreSQL it takes `make chaos`."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def broker() -> Iterator[Broker]:
    """A Redis of the test's own, without persistence."""
    with breakable.broker() as broker:
        yield broker


@pytest.fixture
def database() -> Iterator[Database]:
    """A PostgreSQL of the test's own, migrated."""
    with breakable.database() as database:
        yield database


@pytest.fixture
def play(request: pytest.FixtureRequest, broker: Broker, tmp_path: Path) -> Play:
    """Play the test's scenario: `with play(database_url, **environment) as chaos:`."""

    def begin(
        database_url: str, *, redis_url: str = "", **environment: str
    ) -> AbstractContextManager[Scenario]:
        return scenario(
            _name(request.node.name),
            request.config.stash[_REPORT],
            redis_url=redis_url or broker.url,
            database_url=database_url,
            folder=tmp_path / "chaos",
            seed=request.config.stash[_SEED],
            environment=environment,
        )

    return begin


@pytest.fixture(scope="session")
def _memory_database() -> Iterator[MemoryDatabase]:
    made = MemoryDatabase()
    yield made
    made.close()


@pytest.fixture
def memory_database(_memory_database: MemoryDatabase) -> Iterator[MemoryDatabase]:
    """The database of the simulation, in memory; each seed begins with an empty one."""
    level = logging.getLogger("flowq").level
    logging.getLogger("flowq").setLevel(logging.CRITICAL)  # faults are what this is about
    yield _memory_database
    logging.getLogger("flowq").setLevel(level)
