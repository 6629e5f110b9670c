"""What calls of models may cost: refused or paused when it is spent, and not by a call more."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar

import pytest
import uuid_utils.compat as uuids
from pydantic import BaseModel

from flowq import BaseFlow, Budget, Run, continue_as_new, errors, flow, step
from flowq.adapters.records.database import SqlRecords
from flowq.adapters.records.limits.meters import month_of_meters
from flowq.authoring.definitions.flows import Flow
from flowq.core.ids import RunId, child_run_id, node_id
from flowq.core.limits.budgets import BudgetAction, BudgetSpec
from flowq.core.states import RunState, StepState, StopKind
from flowq.core.usage import CostStatus, RequestStatus, Tokens
from flowq.engine.attempts import budgets
from flowq.engine.attempts.budgets import raise_budget, resume_by_hand
from flowq.engine.engine import Policies
from flowq.engine.runs import submission
from flowq.engine.runs.pause import pause
from flowq.engine.runtime.model_calls import _warn
from flowq.engine.waits.explain import why_waits
from flowq.engine.waits.reasons import Reason
from tests.tools.invariants import assert_invariants
from tests.tools.playing import Played, Stage

#: What each call uses.
TOKENS = Tokens(600, 400)
COST = Decimal("0.10")
LARGE = Tokens(6_000, 4_000)
calls: Counter[str] = Counter()
lock = threading.Lock()


@pytest.fixture(autouse=True)
def none_called() -> Iterator[None]:
    calls.clear()
    yield
    calls.clear()


async def model_call(name: str, seconds: float = 0.0, tokens: Tokens = TOKENS) -> None:
    """Call a model as steps that call models do."""
    made = step.context().model_calls
    assert made is not None
    call_id = await made.admit("fake", "model")
    with lock:
        calls[name] += 1
    call = made.start(call_id, "fake", "model")
    await call.recorded
    await asyncio.sleep(seconds)
    await call.end(RequestStatus.COMPLETED, tokens=tokens, cost=COST, cost_status=CostStatus.KNOWN)


@step(retries=2, retry_delay=0)
async def ask(number: int, after: Any = None) -> int:
    await model_call("ask")
    return number


@step
async def ask_slowly(number: int) -> int:
    await model_call("ask", 0.1, LARGE)
    return number


@flow
def chain(count: int) -> Any:
    last: Any = None
    for number in range(count):
        last = ask.options(key=f"n{number}")(number, last)
    return last


@flow
def wide(count: int) -> Any:
    return ask_slowly.map(list(range(count)))


@flow
def family(count: int) -> Any:
    return [chain.options(key="first")(count), chain.options(key="second")(count)]


@flow(budget=Budget(tokens=2000))
def limited(count: int) -> Any:
    return chain(count)


@flow(monthly_budget=Budget(usd="0.25"))
def monthly(count: int) -> Any:
    last: Any = None
    for number in range(count):
        last = ask.options(key=f"n{number}")(number, last)
    return last


@pytest.fixture
def stage(records: SqlRecords) -> Stage:
    return on(records)


def on(records: SqlRecords, **policies: Any) -> Stage:
    with records.engine.begin() as connection:  # tests of a module share a database
        connection.exec_driver_sql("DELETE FROM flow_meters")
        connection.exec_driver_sql("DELETE FROM llm_requests")
    return Stage.on(records, policies=replace(Policies(resend_after=timedelta(0)), **policies))


def play(stage: Stage, flow_: Flow[..., Any], count: int, **options: Any) -> Played:
    played = Played(
        stage, submission.submit(stage.engine, flow_.type, {"count": count}, **options), flow_
    )
    stage.dispatcher.run(stage.engine)
    return played


# --- fail ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "budget", [Budget(usd="0.25"), Budget(tokens=2001), Budget(usd=100, tokens=2500)], ids=str
)
def test_step_that_wants_more_than_the_budget_fails_without_a_retry(
    stage: Stage, budget: Budget, caplog: pytest.LogCaptureFixture
) -> None:
    played = play(stage, chain, 6, budget=budget)

    assert played.status is RunState.FAILED
    assert calls["ask"] == 3
    assert played.step("n3").error_type == "BudgetExceeded"
    assert played.step("n3").attempts == 1
    assert "budget is spent: " in played.error
    assert f"flowq runs raise-budget {played.id} --usd AMOUNT" in caplog.text
    assert (played.view.tokens, played.view.cost) == (3000, Decimal("0.30"))
    assert_invariants(stage.records)


def test_budget_that_is_not_spent_stops_nothing(stage: Stage) -> None:
    assert play(stage, chain, 3, budget=Budget(usd="0.30", tokens=3000)).result() == 2


def test_flow_has_a_budget_for_each_run_and_child_runs_spend_it(stage: Stage) -> None:
    played = play(stage, limited, 6)

    assert played.status is RunState.FAILED
    assert calls["ask"] == 2
    inner = Played(stage, child_run_id(node_id(played.id, "chain")), chain)
    assert "budget is spent: 2,000 of 2,000 tokens of run" in inner.error
    play(stage, limited, 6)
    assert calls["ask"] == 4


def test_budget_given_at_enqueue_comes_before_that_of_the_flow(stage: Stage) -> None:
    assert play(stage, limited, 4, budget=Budget(tokens=9000)).result() == 3


def test_budget_by_setting_holds_for_runs_without_another(records: SqlRecords) -> None:
    stage = on(records, run_budget=BudgetSpec(tokens=1000))

    assert play(stage, chain, 3).status is RunState.FAILED
    assert play(stage, chain, 3, budget=Budget(tokens=9000)).result() == 2


def test_month_of_a_flow_is_shared_by_its_runs(stage: Stage) -> None:
    assert play(stage, monthly, 2).result() == 1
    second = play(stage, monthly, 2)

    assert second.status is RunState.FAILED
    assert calls["ask"] == 3
    assert (
        "of flow 'tests.integration.engine.attempts.test_budgets.monthly' in this month"
        in second.error
    )


def test_month_of_a_user_is_shared_by_flows_and_child_runs(records: SqlRecords) -> None:
    stage = on(records, user_budget=BudgetSpec(tokens=4000))

    assert play(stage, family, 1, user_id="ada").result() == [0, 0]
    assert play(stage, chain, 3, user_id="ada").status is RunState.FAILED
    assert calls["ask"] == 4
    assert play(stage, chain, 3, user_id="bob").result() == 2
    assert play(stage, chain, 3).result() == 2


def test_month_begins_with_what_was_spent_before_there_was_a_budget(records: SqlRecords) -> None:
    assert play(on(records), chain, 3, user_id="ada").result() == 2
    stage = Stage.on(records, policies=Policies(user_budget=BudgetSpec(tokens=3000)))

    assert play(stage, chain, 1, user_id="ada").status is RunState.FAILED


# --- pause ---------------------------------------------------------------------------------------


def test_run_is_paused_and_continues_when_the_budget_is_raised(stage: Stage) -> None:
    played = play(stage, chain, 5, budget=Budget(tokens=2000, on_exceeded="pause"))

    assert (played.status, calls["ask"]) == (RunState.PAUSED, 2)
    assert played.error.startswith("budget is spent: 2,000 of 2,000 tokens of run")
    assert (played.step("n2").status, played.step("n2").attempts) == (StepState.QUEUED, 0)
    stage.sweep()
    stage.dispatcher.run(stage.engine)
    assert played.status is RunState.PAUSED

    assert raise_budget(stage.engine, played.id, tokens=10_000) is RunState.RUNNING

    stage.dispatcher.run(stage.engine)
    assert (played.result(), calls["ask"]) == (4, 5)
    assert played.view.tokens == 5000
    assert_invariants(stage.records)


def test_resume_with_a_spent_budget_says_how_to_raise_it(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    played = play(stage, chain, 5, budget=Budget(tokens=2000, on_exceeded="pause"))

    assert resume_by_hand(stage.engine, played.id) is RunState.RUNNING

    stage.dispatcher.run(stage.engine)
    assert played.status is RunState.PAUSED
    assert [f"raise-budget {played.id}" in text for text in warnings_of(caplog)] == [True]

    pause(stage.engine, played.id, "ann")  # keeps the first reason
    raise_budget(stage.engine, played.id, tokens=10_000)
    assert len(warnings_of(caplog)) == 1


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what budgets have warned of: programs of earlier tests may be collected meanwhile."""
    records = [one for one in caplog.records if one.name == budgets.__name__]
    return [one.getMessage() for one in records if one.levelname == "WARNING"]


def test_budget_of_a_parent_pauses_the_whole_family(stage: Stage) -> None:
    played = play(stage, family, 3, budget=Budget(usd="0.20", on_exceeded="pause"))
    assert (played.status, calls["ask"]) == (RunState.PAUSED, 2)

    raise_budget(stage.engine, played.id, usd="1.00")
    stage.dispatcher.run(stage.engine)

    assert (played.result(), calls["ask"]) == ([2, 2], 6)


def test_run_that_was_paused_for_another_reason_stays_paused(stage: Stage) -> None:
    run_id = submission.submit(stage.engine, chain.type, {"count": 1}, budget=Budget(tokens=10))
    pause(stage.engine, run_id, "ann: wait")

    assert raise_budget(stage.engine, run_id, tokens=20) is RunState.PAUSED


@pytest.mark.parametrize(
    "given,what",
    [
        ({}, "neither"),
        ({"usd": 5}, "no budget in usd"),
        ({"tokens": 500}, "already"),
        ({"tokens": 1000}, "already"),
        ({"tokens": 0}, "0 tokens"),
        ({"usd": -1}, "-1 USD"),
    ],
)
def test_raise_that_is_none_is_refused(stage: Stage, given: dict[str, Any], what: str) -> None:
    run_id = submission.submit(stage.engine, chain.type, {"count": 1}, budget=Budget(tokens=1000))

    with pytest.raises(errors.InvalidInput, match=what):
        raise_budget(stage.engine, run_id, **given)
    with pytest.raises(errors.RunNotFound):
        raise_budget(stage.engine, RunId(uuids.uuid7()), tokens=5)


# --- the next month ------------------------------------------------------------------------------


@flow(monthly_budget=Budget(usd="0.25", on_exceeded="pause"))
def patient(count: int) -> Any:
    last: Any = None
    for number in range(count):
        last = ask.options(key=f"n{number}")(number, last)
    return last


@flow
def above(count: int) -> Any:
    return patient(count)


@pytest.fixture(autouse=True)
def one_month(monkeypatch: pytest.MonkeyPatch) -> None:
    """The month does not end while a test runs."""
    now = month_of_meters()
    monkeypatch.setattr("flowq.adapters.records.limits.meters.month_of_meters", lambda: now)


@pytest.fixture
def months(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Moves on by so many months, and lets one sweeper look."""
    now = [datetime(2030, 11, 1, tzinfo=UTC)]
    monkeypatch.setattr("flowq.adapters.records.limits.meters.month_of_meters", lambda: now[0])

    def move(count: int) -> None:
        number = now[0].month - 1 + count
        now[0] = now[0].replace(year=now[0].year + number // 12, month=number % 12 + 1)
        with stage.records.engine.begin() as connection:
            connection.exec_driver_sql(
                "UPDATE flow_duties SET due_at = '2020-01-01 00:00:00.000000' WHERE name = 'months'"
            )
        stage.sweep()
        stage.dispatcher.run(stage.engine)

    with stage.records.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE flow_duties SET position = '' WHERE name = 'months'")
        # The sweeper would send what other tests have left open.
        connection.exec_driver_sql("DELETE FROM flow_runs")
    move(0)
    return move


def test_run_paused_by_a_month_continues_in_the_next(
    stage: Stage, months: Callable[[int], None]
) -> None:
    played = play(stage, patient, 5)
    assert (played.status, calls["ask"]) == (RunState.PAUSED, 3)

    months(0)
    assert (played.status, calls["ask"]) == (RunState.PAUSED, 3)
    months(1)

    assert (played.result(), calls["ask"]) == (4, 5)
    assert_invariants(stage.records)


def test_run_tree_continues_and_is_paused_again_when_the_new_month_is_spent(
    stage: Stage, months: Callable[[int], None]
) -> None:
    played = play(stage, above, 7)
    child = Played(stage, child_run_id(node_id(played.id, "patient")), patient)
    assert [played.status, child.status] == [RunState.PAUSED] * 2

    months(1)
    assert ([played.status, child.status], calls["ask"]) == ([RunState.PAUSED] * 2, 6)
    months(2)  # no worker was there for a while

    assert (played.result(), calls["ask"]) == (6, 7)


def test_new_month_leaves_other_pauses_alone(stage: Stage, months: Callable[[int], None]) -> None:
    spent = play(stage, chain, 3, budget=Budget(tokens=1000, on_exceeded="pause"))
    run_id = submission.submit(stage.engine, chain.type, {"count": 1})
    pause(stage.engine, run_id, "ann: wait, the budget is spent: all of user 'x' in this month; no")

    months(1)

    assert {spent.status, Played(stage, run_id, chain).status} == {RunState.PAUSED}


def test_pause_in_the_words_of_a_budget_is_still_a_users(
    stage: Stage, months: Callable[[int], None], caplog: pytest.LogCaptureFixture
) -> None:
    """What a budget has paused, and by hand the same runs with the very same texts."""
    own = play(stage, chain, 3, budget=Budget(tokens=1000, on_exceeded="pause"))
    month = play(stage, patient, 5)
    alike = {one.id: play_paused(stage, one) for one in (own, month)}
    assert [one.view.error for one in alike.values()] == [own.error, month.error]
    assert (own.view.stop_kind, month.view.stop_kind) == (StopKind.BUDGET, StopKind.BUDGET_MONTH)
    assert {one.view.stop_kind for one in alike.values()} == {StopKind.USER}

    said = {one.id: why_waits(stage.engine, one.id)[0] for one in (own, month, *alike.values())}
    assert [said[one.id].reason for one in (own, month)] == [Reason.BUDGET] * 2
    for paused in alike.values():
        assert said[paused.id].reason is Reason.PAUSED
        assert said[paused.id].hint == f"flowq runs resume {paused.id}"
        assert raise_budget(stage.engine, paused.id, tokens=50_000) is RunState.PAUSED
    months(1)

    assert (own.status, month.status) == (RunState.PAUSED, RunState.COMPLETED)
    assert {one.status for one in alike.values()} == {RunState.PAUSED}
    assert raise_budget(stage.engine, own.id, tokens=50_000) is RunState.RUNNING
    for paused in alike.values():
        assert resume_by_hand(stage.engine, paused.id) is RunState.RUNNING
    stage.dispatcher.run(stage.engine)
    assert [own.result(), *(one.result() for one in alike.values())] == [2, 2, 2]
    assert warnings_of(caplog) == []
    assert [one.view.stop_kind for one in (own, month)] == [None, None]
    assert_invariants(stage.records)


def play_paused(stage: Stage, like: Played) -> Played:
    """Enqueue a run and pause it by hand, for the reason that another one was paused."""
    budget = Budget(tokens=20_000, on_exceeded="pause")
    run_id = submission.submit(stage.engine, chain.type, {"count": 3}, budget=budget)
    assert pause(stage.engine, run_id, like.view.error) is RunState.PAUSED
    return Played(stage, run_id, chain)


def test_child_runs_are_paused_with_their_parent_not_by_its_budget(stage: Stage) -> None:
    played = play(stage, family, 3, budget=Budget(usd="0.20", on_exceeded="pause"))
    child = Played(stage, child_run_id(node_id(played.id, "first")), chain)

    assert (played.view.stop_kind, child.view.stop_kind) == (StopKind.BUDGET, StopKind.PARENT)
    (waits,) = {one.reason for one in why_waits(stage.engine, child.id)}
    assert waits is Reason.PAUSED
    assert_invariants(stage.records)


def test_many_runs_continue_in_batches(
    stage: Stage, months: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowq.engine.sweeper.months._MAX_RESUMED", 2)
    play(stage, patient, 3)
    waiting = [play(stage, patient, 1) for _ in range(3)]
    assert {one.status for one in waiting} == {RunState.PAUSED}

    months(1)
    assert len([one for one in waiting if one.status is RunState.COMPLETED]) == 2
    stage.sweep()
    stage.dispatcher.run(stage.engine)

    assert [one.result() for one in waiting] == [0, 0, 0]


# --- many at once --------------------------------------------------------------------------------


@pytest.mark.parametrize("action", list(BudgetAction))
def test_concurrent_steps_spend_their_budget_and_no_more(
    records: SqlRecords, action: BudgetAction
) -> None:
    """Of a million tokens, each call uses ten thousand, and a hundred steps run at once."""
    stage = on(records)
    at_once, allowed = 100, 100
    budget = Budget(tokens=allowed * LARGE.total, on_exceeded=action.value)
    run_id = submission.submit(stage.engine, wide.type, {"count": 300}, budget=budget)
    played, take = Played(stage, run_id, wide), threading.Lock()
    ended = {RunState.PAUSED, RunState.FAILED}

    def work() -> None:
        while played.status not in ended or stage.dispatcher._ready:
            with take:
                delivery = stage.dispatcher._next() if stage.dispatcher._ready else None
            if delivery is None:
                time.sleep(0.2)  # so many ask again
                continue
            stage.dispatcher.deliver(stage.engine, delivery)

    with ThreadPoolExecutor(at_once) as pool:
        for future in [pool.submit(copy_context().run, work) for _ in range(at_once)]:
            future.result(300)

    assert played.status is (RunState.PAUSED if action is BudgetAction.PAUSE else RunState.FAILED)
    assert calls["ask"] == allowed
    assert played.view.tokens == calls["ask"] * LARGE.total
    spent = stage.records.autocommit(lambda tx: tx.meters.spent([f"run:{run_id}"]))
    assert spent[f"run:{run_id}"].tokens == played.view.tokens


# --- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "budget",
    [
        Budget(),
        Budget(usd=0),
        Budget(usd="-0.01"),
        Budget(usd="NaN"),
        Budget(usd="much"),
        Budget(tokens=0),
        Budget(tokens=-5),
        Budget(tokens=True),
        Budget(usd=5, on_exceeded="ignore"),  # type: ignore[arg-type]
        5,
    ],
    ids=str,
)
def test_budget_that_is_none_is_refused(stage: Stage, budget: Any) -> None:
    with pytest.raises(errors.InvalidInput, match="budget"):
        submission.submit(stage.engine, chain.type, {"count": 1}, budget=budget)
    with pytest.raises(errors.InvalidInput, match="budget"):
        flow(budget=budget)


# --- programs ------------------------------------------------------------------------------------


@flow(name="tests.budgets.endless", budget=Budget(tokens=3000, on_exceeded="pause"))
async def endless(count: int) -> int:
    await ask(count)
    return continue_as_new(count=count + 1)


@flow(name="tests.budgets.caught", budget=Budget(tokens=1000))
async def caught(count: int) -> str:
    await ask(count)
    try:
        await ask(count + 1)
    except errors.StepFailed as error:
        return str(error.message)
    return "never"


def test_program_may_catch_that_its_budget_is_spent(stage: Stage) -> None:
    assert "budget is spent" in play(stage, caught, 1).result()


def test_loop_that_continues_in_new_runs_keeps_its_budget(stage: Stage) -> None:
    play(stage, endless, 1)

    assert calls["ask"] == 3
    found = stage.records.autocommit(lambda tx: tx.runs.views(status=RunState.PAUSED, limit=1))
    assert found[0].flow_name == "tests.budgets.endless"
    raise_budget(stage.engine, found[0].id, tokens=5000)
    stage.dispatcher.run(stage.engine)
    assert calls["ask"] == 5


# --- flows as classes ----------------------------------------------------------------------------


class Twice(BaseFlow):
    """Asks for each of so many."""

    flow_name = "tests.budgets.class"
    budget: ClassVar[Budget | None] = Budget(tokens=2000, on_exceeded="pause")

    class Inputs(BaseModel):
        count: int

    async def _execute_flow_logic(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return {"asked": [await ask(number) for number in range(inputs["count"])]}


class Monthly(Twice):
    flow_name = "tests.budgets.monthly_class"
    budget = None
    monthly_budget = Budget(usd="0.20")


@pytest.fixture
def here(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """The engine of this process, for `enqueue`."""
    monkeypatch.setattr("flowq.bootstrap.engine", lambda: stage.engine)
    return stage


def enqueued(stage: Stage, run: Run[Any]) -> Played:
    stage.dispatcher.run(stage.engine)
    return Played(stage, run.id, Twice.flow)


def test_class_says_what_each_run_may_spend(here: Stage) -> None:
    played = enqueued(here, Twice.enqueue({"count": 4}))

    assert (played.status, calls["ask"]) == (RunState.PAUSED, 2)
    raise_budget(here.engine, played.id, tokens=9000)
    here.dispatcher.run(here.engine)
    assert (played.result(), calls["ask"]) == ({"asked": [0, 1, 2, 3]}, 4)


def test_budget_of_an_enqueue_comes_before_that_of_the_class(here: Stage) -> None:
    budget = Budget(tokens=3000)

    played = enqueued(here, Twice.enqueue({"count": 4}, budget=budget))

    assert (played.status, calls["ask"]) == (RunState.FAILED, 3)
    assert "budget is spent: 3,000 of 3,000 tokens of run" in played.error


def test_month_of_a_class_is_shared_by_its_runs(here: Stage) -> None:
    assert enqueued(here, Monthly.enqueue({"count": 1})).status is RunState.COMPLETED
    second = enqueued(here, Monthly.enqueue({"count": 3}))

    assert (second.status, calls["ask"]) == (RunState.FAILED, 2)
    assert "of flow 'tests.budgets.monthly_class' in this month" in second.error


def test_child_run_of_a_class_has_its_own_budget(stage: Stage) -> None:
    played = play(stage, outer, 4)

    assert (played.status, calls["ask"]) == (RunState.RUNNING, 2)
    child = stage.records.autocommit(lambda tx: tx.runs.views(status=RunState.PAUSED, limit=1))[0]
    assert child.flow_name == "tests.budgets.class"
    raise_budget(stage.engine, child.id, tokens=9000)
    stage.dispatcher.run(stage.engine)
    assert played.result() == [0, 1, 2, 3]


@flow(name="tests.budgets.outer")
async def outer(count: int) -> list[int]:
    found: list[int] = (await Twice().execute({"count": count}))["asked"]
    return found


@pytest.mark.parametrize("name", ["budget", "monthly_budget"])
@pytest.mark.parametrize("budget", [Budget(usd=0), Budget(tokens=0), Budget(), 5], ids=str)
def test_budget_of_a_class_that_is_none_is_refused(name: str, budget: Any) -> None:
    body = {"flow_name": f"tests.budgets.bad_{name}", name: budget}
    body["_execute_flow_logic"] = Twice._execute_flow_logic

    with pytest.raises(errors.InvalidInput, match=rf"Bad: {name}: .*budget.*test_budgets\.py"):
        type("Bad", (BaseFlow,), body)


def test_budget_of_an_enqueue_that_is_none_is_refused_and_nothing_runs(here: Stage) -> None:
    with pytest.raises(errors.InvalidInput, match="a budget of 0 USD"):
        Twice.enqueue({"count": 1}, budget=Budget(usd=0))
    assert here.dispatcher.waiting == ()


# --- what is unknown ------------------------------------------------------------------------------


@step
async def ask_unpriced(number: int) -> int:
    made = step.context().model_calls
    assert made is not None
    call_id = await made.admit("fake", "unpriced")
    calls["unpriced"] += 1
    call = made.start(call_id, "fake", "unpriced")
    await call.recorded
    await call.end(RequestStatus.COMPLETED, tokens=TOKENS)
    return number


@flow
def unpriced(count: int) -> Any:
    last: Any = 0
    for number in range(count):
        last = ask_unpriced.options(key=f"n{number}")(last)
    return last


def test_a_call_of_unknown_cost_counts_for_what_the_setting_says(records: SqlRecords) -> None:
    stage = on(records, unknown_cost=Decimal("0.40"))

    played = play(stage, unpriced, 6, budget=Budget(usd=1))

    assert played.step("n3").error_type == "BudgetExceeded"
    assert 3 == calls["unpriced"]
    assert "$1.20 of $1.00" in played.error
    # What is presumed is no cost.
    assert (3000, Decimal(0)) == (played.view.tokens, played.view.cost)
    assert 3 == played.view.unpriced


def test_a_budget_that_does_not_see_a_call_says_so_once(
    records: SqlRecords, caplog: pytest.LogCaptureFixture
) -> None:
    _warn.cache_clear()

    played = play(on(records), unpriced, 3, budget=Budget(usd="0.01"))
    free = play(on(records), unpriced, 3)

    assert RunState.COMPLETED is played.status is free.status
    [warning] = [one for one in caplog.messages if "FLOWQ_UNKNOWN_COST_USD" in one]
    assert "fake:unpriced" in warning
    assert 3000 == played.view.tokens


def test_a_budget_in_tokens_sees_calls_of_unknown_cost(records: SqlRecords) -> None:
    played = play(on(records), unpriced, 6, budget=Budget(tokens=2001))

    assert played.step("n3").error_type == "BudgetExceeded"
