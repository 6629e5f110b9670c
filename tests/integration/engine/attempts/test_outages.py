"""A database that is away for a moment costs an attempt time, and nothing that it has done.

Each fault is a write that has not happened, or one that has and whose answer was lost.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from flowq import flow, step
from flowq.adapters.records.database import SqlRecords
from flowq.core.errors import (
    DatabaseNotMigrated,
    DatabaseRefused,
    DatabaseUnavailable,
    StoreUnavailable,
)
from flowq.core.states import RunState, StepState
from flowq.engine.attempts import outcomes
from flowq.engine.attempts.outcomes import AttemptEnding
from flowq.engine.attempts.release import release_all
from flowq.engine.attempts.run import run_attempt
from flowq.engine.engine import Policies
from flowq.engine.runtime.execution import Attempt
from flowq.engine.runtime.heartbeat import LeaseKeeper
from tests.tools.faults.points import FaultPoint, injected
from tests.tools.playing import Stage
from tests.tools.waiting import wait_until

POLICIES = Policies(outage_wait=timedelta(seconds=300))
_ran: list[str] = []


@step
def begin(name: str) -> str:
    _ran.append(name)
    return name


@step
def left(name: str) -> str:
    _ran.append("left")
    return name + "l"


@step
def right(name: str) -> str:
    _ran.append("right")
    return name + "r"


@step
def join(one: str, other: str) -> str:
    _ran.append("join")
    return one + other


@step
def item(name: str) -> str:
    _ran.append(f"item {name}")
    return name


@step
def breaks() -> None:
    _ran.append("breaks")
    raise ValueError("broken")


@step(retries=1, retry_delay=0.01)
def breaks_once() -> int:
    _ran.append("breaks once")
    if step.context().attempt == 1:
        raise ConnectionError("once")
    return step.context().attempt


@flow
def diamond(name: str) -> Any:
    start = begin(name)
    return join(left(start), right(start))


@flow
def mapped(names: list[str]) -> Any:
    return item.map(names)


@flow
def breaking() -> Any:
    return begin.options(key="after", after=breaks())("never")


@flow
def mending() -> Any:
    return breaks_once()


def users_sqlalchemy() -> None:
    with create_engine("sqlite://").connect() as connection:
        connection.execute(text("SELECT * FROM theirs"))


def users_driver() -> None:
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute("SELECT * FROM theirs")
    finally:
        connection.close()


@step
def asks(how: str) -> None:
    globals()[how]()


@flow
def asking(how: str) -> Any:
    return asks(how)


@pytest.fixture(autouse=True)
def _nothing_ran() -> Iterator[None]:
    _ran.clear()
    yield
    _ran.clear()


@pytest.fixture
def stage(records: SqlRecords) -> Stage:
    return Stage.on(records, policies=POLICIES)


def fail_at(point: FaultPoint, times: set[int], kind: type[Exception] = DatabaseUnavailable) -> Any:
    """Raise when a point is reached for one of these times, from 1."""
    count = 0

    def hook(reached: FaultPoint) -> None:
        nonlocal count
        if reached is point:
            count += 1
            if count in times:
                raise kind("injected")

    return injected(hook)


WRITES = [
    FaultPoint.BEFORE_CLAIM,
    FaultPoint.AFTER_CLAIM,
    FaultPoint.BEFORE_COMPLETE,
    FaultPoint.AFTER_COMPLETE,
    FaultPoint.BEFORE_ADVANCE,
    FaultPoint.AFTER_ADVANCE,
    FaultPoint.BEFORE_FINISH,
]


@pytest.mark.parametrize("time", [1, 2, 3, 4])
@pytest.mark.parametrize("point", WRITES)
def test_outage_around_a_write_of_a_graph_costs_no_attempt_and_no_sweep(
    stage: Stage, point: FaultPoint, time: int
) -> None:
    played = stage.submit(diamond, {"name": "a"})
    with fail_at(point, {time, time + 1}):
        stage.dispatcher.run(stage.engine)

    assert played.result() == "alar"
    assert sorted(_ran) == ["a", "join", "left", "right"]
    assert {step.attempts for step in played.view.steps} == {1}
    assert {step.recoveries for step in played.view.steps} == {0}


@pytest.mark.parametrize("time", [1, 2, 3])
@pytest.mark.parametrize("point", WRITES)
def test_outage_around_a_write_of_a_map_costs_no_attempt_and_no_sweep(
    stage: Stage, point: FaultPoint, time: int
) -> None:
    played = stage.submit(mapped, {"names": ["a", "b", "c"]})
    with fail_at(point, {time}):
        stage.dispatcher.run(stage.engine)

    assert played.result() == ["a", "b", "c"]
    assert sorted(_ran) == ["item a", "item b", "item c"]


@pytest.mark.parametrize("point", [FaultPoint.BEFORE_FAIL, FaultPoint.AFTER_FAIL])
def test_outage_around_the_record_of_a_failure_leaves_one_failure(
    stage: Stage, point: FaultPoint
) -> None:
    played = stage.submit(breaking, {})
    with fail_at(point, {1}):
        stage.dispatcher.run(stage.engine)

    assert played.status is RunState.FAILED
    assert played.states() == {"breaks": StepState.FAILED, "after": StepState.CANCELLED}
    assert _ran == ["breaks"]


@pytest.mark.parametrize("point", [FaultPoint.BEFORE_FAIL, FaultPoint.AFTER_FAIL])
def test_outage_around_the_record_of_a_retry_costs_no_attempt(
    stage: Stage, point: FaultPoint
) -> None:
    played = stage.submit(mending, {})
    with fail_at(point, {1}):
        stage.dispatcher.run(stage.engine)

    assert played.result() == 2
    assert _ran == ["breaks once"] * 2


@pytest.mark.parametrize("point", [FaultPoint.BEFORE_RESULT, FaultPoint.AFTER_RESULT])
def test_result_waits_for_its_store_and_the_code_is_not_run_again(
    stage: Stage, point: FaultPoint
) -> None:
    with fail_at(point, {1, 2}, StoreUnavailable):
        played = stage.play(diamond, name="a")

    assert played.result() == "alar"
    assert sorted(_ran) == ["a", "join", "left", "right"]


def test_outage_that_lasts_longer_leaves_the_step_to_its_lease(records: SqlRecords) -> None:
    stage = Stage.on(records, policies=Policies(outage_wait=timedelta(seconds=0.2)))
    played = stage.submit(diamond, {"name": "a"})
    with fail_at(FaultPoint.BEFORE_COMPLETE, set(range(1, 99))), pytest.raises(DatabaseUnavailable):
        stage.dispatcher.run(stage.engine)

    begun = played.step("begin")
    assert (begun.status, begun.attempts, begun.recoveries) == (StepState.RUNNING, 1, 0)


def test_claim_does_not_wait_in_a_worker_that_has_to_end(stage: Stage) -> None:
    played = stage.submit(diamond, {"name": "a"})
    stage.engine.leases.stopping = True
    with fail_at(FaultPoint.AFTER_CLAIM, {1}), pytest.raises(DatabaseUnavailable):
        stage.dispatcher.run(stage.engine)
    assert played.step("begin").attempts == 1


def test_step_whose_code_has_not_begun_is_released_by_a_worker_that_stops(
    stage: Stage,
) -> None:
    played = stage.submit(diamond, {"name": "a"})
    (delivery,) = stage.dispatcher.waiting
    assert delivery.message is not None
    stage.dispatcher.clear()
    stage.engine.leases.stopping = True

    ended = run_attempt(stage.engine, delivery.message.id, played.id, in_chord=False)

    assert ended.ending is AttemptEnding.RELEASED
    assert _ran == []
    begun = played.step("begin")
    assert (begun.status, begun.attempts, begun.recoveries) == (StepState.QUEUED, 0, 0)
    assert len(stage.dispatcher.waiting) == 1  # sent again
    stage.engine.leases.stopping = False
    stage.dispatcher.run(stage.engine)
    assert played.result() == "alar"


@step
def held(folder: str) -> str:
    Path(folder, "held").touch()
    wait_until(Path(folder, "go").exists, what="let go")
    return "late"


@flow
def holding(folder: str) -> Any:
    return held(folder)


def test_what_is_given_back_while_it_runs_counts_for_nothing(stage: Stage, tmp_path: Path) -> None:
    played = stage.submit(holding, {"folder": str(tmp_path)})
    (delivery,) = stage.dispatcher.waiting
    assert delivery.message is not None
    step_id = delivery.message.id
    stage.dispatcher.clear()
    ended: list[AttemptEnding] = []
    running = threading.Thread(
        target=lambda: ended.append(
            run_attempt(stage.engine, step_id, played.id, in_chord=False).ending
        )
    )
    running.start()
    wait_until(Path(tmp_path, "held").exists, what="it runs")

    stage.engine.leases.stopping = True
    assert release_all(stage.engine) == 1
    assert release_all(stage.engine) == 0
    assert played.step("held").status is StepState.QUEUED
    Path(tmp_path, "go").touch()
    running.join(60)

    assert ended == [AttemptEnding.RELEASED]
    assert played.step("held").status is StepState.QUEUED
    stage.engine.leases.stopping = False
    stage.dispatcher.run(stage.engine)
    assert played.result() == "late"
    assert played.step("held").attempts == 1


class _Expected(Attempt):
    def __init__(self) -> None:
        super().__init__()
        self.lost = threading.Event()

    def lose(self) -> None:
        self.lost.set()
        super().lose()


def quick_keeper(stage: Stage) -> LeaseKeeper:
    soon = timedelta(seconds=0.3)
    return LeaseKeeper(stage.records, soon, cancel_every=soon, cancel_grace=soon)


def test_lease_that_cannot_be_renewed_until_its_end_is_lost(stage: Stage) -> None:
    keeper = quick_keeper(stage)
    attempt = _Expected()
    with (
        fail_at(FaultPoint.BEFORE_RENEW, set(range(1, 99))),
        keeper.hold(stage.engine.new_id(), attempt),  # type: ignore[arg-type]
    ):
        assert attempt.lost.wait(60)


def test_heartbeat_outlives_what_nobody_has_foreseen(stage: Stage) -> None:
    keeper = quick_keeper(stage)
    attempt = _Expected()
    with (
        fail_at(FaultPoint.BEFORE_RENEW, {1}, RuntimeError),
        keeper.hold(stage.engine.new_id(), attempt),  # type: ignore[arg-type]
    ):
        # The second beat asks the database, which has no such lease.
        assert attempt.lost.wait(60)


# --- what the database says of flowq's own statements ---------------------------------------------


@pytest.fixture
def _put_off_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcomes, "_FIRST_DELAY", timedelta(milliseconds=10))


@pytest.mark.usefixtures("_put_off_for_a_moment")
@pytest.mark.parametrize(
    "point, kind",
    [
        (FaultPoint.BEFORE_CODE, DatabaseRefused),
        (FaultPoint.BEFORE_CODE, DatabaseNotMigrated),
        (FaultPoint.BEFORE_COMPLETE, DatabaseRefused),
    ],
)
def test_refused_statement_is_no_failure_of_the_step(
    stage: Stage, caplog: pytest.LogCaptureFixture, point: FaultPoint, kind: type[Exception]
) -> None:
    played = stage.submit(diamond, {"name": "a"})
    with fail_at(point, {1}, kind):
        stage.dispatcher.run(stage.engine)

    assert played.result() == "alar"
    assert played.step("begin").recoveries == 1
    told = [record for record in caplog.records if record.levelname == "ERROR"]
    (said,) = [record for record in told if record.name.startswith("flowq.")]  # not of other tests
    assert (said.run_id, said.step) == (str(played.id), "begin")  # type: ignore[attr-defined]


@pytest.mark.usefixtures("_put_off_for_a_moment")
def test_statement_that_is_refused_for_ever_ends_the_run(records: SqlRecords) -> None:
    policies = Policies(outage_wait=timedelta(seconds=0.2), max_recoveries=2)
    stage = Stage.on(records, policies=policies)
    played = stage.submit(diamond, {"name": "a"})
    with fail_at(FaultPoint.BEFORE_COMPLETE, set(range(1, 99)), DatabaseRefused):
        stage.dispatcher.run(stage.engine)

    assert played.status is RunState.FAILED
    assert "injected" in str(played.view.error)
    assert _ran == ["a"] * 3


@pytest.mark.parametrize("make", [users_sqlalchemy, users_driver])
def test_error_of_the_users_own_database_is_the_steps_failure(
    stage: Stage, make: Callable[[], Any]
) -> None:
    played = stage.submit(asking, {"how": make.__name__})
    stage.dispatcher.run(stage.engine)

    assert played.status is RunState.FAILED
    assert "no such table: theirs" in str(played.view.error)
