"""A worker with older code drops no argument: the step waits for a worker that knows it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from flowq import flow, step
from flowq.adapters.records.database import SqlRecords
from flowq.core.states import RunState
from flowq.engine.engine import Policies
from flowq.engine.registry.registry import registry
from tests.tools.playing import Stage


@step
def draw(page: int, dpi: int = 72) -> str:
    return f"{page} at {dpi}"


NAME = f"{__name__}.draw"


def older(page: int) -> str:
    return f"{page} at any"


@flow
def drawing(page: int) -> Any:
    return draw(page, dpi=300)


@contextmanager
def old_code() -> Iterator[None]:
    """Have the code of the release before on this worker."""
    new = registry.step(NAME)
    registry.steps[NAME] = replace(new, function=older)
    try:
        yield
    finally:
        registry.steps[NAME] = new


@pytest.mark.parametrize("tries", [1, 2])
def test_new_argument_waits_for_a_worker_with_new_code(
    records: SqlRecords, tries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowq.engine.attempts.outcomes._FIRST_DELAY", timedelta(0))
    stage = Stage.on(records)
    played = stage.submit(drawing, {"page": 1})
    with old_code():
        stage.dispatcher.run(stage.engine, limit=tries)
        assert played.status is RunState.RUNNING
    stage.dispatcher.run(stage.engine)
    assert played.result() == "1 at 300"


def test_step_fails_when_no_worker_gets_new_code(records: SqlRecords) -> None:
    stage = Stage.on(records, policies=Policies(max_recoveries=0, outage_wait=timedelta(0)))
    played = stage.submit(drawing, {"page": 1})
    with old_code():
        stage.dispatcher.run(stage.engine, limit=1)
    assert played.status is RunState.FAILED
    assert "has no parameter 'dpi' on this worker" in str(played.error)
