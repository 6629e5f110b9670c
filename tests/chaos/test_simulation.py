"""The simulation: what was accepted ends as plain Python says, whatever breaks on the way.

Runs are graphs, or programs with child runs, signals and runs as which they go on. That it finds
faults is shown by engines that are broken on purpose: one wakes programs without marking the end
that woke them, others give a signal twice or leave it with the run before.

FLOWQ_SEEDS says how many seeds are played; more of them: `python -m tests.chaos.simulate`.
"""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.chaos.simulate import told
from tests.chaos.simulation.database import Database
from tests.chaos.simulation.mutations import MUTATIONS, Mutation
from tests.chaos.simulation.play import Play
from tests.chaos.simulation.report import Report

_PARTS = 20
_SEEDS = int(os.environ.get("FLOWQ_SEEDS", "2000"))
#: Seeds within which each broken engine has to be found.
_ENOUGH = 300


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    """The database in memory; each seed begins with an empty one."""
    level = logging.getLogger("flowq").level
    logging.getLogger("flowq").setLevel(logging.CRITICAL)  # faults are what this is about
    made = Database()
    yield made
    made.close()
    logging.getLogger("flowq").setLevel(level)


@pytest.mark.parametrize("part", range(_PARTS))
def test_every_run_ends_as_plain_python_says_whatever_breaks(database: Database, part: int) -> None:
    for seed in range(part, _SEEDS, _PARTS):
        report = Play(database, seed).run()
        assert report.failure is None, told(report)


def _first_found(database: Database) -> Report:
    for seed in range(_ENOUGH):
        report = Play(database, seed).run()
        if report.failure is not None:
            return report
    pytest.fail(f"{_ENOUGH} seeds did not find it")


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: str(mutation.__name__))
def test_broken_engine_is_found(
    database: Database, monkeypatch: pytest.MonkeyPatch, mutation: Mutation
) -> None:
    mutation(monkeypatch)

    report = _first_found(database)

    assert f"--seed {report.seed} -v" in told(report)


def test_seed_plays_the_same_in_every_process() -> None:
    told_by = {
        subprocess.run(
            [sys.executable, "-m", "tests.chaos.simulate", "--seed", "9", "-v"],
            env={**os.environ, "PYTHONHASHSEED": order},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for order in ("1", "2")
    }

    assert len(told_by) == 1
    assert "run1 running → completed" in told_by.pop()
