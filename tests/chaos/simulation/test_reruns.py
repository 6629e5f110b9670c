"""Reruns in the simulation: what has completed is reused, and all else runs, whatever breaks.

An engine that is broken in how it reuses is found.
"""

import os
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final

import pytest

from flowq.adapters.records.runs.reruns import SqlReruns
from flowq.core import rerun
from flowq.core.rerun import OldNode
from flowq.engine.advance import conditions
from flowq.engine.runs import rerun_comparing
from tests.chaos.simulation.database import Database
from tests.chaos.simulation.rerun_play import RerunPlay
from tests.chaos.simulation.simulate import described

_PARTS: Final = 5
_SEEDS: Final = int(os.environ.get("FLOWQ_SEEDS", "500")) // 4
#: Seeds within which each broken engine has to be found.
_ENOUGH: Final = 300


@pytest.mark.parametrize("part", range(_PARTS))
def test_what_has_completed_is_reused_and_all_else_runs(
    memory_database: Database, part: int
) -> None:
    total: Counter[str] = Counter()
    seeds = range(part, _SEEDS, _PARTS)
    for seed in seeds:
        report = RerunPlay(memory_database, seed).run()
        assert report.failure is None, described(report, option="--reruns")
        total += report.counts
    assert total["reruns"] > len(seeds) // 2
    assert total["reused"] > len(seeds)


def _inputs_are_not_compared(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rerun, "same_step", lambda _one, _other: True)


def _dependents_are_reused(patch: pytest.MonkeyPatch) -> None:
    real = rerun.compare

    def broken(*given: Any) -> Any:
        why = real(*given)
        return {key: None if one is rerun.Why.DEPENDS else one for key, one in why.items()}

    patch.setattr(rerun_comparing, "compare", broken)


def _broken_maps_are_whole(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rerun_comparing, "OldNode", lambda state, *_: OldNode(state))


def _items_run_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(conditions, "reusable_items", lambda *_: {})


def _copies_are_lost(patch: pytest.MonkeyPatch) -> None:
    insert = SqlReruns.insert_reused

    def broken(reruns: SqlReruns, run_id: Any, steps: Any) -> None:
        insert(reruns, run_id, steps[:-1] if isinstance(steps, tuple) else steps)

    patch.setattr(SqlReruns, "insert_reused", broken)


@pytest.mark.parametrize(
    "broken",
    [
        _inputs_are_not_compared,
        _dependents_are_reused,
        _broken_maps_are_whole,
        _items_run_again,
        _copies_are_lost,
    ],
)
def test_engine_that_reuses_wrongly_is_found(
    memory_database: Database,
    monkeypatch: pytest.MonkeyPatch,
    broken: Callable[[pytest.MonkeyPatch], None],
) -> None:
    broken(monkeypatch)
    found: Mapping[int, str | None] = {}
    for seed in range(_ENOUGH):
        found = {seed: RerunPlay(memory_database, seed).run().failure}
        if found[seed] is not None:
            return
    pytest.fail(f"{_ENOUGH} seeds did not find it")
