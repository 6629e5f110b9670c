"""Why open steps wait: the reason and its words, from rows and from what is known of workers."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from flowq.core.ids import RunId
from flowq.core.spec import StepKind
from flowq.core.states import RunState, StepState, StopKind
from flowq.engine.model.waits import Holder, LimitWait, OpenStep, OpenSteps, WaitingSteps
from flowq.engine.ports import Worker
from flowq.engine.waits.reasons import (
    Queues,
    Reason,
    Waiting,
    merged,
    reasons,
    summarize,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
RUN = RunId(UUID("01a2237c-1af9-7071-807b-808510492a23"))
OTHER = RunId(UUID("01a2237c-1af9-7071-807b-8086b14cd3e2"))
LEASE = timedelta(seconds=30)
QUEUED, WAITING = StepState.QUEUED, StepState.WAITING


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def a_step(state: StepState = QUEUED, key: str = "embed", **values: Any) -> OpenStep:
    given = {"index": None, "count": 1, "since": later(-60), "attempt": 0, "wake_at": None}
    given |= {"lease_until": None, "worker": None, "error_type": None}
    return OpenStep(key, "shop.embed", state, **{**given, **values})


def a_worker(name: str, queues: str = "gpu", tasks: str = "shop.embed") -> Worker:
    return Worker(name, frozenset(queues.split()), frozenset(tasks.split()))


def why(
    *steps: OpenStep,
    status: RunState = RunState.RUNNING,
    error: str | None = None,
    stop_kind: StopKind | None = None,
    limits: tuple[LimitWait, ...] = (),
    **known: Any,
) -> list[Waiting]:
    of = {step.key: "gpu" for step in steps}
    queues = Queues(**{"of": of, "asked": True, **known})
    rows = OpenSteps(NOW, "shop", status, error, stop_kind, steps, limits, cut=False)
    return list(reasons(rows, queues, run_id=RUN, lease=LEASE))


@pytest.mark.parametrize(
    "workers, depth, reason, text, hint",
    [
        ([], 1, Reason.NO_WORKER, "no worker has answered", "worker -Q gpu"),
        (
            [a_worker("a", "celery cpu")],
            8,
            Reason.NO_WORKER,
            "no worker consumes the queue 'gpu'",
            "celery -A YOUR_APP worker -Q gpu",
        ),
        (
            [a_worker("a", "gpu", "shop.other")],
            1,
            Reason.NOT_REGISTERED,
            "no worker of the queue 'gpu' has registered 'shop.embed'",
            "start workers with the module that defines it",
        ),
        (
            [a_worker("a", "gpu", "x"), a_worker("b@here", "cpu")],
            1,
            Reason.NOT_REGISTERED,
            "; b@here has, and does not consume that queue",
            "start workers",
        ),
        (
            [a_worker("a"), a_worker("b", "gpu", "x")],
            4633,
            Reason.BACKLOG,
            "4,633 messages are in the queue 'gpu' of 2 workers",
            "more workers",
        ),
        ([a_worker("a")], 0, Reason.SENT, "resent at 2026-01-02 03:04:20 UTC", None),
        (None, 0, Reason.SENT, "a worker of the queue 'gpu' has its message", None),
    ],
)
def test_queued_step_waits_for_workers(
    workers: list[Worker] | None, depth: int, reason: Reason, text: str, hint: str | None
) -> None:
    (one,) = why(a_step(wake_at=later(15)), workers=workers, depths={"gpu": depth})

    assert (one.reason, one.queue, one.step, one.state) == (reason, "gpu", "embed", QUEUED)
    assert one.since == later(-60)
    assert text in one.text
    assert (hint in (one.hint or "")) if hint else one.hint is None


@pytest.mark.parametrize(
    "workers, depths, reason, text",
    [
        ([], {}, Reason.NO_WORKER, "no worker has answered; perhaps none is running"),
        (
            [a_worker("a", "q", "x")],
            {},
            Reason.NOT_REGISTERED,
            "no worker that runs has registered",
        ),
        ([a_worker("a", "q")], {"q": 7}, Reason.BACKLOG, "7 messages are in the queue 'q'"),
        ([a_worker("a", "q r")], {"q": 7}, Reason.SENT, "a worker that has registered it takes it"),
    ],
)
def test_process_without_the_app_says_what_it_can(
    workers: list[Worker], depths: dict[str, int], reason: Reason, text: str
) -> None:
    (one,) = why(a_step(), of={"embed": ""}, workers=workers, depths=depths)

    assert one.reason is reason
    assert one.text.startswith(text)
    assert one.queue in {None, "q"}


def test_broker_that_is_away_is_the_reason() -> None:
    (one,) = why(a_step(), broken="the broker does not answer")

    assert one.reason is Reason.NOT_SENT
    assert "the broker does not answer" in one.text


def test_nothing_is_said_of_queues_that_nobody_has_asked_about() -> None:
    assert why(a_step(), asked=False) == []


def test_parked_step_is_not_said_to_be_sent_in_a_hundred_years() -> None:
    (one,) = why(a_step(wake_at=NOW + timedelta(days=36_500)), workers=[a_worker("a")])

    assert "again" not in one.text


@pytest.mark.parametrize(
    "error, kind, reason, hint",
    [
        ("Ann looks at it", StopKind.USER, Reason.PAUSED, f"flowq runs resume {RUN}"),
        ("$1 of $1 of the run", StopKind.BUDGET, Reason.BUDGET, "flowq runs raise-budget"),
        ("$1 of $1 of ann", StopKind.BUDGET_MONTH, Reason.BUDGET, "flowq runs raise-budget"),
        ("budget is spent: $1 of $1", StopKind.USER, Reason.PAUSED, f"flowq runs resume {RUN}"),
        ("with another run", StopKind.PARENT, Reason.PAUSED, "flowq runs resume"),
        ("at 1 it calls step 'b'", StopKind.CHANGED_CODE, Reason.PAUSED, "bring back the code"),
        (None, None, Reason.PAUSED, "flowq runs resume"),
    ],
)
def test_paused_run_waits_as_a_whole(
    error: str | None, kind: StopKind | None, reason: Reason, hint: str
) -> None:
    steps = a_step(), a_step(StepState.RETRYING)
    (one,) = why(*steps, status=RunState.PAUSED, error=error, stop_kind=kind)

    assert (one.reason, one.step) == (reason, None)
    assert (error or "no reason was recorded") in one.text
    assert hint in (one.hint or "")


def a_limit(key: str = "embed", **values: Any) -> LimitWait:
    given = {"limit": "at-once:db", "slots": 2, "per": None, "count": 1, "place": 41, "line": 50}
    given |= {"since": later(-5), "turn_at": None, "holders": ()}
    return LimitWait(key, **{**given, **values})


def test_limit_says_the_place_in_line_and_who_holds_it() -> None:
    holder = Holder(OTHER, "f", "load", 3, "box:7")
    (one,) = why(a_step(), limits=(a_limit(holders=(holder,)),), workers=[])

    assert (one.reason, one.step, one.since) == (Reason.LIMIT, "embed", later(-5))
    assert one.text == (
        "waits for the limit 'db' (2 at once): place 41 of 50 in line; "
        f"held by load[3] of run {OTHER} on box:7"
    )


@pytest.mark.parametrize(
    "limit, words",
    [
        ("rate:api", "the limit 'api' (2 starts in 60 s): its turn is at 2026-01-02 03:04:35 UTC"),
        ("tokens/60:gpt", "the limit 'gpt' (2 tokens in 60 s): its turn is at"),
    ],
)
def test_rate_says_when_its_turn_is(limit: str, words: str) -> None:
    wait = a_limit(limit=limit, per=timedelta(minutes=1), turn_at=later(30))
    (one,) = why(a_step(), limits=(wait,))

    assert words in one.text
    assert one.until == later(30)


def test_items_that_are_not_in_line_have_their_own_reason() -> None:
    found = why(a_step(index=4, count=9), limits=(a_limit(),), workers=[])

    assert [(one.reason, one.count, one.step) for one in found] == [
        (Reason.LIMIT, 1, "embed"),
        (Reason.NO_WORKER, 9, "embed[4]"),
    ]


@pytest.mark.parametrize(
    "schema, kind",
    [
        ({"title": "Approval", "properties": {"ok": {}, "by": {}}}, " (Approval with ok, by)"),
        ({"type": "boolean"}, " (boolean)"),
        (None, ""),
        ({}, ""),
    ],
)
def test_signal_says_its_name_and_what_it_has_to_be(schema: Any, kind: str) -> None:
    step = replace(
        a_step(WAITING, "ok#1", kind=StepKind.SIGNAL, wanted=schema, wake_at=later(60)), name="ok"
    )
    (one,) = why(step)

    assert one.reason is Reason.SIGNAL
    assert one.text == f"waits for the signal 'ok'{kind} until 2026-01-02 03:05:05 UTC"
    assert one.hint == f"flowq runs signal {RUN} ok JSON"


def test_timer_and_retry_say_until_when() -> None:
    timer = a_step(WAITING, "sleep#1", kind=StepKind.TIMER, wake_at=later(60))
    retry = a_step(StepState.RETRYING, wake_at=later(5), error_type="ConnectionError")

    asleep, again = why(timer, retry)

    assert (asleep.reason, asleep.text) == (Reason.SLEEP, "sleeps until 2026-01-02 03:05:05 UTC")
    assert again.reason is Reason.RETRY
    assert again.text == "is retried at 2026-01-02 03:04:10 UTC after ConnectionError"


@pytest.mark.parametrize("left, word", [(29, None), (20, None), (10, "lapses"), (-5, "lapsed")])
def test_worker_that_has_missed_its_renewals_may_be_lost(left: float, word: str | None) -> None:
    found = why(a_step(StepState.RUNNING, worker="box:7", lease_until=later(left)))

    assert [one.reason for one in found] == ([Reason.LOST_WORKER] if word else [])
    assert all(f"its worker box:7 has not renewed its lease, which {word}" in w.text for w in found)


def test_program_and_a_step_with_a_child_run_do_not_wait_for_themselves() -> None:
    assert why(a_step(WAITING), a_step(WAITING, kind=StepKind.FLOW)) == []


def test_cancelling_run_waits_for_no_worker() -> None:
    assert why(a_step(), status=RunState.CANCELLING, asked=False) == []


def test_those_that_wait_for_the_same_are_one_and_the_most_hopeless_is_first() -> None:
    calls = [a_step(key=f"embed#{number}") for number in range(7)]
    timer = a_step(WAITING, "sleep#9", kind=StepKind.TIMER, wake_at=later(60))

    found = merged(why(timer, *calls, workers=[], depths={}))

    assert [(one.reason, one.count) for one in found] == [
        (Reason.NO_WORKER, 7),
        (Reason.SLEEP, 1),
    ]
    assert str(found[0]).endswith("(and 6 more)")


@pytest.mark.parametrize(
    "steps, words",
    [
        ([(QUEUED, None)], "a worker"),
        ([(WAITING, StepKind.SIGNAL), (QUEUED, StepKind.STEP)], "signal ok"),
        ([(WAITING, StepKind.TIMER)], "sleeps until 2026-01-02 03:05:05 UTC"),
        ([(WAITING, StepKind.TIMER), (QUEUED, StepKind.STEP)], "a worker"),
        ([(StepState.RETRYING, None)], "retry at 2026-01-02 03:05:05 UTC"),
        ([(WAITING, None)], "child run at 2026-01-02 03:05:05 UTC"),
        ([], ""),
    ],
)
def test_lists_show_one_word(steps: list[tuple[StepState, Any]], words: str) -> None:
    rows = [WaitingSteps(RUN, state, kind, "ok", later(60), 1) for state, kind in steps]

    assert summarize(rows) == words
