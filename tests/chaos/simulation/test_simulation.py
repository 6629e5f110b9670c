"""The simulation: what was accepted ends as plain Python says, whatever breaks on the way.

Runs are graphs, or programs with child runs, signals and runs as which they go on. That it finds
faults is shown by `test_mutations`.

FLOWQ_SEEDS says how many seeds are played, 200 if it is not set; `make chaos` plays more, and so
does `python -m tests.chaos.simulation.simulate`.
"""

import os
import subprocess
import sys

import pytest

from tests.chaos.simulation.database import Database
from tests.chaos.simulation.play import Play
from tests.chaos.simulation.simulate import described

_PARTS = 20
_SEEDS = int(os.environ.get("FLOWQ_SEEDS", "200"))
#: Stories that few seeds have: of these alone `test_mutations` knows that they find its faults.
_RARE = (209, 341)


@pytest.mark.parametrize("part", range(_PARTS))
def test_every_run_ends_as_plain_python_says_whatever_breaks(
    memory_database: Database, part: int
) -> None:
    for seed in [*range(_SEEDS), *(seed for seed in _RARE if seed >= _SEEDS)][part::_PARTS]:
        report = Play(memory_database, seed).run()
        assert report.failure is None, described(report)


class ExpandedByWorkers(Play):
    """A seed whose maps over known lists are left to workers, however short they are."""

    def __init__(self, database: Database, seed: int) -> None:
        super().__init__(database, seed)
        self._world.set_policies(expand_at_once=0)


@pytest.mark.parametrize("part", range(4))
def test_maps_that_workers_expand_end_in_the_same_way(memory_database: Database, part: int) -> None:
    for seed in range(part, _SEEDS // 10, 4):
        report = ExpandedByWorkers(memory_database, seed).run()
        assert report.failure is None, described(report)


def test_seed_plays_the_same_in_every_process() -> None:
    texts = {
        subprocess.run(
            [sys.executable, "-m", "tests.chaos.simulation.simulate", "--seed", "9", "-v"],
            env={**os.environ, "PYTHONHASHSEED": order},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for order in ("1", "2")
    }

    assert len(texts) == 1
    assert "run1 running → completed" in texts.pop()
