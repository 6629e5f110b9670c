"""Schedules in the simulation: each tick has one run or one record, whatever breaks."""

import os
from collections import Counter
from typing import Any

import pytest

from flowq import flow, step
from flowq.adapters.records.schedules import SqlSchedules
from tests.chaos.simulation.checks import Broken
from tests.chaos.simulation.database import Database
from tests.chaos.simulation.schedule_play import SchedulePlay

_SEEDS = int(os.environ.get("FLOWQ_SEEDS", "200")) // 8


@step
def note(value: int) -> int:
    return value


@flow
def job(value: int) -> int:
    return note(value)


def test_each_tick_has_one_run_or_one_record_whatever_breaks(memory_database: Database) -> None:
    total: Counter[str] = Counter()
    for seed in range(_SEEDS):
        try:
            total += SchedulePlay(memory_database, seed, job).run()
        except Broken as error:
            raise AssertionError(f"seed {seed}: {error}") from error

    assert total["runs"] > 2 * _SEEDS
    assert total["skipped"] > _SEEDS


def test_an_unguarded_move_is_found(
    memory_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the version in its UPDATE, two workers that decide at once both record."""
    move = SqlSchedules.move

    def unguarded(rows: SqlSchedules, name: str, *args: Any, **given: Any) -> bool:
        found = rows.find(name)
        assert found is not None
        return move(rows, name, *args, version=found.version)

    monkeypatch.setattr(SqlSchedules, "move", unguarded)

    def play_many() -> None:
        for seed in range(300):
            SchedulePlay(memory_database, seed, job).run()

    with pytest.raises(Broken, match=r"twice: Counter\(\{'schedule:s:"):
        play_many()
