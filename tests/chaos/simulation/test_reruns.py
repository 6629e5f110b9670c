"""Reruns in the simulation: what has completed is reused, and all else runs, whatever breaks.

An engine that is broken in how it reuses is found.
"""

import os
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import pytest

from flowq.core import rerun
from flowq.core.rerun import OldNode
from flowq.engine.advance import conditions
from flowq.engine.runs import rerun_comparing
from tests.chaos.simulation.database import Database
from tests.chaos.simulation.rerun_play import RerunPlay
from tests.chaos.simulation.simulate import described

_PARTS: Final = 2
_SEEDS: Final = int(os.environ.get("FLOWQ_SEEDS", "200")) // 8
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


#: How the engine is broken, and a seed that has found it, played first: where the stories of
#: seeds have changed, the others are played from the beginning.
_BROKEN: Final[dict[Callable[[pytest.MonkeyPatch], None], int]] = {
    _inputs_are_not_compared: 3,
    _dependents_are_reused: 1,
    _broken_maps_are_whole: 44,
    _items_run_again: 29,
}


@pytest.mark.parametrize("broken", _BROKEN)
def test_engine_that_reuses_wrongly_is_found(
    memory_database: Database,
    monkeypatch: pytest.MonkeyPatch,
    broken: Callable[[pytest.MonkeyPatch], None],
) -> None:
    broken(monkeypatch)
    for seed in (_BROKEN[broken], *range(_ENOUGH)):
        if RerunPlay(memory_database, seed).run().failure is not None:
            return
    pytest.fail(f"{_ENOUGH} seeds did not find it")
