"""What is recorded is accepted: a failure after the commit is no error for the caller.

Each run here is recorded while nothing can be sent, and ends when somebody can send again.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from celery import Celery
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

import flowq
from flowq import bootstrap, flow, step
from flowq.adapters.dispatch.celery import CeleryDispatcher
from flowq.adapters.events.memory import MemoryEvents
from flowq.adapters.records.database import SqlRecords
from flowq.core.errors import DatabaseUnavailable, InvalidSetting
from flowq.core.ids import RunId
from flowq.core.states import RunState
from flowq.engine.engine import Policies
from flowq.engine.runs import submission
from flowq.engine.runs.cancel import cancel
from flowq.engine.runs.pause import pause, resume
from flowq.engine.runs.signals import send_signal
from tests.tools.playing import Played, Stage

#: URLs of brokers that no message can be made for; the errors are kombu's, redis-py's, Python's.
UNUSABLE = {
    "ValueError": "redis://u:SECRET/x@host",
    "TypeError": "redis://127.0.0.1:1/0?health_check_interval=3",
    "KeyError": "unix:///tmp/no.sock",
    "ImportError": "confluentkafka://127.0.0.1:1",
}


@step
def double(value: int) -> int:
    return 2 * value


@flow
def doubled(value: int) -> list[int]:
    return double.map([double(value), value])


@flow
def parent(value: int) -> list[int]:
    return doubled(value)


@flow
async def approved() -> str:
    return str(await flowq.signal("approve", str))


@pytest.fixture
def stage(records: SqlRecords) -> Stage:
    """A stage whose sweeper sends again at once."""
    return Stage.on(records, policies=Policies(resend_after=timedelta(seconds=-5)))


@contextmanager
def unsendable(stage: Stage, url: str) -> Iterator[None]:
    """Have nothing sent within the block."""
    app = Celery("wrong", broker=url, set_as_current=False)
    object.__setattr__(stage.engine, "dispatcher", CeleryDispatcher(app))
    try:
        yield
    finally:
        object.__setattr__(stage.engine, "dispatcher", stage.dispatcher)


def ends(stage: Stage, run_id: RunId, flow: Any) -> Any:
    """Return the result of a run that the sweeper has to send."""
    for _ in range(4):
        stage.sweep(seconds_late=3600)
        stage.dispatcher.run(stage.engine)
    return Played(stage, run_id, flow).result()


@pytest.mark.parametrize("url", UNUSABLE.values(), ids=UNUSABLE)
def test_a_run_is_returned_when_it_was_recorded(
    stage: Stage, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with unsendable(stage, url):
        run_id = submission.submit(stage.engine, doubled.type, {"value": 3})

    assert "not sent" in caplog.text
    assert "SECRET" not in caplog.text
    assert [12, 6] == ends(stage, run_id, doubled)


def test_many_runs_are(stage: Stage) -> None:
    inputs = [{"value": value} for value in range(30)]
    with unsendable(stage, UNUSABLE["KeyError"]):
        begun = submission.submit_many(stage.engine, doubled.type, inputs)

    assert 30 == len(set(begun))
    assert [116, 58] == ends(stage, begun[-1], doubled)


def test_runs_of_a_callers_transaction_are(stage: Stage, records: SqlRecords) -> None:
    engine = create_engine(records.url)
    with unsendable(stage, UNUSABLE["TypeError"]), Session(engine) as session:
        run_id = submission.submit(stage.engine, doubled.type, {"value": 3}, session=session)
        session.commit()
    engine.dispose()

    assert [12, 6] == ends(stage, run_id, doubled)


def test_a_worker_continues_when_it_cannot_send(stage: Stage) -> None:
    """Children and dependents of what it has just completed are recorded, and sent later."""
    played = stage.submit(parent, {"value": 3})
    while (delivery := stage.dispatcher._next() if stage.dispatcher._ready else None) is not None:
        with unsendable(stage, UNUSABLE["ValueError"]):
            stage.dispatcher.deliver(stage.engine, delivery)

    assert [12, 6] == ends(stage, played.id, parent)
    assert played.view.error is None


def test_signal_resume_and_cancel_do_not_raise(stage: Stage) -> None:
    signalled = stage.play(approved)
    paused = stage.submit(doubled, {"value": 3})
    pause(stage.engine, paused.id, "test")
    stage.dispatcher.run(stage.engine)
    other = stage.play(approved)
    with unsendable(stage, UNUSABLE["ValueError"]):
        send_signal(stage.engine, signalled.id, "approve", "yes")
        assert RunState.RUNNING is resume(stage.engine, paused.id)
        assert RunState.CANCELLING is cancel(stage.engine, other.id)

    assert "yes" == ends(stage, signalled.id, approved)
    assert [12, 6] == ends(stage, paused.id, doubled)
    assert RunState.CANCELLED is other.status


def test_a_database_that_goes_after_the_commit_is_no_error(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither is anything unforeseen; that is logged with its place."""

    def away(*_: object) -> None:
        raise DatabaseUnavailable("it is away")

    def wrong(*_: object, **__: object) -> None:
        raise LookupError("a slip")

    monkeypatch.setattr(submission, "run_ready", away)
    first = submission.submit(stage.engine, parent.type, {"value": 3})
    monkeypatch.setattr(MemoryEvents, "publish", wrong)
    second = submission.submit(stage.engine, parent.type, {"value": 4})
    monkeypatch.undo()

    assert "LookupError: a slip" in caplog.text
    assert [12, 6] == ends(stage, first, parent)
    assert [16, 8] == ends(stage, second, parent)


def test_of_many_runs_it_is_said_how_many_are_recorded(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the database goes between two groups of them."""
    begin, groups = submission.begin, []

    def once(*args: Any) -> Any:
        groups.append(args)
        if len(groups) > 1:
            raise DatabaseUnavailable("it is away")
        return begin(*args)

    monkeypatch.setattr(submission, "begin", once)
    with pytest.raises(DatabaseUnavailable, match="first 25 of 30 runs are recorded") as caught:
        submission.submit_many(stage.engine, doubled.type, [{"value": 1}] * 30)

    assert "idempotency_keys" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "name, value",
    [
        ("FLOWQ_REDIS_URL", "redis://u:SECRET/x@host"),
        ("FLOWQ_REDIS_URL", "redis://a;redis://b"),
        ("FLOWQ_DATABASE_URL", "postgresql://u:p@SECRET@host/x"),
        ("FLOWQ_OPENAI_BASE_URL", "//u:SECRET@host"),
        ("FLOWQ_LEASE_SECONDS", "long"),
        ("FLOWQ_PRICES", "{"),
    ],
)
def test_settings_are_refused_before_anything_is_recorded(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By one kind of error, which names the setting."""
    monkeypatch.setenv(name, value)
    bootstrap.settings.cache_clear()
    try:
        with pytest.raises(InvalidSetting, match=name.removeprefix("FLOWQ_"), check=_hides):
            bootstrap.settings()
    finally:
        monkeypatch.undo()
        bootstrap.settings.cache_clear()


def _hides(error: InvalidSetting) -> bool:
    return "SECRET" not in str(error) and error.hint is not None
