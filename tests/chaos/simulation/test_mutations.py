"""The simulation finds faults: an engine that is broken on purpose fails within some hundred seeds.

One wakes programs without marking the end that woke them, others give a signal twice or leave it
with the run before.
"""

from collections.abc import Iterator
from typing import Final

import pytest
from _pytest.mark import ParameterSet

from tests.chaos.simulation.database import Database
from tests.chaos.simulation.mutations import MUTATIONS, Mutation
from tests.chaos.simulation.play import Play
from tests.chaos.simulation.report import Report
from tests.chaos.simulation.simulate import described

#: Seeds within which each broken engine has to be found.
_ENOUGH: Final = 300
#: A seed that has found each of them, played first: where the stories of seeds have changed, the
#: others are played from the beginning, which takes longer.
_FOUND_BY: Final = {
    "tokens_are_used_again": 23,
    "lost_leases_are_ignored": 23,
    "batches_advance_twice": 209,
    "lost_messages_stay_lost": 6,
    "ended_batches_stay": 32,
    "recoveries_count_as_failures": 7,
    "resumed_steps_stay_out_of_sight": 27,
    "programs_are_woken_without_a_mark": 3,
    "signals_stay_with_the_old_run": 38,
    "running_steps_are_claimed": 23,
    "completed_steps_are_not_marked": 3,
    "runs_close_with_open_steps": 2,
    "lapsed_leases_stay": 11,
    "stalled_runs_stay": 21,
    "lines_are_left": 56,
    "pending_runs_stay": 5,
    "children_begin_apart": 3,
    "children_of_paused_runs_begin": 341,
    "signals_are_given_twice": 2,
}
#: Found by waiting for what never comes, which takes a minute: for `make chaos`.
_SLOW: Final = frozenset({"resumed_steps_stay_out_of_sight"})


def _played() -> Iterator[ParameterSet]:
    for mutation in MUTATIONS:
        marks = [pytest.mark.chaos] if mutation.__name__ in _SLOW else []
        yield pytest.param(mutation, marks=marks, id=mutation.__name__)


@pytest.mark.parametrize("mutation", [*_played()])
def test_broken_engine_is_found(
    memory_database: Database, monkeypatch: pytest.MonkeyPatch, mutation: Mutation
) -> None:
    mutation(monkeypatch)

    report = _first_found(memory_database, _FOUND_BY[mutation.__name__])

    assert f"--seed {report.seed} -v" in described(report)


def _first_found(memory_database: Database, known: int) -> Report:
    for seed in (known, *range(_ENOUGH)):
        report = Play(memory_database, seed).run()
        if report.failure is not None:
            return report
    pytest.fail(f"{_ENOUGH} seeds did not find it")
