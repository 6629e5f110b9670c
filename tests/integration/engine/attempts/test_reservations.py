"""Calls of models that run at once reserve what they may cost, and give it back."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import uuid_utils.compat as uuids

from flowq import Budget, flow, step
from flowq.adapters.events.memory import MemoryEvents
from flowq.adapters.records.database import SqlRecords
from flowq.core.errors import DatabaseUnavailable, InvalidInput
from flowq.core.events import BudgetWarning
from flowq.core.ids import LeaseToken, StepRunId
from flowq.core.limits.budgets import run_meter
from flowq.core.states import RunState
from flowq.core.usage import CostStatus, RequestStatus, Tokens, Usage
from flowq.engine.attempts.budgets import raise_budget
from flowq.engine.engine import Policies
from flowq.engine.events.follow import follow
from flowq.engine.model.model_calls import Caller
from flowq.engine.runs import submission
from flowq.entrypoints.event_text import what
from flowq.llm.recording import calling, spending
from tests.tools.invariants import assert_invariants
from tests.tools.playing import Played, Stage
from tests.tools.waiting import wait_until

AT_ONCE = 50


@dataclass
class Bills:
    """What each call costs, by its number, and how many were made."""

    costs: Any = field(default=lambda number: Decimal("0.10"))
    bounds: Any = field(default=lambda number: None)
    made: int = 0
    running: int = 0
    most_running: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    during: Any = None


bills = Bills()


@pytest.fixture(autouse=True)
def unbilled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "bills", Bills())


@step
async def paid(number: int) -> int:
    calls = step.context().model_calls
    assert calls is not None
    call_id = await calls.admit("fake", "reserved", lambda: bills.bounds(number))
    with bills.lock:
        bills.made += 1
        bills.running += 1
        bills.most_running = max(bills.most_running, bills.running)
    call = calls.start(call_id, "fake", "reserved")
    await call.recorded
    if bills.during is not None:
        await asyncio.to_thread(bills.during)
    await asyncio.sleep(0.01)
    with bills.lock:
        bills.running -= 1
    known, cost = CostStatus.KNOWN, bills.costs(number)
    await call.end(RequestStatus.COMPLETED, tokens=Tokens(1, 1), cost=cost, cost_status=known)
    await calls.settle()
    return number


@flow
def many(count: int) -> Any:
    return paid.map(list(range(count)))


@pytest.fixture
def stage(records: SqlRecords) -> Stage:
    with records.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM llm_requests")
    return Stage.on(records, policies=replace(Policies(), resend_after=timedelta(0)))


def play_at_once(stage: Stage, count: int, budget: Budget, played_flow: Any = many) -> Played:
    run_id = submission.submit(stage.engine, played_flow.type, {"count": count}, budget=budget)
    played, take = Played(stage, run_id, played_flow), threading.Lock()
    ended = {RunState.COMPLETED, RunState.PAUSED, RunState.FAILED}
    deadline = time.monotonic() + 300

    def work() -> None:
        while played.status not in ended or stage.dispatcher._ready:
            assert time.monotonic() < deadline
            with take:
                delivery = stage.dispatcher._next() if stage.dispatcher._ready else None
            if delivery is None:
                time.sleep(0.05)  # so many ask again
                continue
            stage.dispatcher.deliver(stage.engine, delivery)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for future in [pool.submit(copy_context().run, work) for _ in range(AT_ONCE)]:
            future.result(300)
    return played


def test_the_first_call_of_its_kind_is_made_alone_and_others_then_fit(stage: Stage) -> None:
    """Nothing is known of these calls: 50 at once would spend $5 of $1."""
    played = play_at_once(stage, 60, Budget(usd=1, on_exceeded="pause"))

    assert played.status is RunState.PAUSED
    assert bills.made == 10
    assert played.view.cost == Decimal("1.00")
    assert_invariants(stage.records)


def test_calls_that_all_cost_more_than_known_exceed_by_no_more_than_that(stage: Stage) -> None:
    """After the first call each costs 12 cents instead of 10: three times two cents of a dollar."""
    bills.costs = lambda number: Decimal("0.12") if bills.made > 1 else Decimal("0.10")

    played = play_at_once(stage, 60, Budget(usd=1, on_exceeded="pause"))

    assert played.status is RunState.PAUSED
    assert Decimal("1.00") <= played.view.cost <= Decimal("1.20")


def test_calls_with_a_token_limit_need_no_earlier_ones(stage: Stage) -> None:
    bills.bounds = lambda number: Usage(2, Decimal("0.10"))
    bills.during = lambda: wait_until(lambda: bills.most_running > 1, what="two run at once")

    played = play_at_once(stage, 10, Budget(usd=1))

    assert played.status is RunState.COMPLETED
    assert (bills.made, played.view.cost) == (10, Decimal("1.00"))
    assert bills.most_running > 1


def test_call_that_waits_for_running_ones_is_made_when_they_cost_less(stage: Stage) -> None:
    """Each may cost 60 cents of a dollar and costs one: they run one after the other."""
    bills.bounds = lambda number: Usage(2, Decimal("0.60"))
    bills.costs = lambda number: Decimal("0.01")

    played = play_at_once(stage, 8, Budget(usd=1))

    assert (played.status, bills.made) == (RunState.COMPLETED, 8)
    assert bills.most_running == 1


@step
async def talked_through(number: int) -> int:
    """Make a call of a model inside an open one, as a tool of an agent does."""
    calls = step.context().model_calls
    assert calls is not None
    with spending(calls):
        async with calling("fake", "reserved"):
            await asyncio.sleep(0.05)  # others open theirs
            async with calling("fake", "reserved"):
                bills.made += 1
    return number


@flow
def talks(count: int) -> Any:
    return talked_through.map(list(range(count)))


def test_call_inside_an_open_call_does_not_wait_for_it(stage: Stage) -> None:
    """Nothing is known of these calls: the outer one reserves all that is left."""
    played = play_at_once(stage, 3, Budget(usd=1), talks)

    assert (played.status, bills.made) == (RunState.COMPLETED, 3)


def test_reservations_of_lost_attempts_are_released_and_no_others(stage: Stage) -> None:
    seen: list[Usage] = []
    lost = Caller(step_id=StepRunId(uuids.uuid7()), token=LeaseToken(uuids.uuid7()))

    def sweep() -> None:
        meter = run_meter(run_id)
        stage.records.transaction(
            lambda tx: tx.meters.reserve(uuids.uuid7(), lost, {meter: Usage(7, Decimal(7))})
        )
        for old in (False, True):
            if old:
                with stage.records.engine.begin() as connection:
                    connection.exec_driver_sql(
                        "UPDATE flow_reservations SET created_at = '2020-01-01 00:00:00.000000'"
                    )
            stage.sweep()
            seen.append(
                stage.records.transaction(lambda tx: tx.meters.lock([meter]))[meter].reserved
            )

    bills.during = sweep
    bills.bounds = lambda number: Usage(2, Decimal("0.25"))
    run_id = submission.submit(stage.engine, many.type, {"count": 1}, budget=Budget(usd=1))
    stage.dispatcher.run(stage.engine)

    assert seen == [Usage(9, Decimal("7.25")), Usage(2, Decimal("0.25"))]
    assert Played(stage, run_id, many).result() == [0]
    uses = stage.records.transaction(lambda tx: tx.meters.lock([run_meter(run_id)]))
    assert uses[run_meter(run_id)].running == 0


# --- warnings ------------------------------------------------------------------------------------


def warnings(played: Played, caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one for one in caplog.messages if f"budget of run {played.id} is reached" in one]


def given(played: Played) -> list[BudgetWarning]:
    followed = follow(played.stage.engine, played.id, wait=False)
    return [one for one in followed if isinstance(one, BudgetWarning)]


def test_budget_warns_once_when_its_share_is_spent_and_again_when_raised(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    budget = Budget(usd=1, on_exceeded="pause", warn_at=0.55)
    run_id = submission.submit(stage.engine, many.type, {"count": 20}, budget=budget)
    played = Played(stage, run_id, many)
    stage.dispatcher.run(stage.engine)

    assert warnings(played, caplog) == [
        f"55 % of the budget of run {played.id} is reached; 60 % is spent: $0.6000 of $1.00"
    ]
    entries = stage.engine.events.read(played.id).entries
    events = [event for entry in entries for event in entry.events]
    event = next(one for one in events if isinstance(one, BudgetWarning))
    assert (event.budget_of, event.share, event.cost) == ("run", 0.6, Decimal("0.60"))
    assert what(event) == "55 % of the budget of this run is reached; 60 % is spent"
    page = stage.records.autocommit(lambda tx: tx.overview.run_page(played.id))
    assert page is not None
    assert page.warned_at is not None
    assert [one.share for one in given(played)] == [0.6]

    raise_budget(stage.engine, played.id, usd=2)
    page = stage.records.autocommit(lambda tx: tx.overview.run_page(played.id))
    assert page is not None
    assert page.warned_at is None
    stage.dispatcher.run(stage.engine)
    assert played.status is RunState.COMPLETED
    assert "$1.10 of $2.00" in warnings(played, caplog)[1]
    assert len(warnings(played, caplog)) == 2
    emitted = given(played)
    assert isinstance(stage.engine.events, MemoryEvents)
    stage.engine.events.forget()  # then they are rebuilt from the rows
    rebuilt = given(played)
    assert [(one.share, one.rebuilt) for one in emitted] == [(0.6, False), (0.55, False)]
    assert [(one.share, one.rebuilt) for one in rebuilt] == [(0.6, True), (0.55, True)]


@pytest.mark.parametrize("warn_at,count", [(None, 0), (0.8, 1), (0.05, 1)])
def test_share_of_a_warning_is_an_option(
    stage: Stage, caplog: pytest.LogCaptureFixture, warn_at: float | None, count: int
) -> None:
    played = play_at_once(stage, 9, Budget(usd=1, warn_at=warn_at))

    assert played.status is RunState.COMPLETED
    assert len(warnings(played, caplog)) == count


def test_call_whose_warning_fails_is_still_paid(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*_: Any) -> None:
        raise DatabaseUnavailable("says the test")

    monkeypatch.setattr("flowq.adapters.records.limits.meters.SqlMeters.spent", away)

    played = play_at_once(stage, 2, Budget(usd=1, warn_at=0.05))

    assert (played.status, played.view.cost) == (RunState.COMPLETED, Decimal("0.20"))
    assert warnings(played, caplog) == []


@pytest.mark.parametrize("warn_at", [0, 1, -0.5, 80, True, "0.8", float("nan")])
def test_warning_that_is_no_share_is_refused(warn_at: Any) -> None:
    with pytest.raises(InvalidInput, match="warn_at"):
        _ = Budget(usd=1, warn_at=warn_at).spec
