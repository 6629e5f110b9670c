"""Signals: stored before any wait, in order, checked when they are sent."""

import asyncio
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel
from sqlalchemy import create_engine, select
from sqlalchemy.orm import Session

import flowq
from flowq import flow, step
from flowq.adapters.records.sql.tables import FlowSignal
from flowq.core.errors import InvalidInput, RunNotFound, SignalRefused
from flowq.core.ids import RunId
from flowq.core.states import RunState, StepState
from flowq.engine.runs.cancel import cancel
from flowq.engine.runs.signals import send_signal
from tests.tools.playing import Played, Stage


class Approval(BaseModel):
    ok: bool
    by: str = "nobody"


@step
async def note(text: str) -> str:
    return text


@flow
async def approved() -> str:
    answer = await flowq.signal("approve", Approval)
    return f"{answer.ok} {answer.by}"


@flow
async def chat(n: int) -> list[Any]:
    return [await flowq.signal("say") for _ in range(n)]


@flow
async def patient(seconds: float) -> str:
    try:
        await flowq.signal("approve", Approval, timeout=seconds)
    except TimeoutError as error:
        return f"too late: {type(error).__name__}"
    return "in time"


@flow
async def later() -> str:
    await note("first")
    return str((await flowq.signal("approve", Approval)).by)


@flow
async def racing() -> list[Any]:
    """Wait for two names at once, and for two of the same."""
    return list(await asyncio.gather(flowq.signal("a"), flowq.signal("b"), flowq.signal("a")))


@flow
def graph() -> Any:
    return note("x")


def send(played: Played, name: str, payload: Any = None) -> None:
    send_signal(played.stage.engine, played.id, name, payload)
    played.stage.dispatcher.run(played.stage.engine)


def signals(stage: Stage, played: Played) -> list[tuple[Any, bool]]:
    def read(tx: Any) -> list[tuple[Any, bool]]:
        query = select(FlowSignal).where(FlowSignal.flow_run_id == played.id)
        with Session(tx.within) as session:
            rows = session.scalars(query.order_by(FlowSignal.created_at, FlowSignal.id))
            return [(row.payload, row.consumed_by is not None) for row in rows]

    return stage.records.autocommit(read)


def test_signal_ends_the_wait_and_holds_nothing_meanwhile(stage: Stage) -> None:
    played = stage.play(approved)
    assert RunState.RUNNING is played.status
    assert {"approved": StepState.WAITING, "approve#1": StepState.WAITING} == played.states()

    send(played, "approve", Approval(ok=True, by="ann"))

    assert "True ann" == played.result()


def test_signal_may_come_before_anyone_waits(stage: Stage) -> None:
    played = stage.submit(later, {})
    send_signal(stage.engine, played.id, "approve", {"ok": True, "by": "eve"})

    stage.dispatcher.run(stage.engine)

    assert "eve" == played.result()


def test_signals_of_one_name_arrive_in_order_each_once(stage: Stage) -> None:
    played = stage.submit(chat, {"n": 5})
    for number in range(3):
        send_signal(stage.engine, played.id, "say", number)
    stage.dispatcher.run(stage.engine)
    for number in range(3, 7):
        if played.status is RunState.RUNNING:
            send(played, "say", number)

    assert [0, 1, 2, 3, 4] == played.result()


@pytest.mark.parametrize("payload", [None, 0, "text", [1, {"a": None}], {"$ref": "x"}, "ü\u2028"])
def test_payload_arrives_as_it_was_sent(stage: Stage, payload: Any) -> None:
    played = stage.play(chat, n=1)

    send(played, "say", payload)

    assert [payload] == played.result()


def test_waits_for_several_names_get_their_own(stage: Stage) -> None:
    played = stage.play(racing)
    send(played, "a", "a1")
    send(played, "b", "b1")
    send(played, "a", "a2")

    assert ["a1", "b1", "a2"] == played.result()


def test_wrong_type_is_reported_to_the_sender_and_loses_nothing(stage: Stage) -> None:
    played = stage.play(approved)

    with pytest.raises(InvalidInput, match=r"ok: 'perhaps' is not of type 'boolean'"):
        send(played, "approve", {"ok": "perhaps"})

    assert [] == signals(stage, played)
    send(played, "approve", {"ok": False})
    assert "False nobody" == played.result()


def test_wrong_type_that_came_before_the_wait_is_passed_over(stage: Stage) -> None:
    """Nobody could tell its sender; the flow waits for the next one."""
    played = stage.submit(approved, {})
    send_signal(stage.engine, played.id, "approve", "yes!")
    stage.dispatcher.run(stage.engine)
    assert RunState.RUNNING is played.status

    send(played, "approve", {"ok": True})

    assert "True nobody" == played.result()
    assert [("yes!", True), ({"ok": True}, True)] == signals(stage, played)


def test_signal_of_a_name_that_nobody_waits_for_is_kept(stage: Stage) -> None:
    played = stage.play(approved)

    send(played, "thanks", 1)

    assert RunState.RUNNING is played.status
    assert [(1, False)] == signals(stage, played)


def test_name_that_is_almost_a_waited_one_is_warned_of_and_kept(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    played = stage.play(approved)

    for name in ("aprove", "thanks"):
        send(played, name, True)

    # Programs of earlier tests may be collected meanwhile, and warn too.
    own = [one for one in caplog.records if one.name == send_signal.__module__]
    said = [one.getMessage() for one in own if one.levelname == "WARNING"]
    assert len(said) == 1
    assert "'aprove' is kept" in said[0]
    assert "waits for 'approve'" in said[0]


def test_wait_that_takes_too_long_raises(stage: Stage) -> None:
    played = stage.play(patient, seconds=0.05)

    assert "too late: SignalTimeout" == played.result()


def test_signal_in_time_ends_the_timeout_too(stage: Stage) -> None:
    played = stage.play(patient, seconds=3600)
    send(played, "approve", {"ok": True})

    assert "in time" == played.result()


def test_run_that_has_ended_takes_no_signal(stage: Stage) -> None:
    played = stage.play(chat, n=0)

    with pytest.raises(SignalRefused, match="has completed"):
        send(played, "say")


def test_graph_takes_no_signal(stage: Stage) -> None:
    played = stage.play(graph)

    with pytest.raises(SignalRefused, match="`def` flow"):
        send(played, "say")


def test_run_that_is_not_there_takes_no_signal(stage: Stage) -> None:
    with pytest.raises(RunNotFound):
        send_signal(stage.engine, RunId(stage.engine.new_id()), "say")


@pytest.mark.parametrize("name", ["", "x" * 201, "a\0b", 7])
def test_name_that_does_not_fit_is_refused(stage: Stage, name: Any) -> None:
    played = stage.play(chat, n=1)

    with pytest.raises(InvalidInput, match="the name of a signal"):
        send(played, name)
    cancel(stage.engine, played.id)
    stage.dispatcher.run(stage.engine)


def test_payload_that_is_no_json_or_too_large_is_refused(stage: Stage) -> None:
    played = stage.play(chat, n=1)

    with pytest.raises(InvalidInput, match="cannot be stored as JSON"):
        send(played, "say", object())
    with pytest.raises(InvalidInput, match="the limit is"):
        send(played, "say", "x" * 2_000_000)


def test_cancel_ends_the_wait(stage: Stage) -> None:
    played = stage.play(approved)

    cancel(stage.engine, played.id)
    stage.dispatcher.run(stage.engine)

    assert RunState.CANCELLED is played.status
    with pytest.raises(SignalRefused, match="was cancelled"):
        send(played, "approve", {"ok": True})


def test_signal_that_was_stored_and_not_delivered_is_found_by_the_sweeper(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when its sender dies right after the commit."""
    played = stage.play(approved)
    with monkeypatch.context() as patch:
        patch.setattr("flowq.engine.runs.signals.deliver", lambda *_: None)
        send(played, "approve", {"ok": True})
    assert RunState.RUNNING is played.status

    stage.sweep()
    stage.dispatcher.run(stage.engine)

    assert "True nobody" == played.result()


@pytest.fixture
def session(stage: Stage) -> Iterator[Session]:
    engine = create_engine(stage.records.url)
    with Session(engine) as session:
        yield session
    engine.dispose()


def test_signal_in_a_transaction_is_sent_when_that_commits(stage: Stage, session: Session) -> None:
    played = stage.play(approved)

    send_signal(stage.engine, played.id, "approve", {"ok": True}, session=session)
    stage.dispatcher.run(stage.engine)
    assert RunState.RUNNING is played.status
    session.commit()
    stage.dispatcher.run(stage.engine)

    assert "True nobody" == played.result()


def test_signal_in_a_transaction_that_is_rolled_back_was_never_sent(
    stage: Stage, session: Session
) -> None:
    played = stage.play(approved)

    send_signal(stage.engine, played.id, "approve", {"ok": True}, session=session)
    session.rollback()
    stage.dispatcher.run(stage.engine)

    assert RunState.RUNNING is played.status
    assert [] == signals(stage, played)


def test_timeout_after_an_ignored_signal_continues(stage: Stage) -> None:
    played = stage.submit(patient, {"seconds": 0.2})
    send_signal(stage.engine, played.id, "approve", "wrong")
    stage.dispatcher.run(stage.engine)

    assert "too late: SignalTimeout" == played.result()
    assert timedelta(seconds=60) > timedelta(milliseconds=played.view.execution_time_ms or 0)


def test_no_signal_is_lost_or_given_twice_while_senders_and_the_program_race(
    stage: Stage,
) -> None:
    """Each of many signals meets a program that begins to wait, waits, or runs at that moment."""
    number = 40
    played = stage.submit(chat, {"n": number})
    failed: list[BaseException] = []

    def send_half(first: int) -> None:
        try:
            for each in range(first, number, 2):
                send_signal(stage.engine, played.id, "say", each)
        except BaseException as error:  # noqa: BLE001 - the test checks it
            failed.append(error)

    senders = [threading.Thread(target=send_half, args=(first,)) for first in (0, 1)]
    for sender in senders:
        sender.start()
    while any(sender.is_alive() for sender in senders):
        stage.dispatcher.run(stage.engine)
    stage.dispatcher.run(stage.engine)

    assert [] == failed
    got = played.result()
    assert list(range(number)) == sorted(got)
    for first in (0, 1):
        mine = [each for each in got if each % 2 == first]
        assert sorted(mine) == mine, "the signals of one sender keep their order"
