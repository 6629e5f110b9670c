"""Maps over known lists: the submission expands small ones, a worker expands large ones."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from flowq import errors, flow, step
from flowq.adapters.dispatch.inprocess import InProcessDispatcher
from flowq.adapters.records.database import SqlRecords
from flowq.core.ids import RunId, batch_of_run
from flowq.core.states import RunState, StepState
from flowq.engine.engine import Policies
from flowq.engine.ports import ADVANCE_TASK, Worker
from flowq.engine.runs import submission
from flowq.engine.runs.cancel import cancel
from flowq.engine.runs.pause import pause, resume
from flowq.engine.runs.reruns import rerun
from flowq.engine.waits.explain import why_waits
from flowq.engine.waits.reasons import Reason
from tests.tools.playing import Played, Stage

MANY = list(range(40))


@step
def twice(value: int) -> int:
    return 2 * value


@step
def total(values: list[int]) -> int:
    return sum(values)


@step
def flaky(value: int) -> int:
    if value == 3 and broken:
        raise ValueError("three")
    return value


broken: list[bool] = []


@flow
def summed(values: list[int]) -> int:
    return total(twice.map(values))


@flow
def two_maps(values: list[int]) -> tuple[int, int]:
    return total(twice.map(values)), total(twice.map(values[:20]))


@flow
def beside(values: list[int]) -> list[int]:
    return [total(twice.map(values)), twice(100)]


@flow(on_failure="continue")
def some_fail(values: list[int]) -> int:
    return total(flaky.map(values))


@flow
def nested(values: list[int]) -> int:
    return twice(summed(values))


@pytest.fixture
def stage(records: SqlRecords) -> Stage:
    return Stage.on(records, policies=Policies(expand_at_once=30, chord_from=8))


@pytest.fixture
def session(records: SqlRecords) -> Iterator[Session]:
    engine = create_engine(records.url)
    with Session(engine) as session:
        yield session
    engine.dispose()


def rows(stage: Stage, run_id: RunId) -> int:
    with stage.records.engine.connect() as connection:
        query = text("SELECT count(*) FROM flow_step_runs WHERE flow_run_id = :id")
        bound = run_id if stage.records.engine.dialect.name == "postgresql" else run_id.hex
        return int(connection.execute(query, {"id": bound}).scalar() or 0)


def advances(dispatcher: InProcessDispatcher) -> list[object]:
    """Return what is sent: ids of batches to advance, and step types."""
    return [one.batch if one.message is None else one.message.name for one in dispatcher.waiting]


def test_submission_expands_a_small_map(stage: Stage) -> None:
    played = stage.submit(summed, {"values": MANY[:30]})

    assert rows(stage, played.id) == 32
    assert advances(stage.dispatcher) == [twice.type.name] * 30
    stage.dispatcher.run(stage.engine)
    assert played.result() == 870


def test_submission_of_a_large_map_sends_one_message(stage: Stage) -> None:
    played = stage.submit(summed, {"values": MANY[:31]})

    assert rows(stage, played.id) == 2
    assert advances(stage.dispatcher) == [batch_of_run(played.id)]
    assert {"twice": StepState.PENDING, "total": StepState.PENDING} == played.states()
    stage.dispatcher.run(stage.engine)
    assert played.result() == 930


def test_items_of_all_first_maps_count(stage: Stage) -> None:
    played = stage.submit(two_maps, {"values": MANY[:25]})

    assert advances(stage.dispatcher) == [batch_of_run(played.id)]
    stage.dispatcher.run(stage.engine)
    assert played.result() == (600, 380)


def test_steps_beside_a_large_map_are_sent_at_once(stage: Stage) -> None:
    played = stage.submit(beside, {"values": MANY})

    assert advances(stage.dispatcher) == [twice.type.name, batch_of_run(played.id)]
    stage.dispatcher.run(stage.engine)
    assert played.result() == [1560, 200]


def test_lost_message_is_sent_again(stage: Stage) -> None:
    played = stage.submit(summed, {"values": MANY})
    stage.dispatcher._ready.clear()

    stage.sweep()
    stage.dispatcher.run(stage.engine)

    assert played.result() == 1560


def test_message_that_comes_twice_expands_once(stage: Stage) -> None:
    played = stage.submit(summed, {"values": MANY})
    stage.dispatcher.send_advance([batch_of_run(played.id)])
    stage.dispatcher.run(stage.engine)

    assert played.result() == 1560
    assert rows(stage, played.id) == 42


def test_unreachable_broker_refuses_no_run(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise errors.BrokerUnavailable("it is away")

    with monkeypatch.context() as patch:
        patch.setattr(InProcessDispatcher, "send_advance", away)
        played = stage.submit(summed, {"values": MANY})
    stage.sweep()
    stage.dispatcher.run(stage.engine)

    assert played.result() == 1560


def test_same_key_gives_the_same_run_and_no_other_message(stage: Stage) -> None:
    ids = {
        submission.submit(stage.engine, summed.type, {"values": MANY}, idempotency_key="one")
        for _ in range(2)
    }

    assert advances(stage.dispatcher) == [batch_of_run(one) for one in ids]
    with pytest.raises(errors.InvalidInput, match="other inputs"):
        submission.submit(stage.engine, summed.type, {"values": MANY[1:]}, idempotency_key="one")


def test_large_map_begins_only_when_the_caller_commits(stage: Stage, session: Session) -> None:
    submission.submit(stage.engine, summed.type, {"values": MANY}, session=session)
    session.rollback()
    run_id = submission.submit(stage.engine, summed.type, {"values": MANY}, session=session)
    assert advances(stage.dispatcher) == []
    session.commit()

    assert advances(stage.dispatcher) == [batch_of_run(run_id)]
    stage.dispatcher.run(stage.engine)
    assert Played(stage, run_id, summed).result() == 1560


def test_run_that_is_cancelled_before_its_expansion_has_no_items(stage: Stage) -> None:
    played = stage.submit(summed, {"values": MANY})
    cancel(stage.engine, played.id)
    stage.dispatcher.run(stage.engine)

    assert played.status is RunState.CANCELLED
    assert rows(stage, played.id) == 2


def test_run_that_is_paused_before_its_expansion_goes_on(stage: Stage) -> None:
    played = stage.submit(summed, {"values": MANY})
    pause(stage.engine, played.id, "wait")
    stage.dispatcher.run(stage.engine)
    assert played.status is RunState.PAUSED
    resume(stage.engine, played.id)
    stage.dispatcher.run(stage.engine)

    assert played.result() == 1560


def test_child_run_with_a_large_map(stage: Stage) -> None:
    assert stage.play(nested, values=MANY).result() == 3120


def test_delayed_run_with_a_large_map(stage: Stage) -> None:
    run_id = submission.submit(
        stage.engine, summed.type, {"values": MANY}, delay=timedelta(seconds=0.05)
    )
    stage.dispatcher.run(stage.engine)

    assert Played(stage, run_id, summed).result() == 1560


def test_rerun_runs_only_the_items_that_failed(stage: Stage) -> None:
    broken.append(True)
    first = stage.play(some_fail, values=MANY)
    assert first.status is RunState.FAILED
    broken.clear()
    second = Played(stage, rerun(stage.engine, first.id), some_fail)
    stage.dispatcher.run(stage.engine)

    assert second.result() == sum(MANY)
    assert second.step("flaky").attempts == 1
    with stage.records.engine.connect() as connection:
        query = text("SELECT count(*) FROM flow_step_runs WHERE attempt > 0 AND step_name = :name")
        ran = connection.execute(query, {"name": flaky.type.name}).scalar()
    assert ran == len(MANY) + 1


def test_without_a_worker_it_is_said_that_none_runs(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Worker] = []
    monkeypatch.setattr(stage.dispatcher, "workers", lambda _patience: found)
    played = stage.submit(summed, {"values": MANY})

    (why,) = why_waits(stage.engine, played.id)
    assert (why.reason, why.step, why.count) == (Reason.NO_WORKER, "twice", 1)

    found.append(Worker("a", frozenset({"celery"}), frozenset({ADVANCE_TASK})))
    assert why_waits(stage.engine, played.id) == []
