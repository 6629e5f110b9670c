"""What flows say about conditions and failures, and what is recorded, on the real engine."""

# ruff: noqa: FBT001 - the inputs of a flow are its parameters

import asyncio
import math
import threading
import time
from datetime import timedelta
from typing import Any

import pytest

from flowq import RetryPolicy, StepFailure, errors, flow, length, step
from flowq.adapters.results.memory import MemoryObjects
from flowq.core.states import RunState, StepState
from flowq.engine.results.store import ResultStore
from tests.tools.playing import Played, Stage

COMPLETED, FAILED, SKIPPED = StepState.COMPLETED, StepState.FAILED, StepState.SKIPPED
CANCELLED = StepState.CANCELLED


@step
def echo(value: Any) -> Any:
    return value


@step
def pair(left: Any = None, right: Any = None) -> list[Any]:
    return [left, right]


@step
def describe(value: Any) -> str:
    return type(value).__name__


@step
def fail(message: str) -> str:
    raise ValueError(message)


@step
def fail_on(number: int, bad: list[int]) -> int:
    if number in bad:
        raise ValueError(f"bad {number}")
    return number


def check_closed(played: Played) -> None:
    """What holds for every run that has ended: all steps have, and the row says what they do."""
    view = played.view
    row = played.stage.records.autocommit(lambda tx: tx.runs.by_id(played.id))
    assert row is not None
    assert view.status in {RunState.COMPLETED, RunState.FAILED, RunState.CANCELLED}
    open_states = set(StepState) - {COMPLETED, FAILED, SKIPPED, CANCELLED}
    rows = played.stage.records.autocommit(lambda tx: tx.steps.by_flow_run_id(played.id))
    assert not [(r.step_key, r.map_index, r.status) for r in rows if r.status in open_states]
    assert all(r.lease_token is None and r.completed_at is not None for r in rows)
    assert (row.total_steps, row.step_progress) == (view.total, view.done)
    share = 100.0 * view.done / view.total if view.total else 100.0
    assert row.progress_percentage == pytest.approx(share, abs=0.06)
    assert row.started_at is not None
    assert row.completed_at is not None
    assert row.created_at <= row.started_at <= row.completed_at
    assert row.execution_time_ms is not None
    assert row.execution_time_ms >= 0
    assert (row.total_tokens, row.total_cost) == (view.tokens, view.cost)
    assert (row.error_message is not None) == (view.status is not RunState.COMPLETED)
    assert (row.outputs is None) or view.status is RunState.COMPLETED


# --- conditions ----------------------------------------------------------------------------------


@flow
def when(score: float, tags: list[str]) -> Any:
    found = echo({"score": score, "tags": tags})
    yes = echo.options(key="high", when=found.score > 0.5)("high")
    no = echo.options(key="low", when=~(found.score > 0.5))("low")
    both = echo.options(key="both", when=(found.score > 0.5) & (length(found.tags) >= 2))("both")
    either = echo.options(key="either", when=(found.score > 2) | found.tags)("either")
    return {"yes": yes, "no": no, "both": both, "either": either, "next": echo(no)}


@pytest.mark.parametrize(
    "score, tags, expected",
    [
        (0.9, ["a", "b"], ["high", None, "both", "either", None]),
        (0.9, [], ["high", None, None, None, None]),
        (0.1, ["a"], [None, "low", None, "either", "low"]),
    ],
)
def test_conditions_skip_and_skipping_spreads(
    stage: Stage, score: float, tags: list[str], expected: list[Any]
) -> None:
    played = stage.play(when, score=score, tags=tags)

    assert list(played.result().values()) == expected
    check_closed(played)
    assert played.view.done == played.view.total


@flow
def join(take: bool) -> Any:
    choice = echo(take)
    left = echo.options(key="left", when=choice)("left")
    right = echo.options(key="right", when=choice == False)("right")  # noqa: E712 - a Ref
    after_left = echo.options(key="after_left")(left)
    strict = pair.options(key="strict")(left, right)
    return pair.options(key="joined", accept_skipped=True)(after_left, right), strict


@pytest.mark.parametrize("take", [True, False])
@pytest.mark.parametrize("seed", [None, 1, 2])
def test_joins_accept_skipped_branches(records: Any, take: bool, seed: int | None) -> None:
    played = Stage.on(records, seed=seed).play(join, take=take)

    assert played.result() == [["left", None] if take else [None, "right"], None]
    assert played.step("strict").status is SKIPPED
    check_closed(played)


@flow
def nothing_left() -> Any:
    no = echo(False)
    left = echo.options(key="left", when=no)(1)
    right = echo.options(key="right", when=no)(2)
    return pair.options(key="joined", accept_skipped=True)(left, right)


def test_join_of_which_every_branch_was_skipped_is_skipped(stage: Stage) -> None:
    played = stage.play(nothing_left)

    assert played.result() is None
    assert played.step("joined").status is SKIPPED


@flow
def skipped_map(yes: bool) -> Any:
    flag = echo(yes)
    mapped = echo.options(key="mapped", when=flag).map([1, 2, 3])
    return pair.options(accept_skipped=True)(mapped, flag)


@pytest.mark.parametrize("yes", [True, False])
def test_maps_are_skipped_too(stage: Stage, yes: bool) -> None:
    played = stage.play(skipped_map, yes=yes)

    assert played.result() == [[1, 2, 3] if yes else None, yes]
    check_closed(played)


@flow
def bad_condition() -> Any:
    found = echo({"score": 1})
    echo.options(key="wrong", when=found.points > 3)("x")
    return found


@flow
def uncomparable() -> Any:
    return echo.options(key="wrong", when=echo("text") > 3)("x")


@pytest.mark.parametrize(
    "which, said", [(bad_condition, "no 'points'"), (uncomparable, "`echo > 3` failed")]
)
def test_condition_that_cannot_be_read_fails_its_step(stage: Stage, which: Any, said: str) -> None:
    played = stage.play(which)

    assert played.status is RunState.FAILED
    assert played.step("wrong").status is FAILED
    assert said in played.error
    check_closed(played)


# --- failures ------------------------------------------------------------------------------------


@step
def break_badly() -> None:
    raise ValueError("it broke\0 on the file \udcff.py")


@flow
def failing() -> Any:
    return echo(break_badly())


def test_failed_step_fails_the_run_with_its_message(stage: Stage) -> None:
    played = stage.play(failing)

    assert played.status is RunState.FAILED
    assert "step 'break_badly' failed: it broke" in played.error
    assert played.states() == {"break_badly": FAILED, "echo": CANCELLED}
    failed = played.step("break_badly")
    assert (failed.error_type, failed.attempts) == ("ValueError", 1)
    assert "raise ValueError(" in failed.metadata["traceback"]
    assert "flowq/engine" not in failed.metadata["traceback"]
    check_closed(played)


@step
def load_badly() -> None:
    try:
        int("api_key")
    except ValueError as error:
        raise ExceptionGroup("cannot load", [ValueError("one"), ValueError("two")]) from error


@flow
def failing_of_a_cause() -> None:
    load_badly()


def test_failed_step_keeps_what_caused_its_error(stage: Stage) -> None:
    metadata = stage.play(failing_of_a_cause).step("load_badly").metadata

    assert all(word in metadata["traceback"] for word in ("invalid literal", "one", "two"))
    assert [(one["relation"], one["error_type"]) for one in metadata["causes"]] == [
        ("member", "ValueError"),
        ("member", "ValueError"),
        ("cause", "ValueError"),
    ]


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


@step
def unspeakable() -> None:
    raise Unspeakable


@flow
def raising_the_unspeakable() -> None:
    unspeakable()


def test_exception_whose_text_cannot_be_read_is_a_failure_like_any(stage: Stage) -> None:
    played = stage.play(raising_the_unspeakable)

    assert played.status is RunState.FAILED
    assert played.step("unspeakable").error_type == "Unspeakable"


@flow
def allowed() -> Any:
    failed = fail.options(allow_failure=True)("no matter")
    return [describe(failed), failed, echo("still")]


def test_allowed_failure_passes_a_step_failure_on(stage: Stage) -> None:
    played = stage.play(allowed)

    kind, failure, still = played.result()
    assert (kind, still) == ("StepFailure", "still")
    assert isinstance(failure, StepFailure)
    assert (failure.step, failure.error, failure.message) == ("fail", "ValueError", "no matter")
    assert played.states()["fail"] is FAILED
    check_closed(played)
    assert played.view.done == played.view.total


@flow
def allowed_condition() -> Any:
    failed = fail.options(allow_failure=True)("no")
    return echo.options(key="plan_b", when=~failed)("plan b")  # type: ignore[operator]


def test_failure_is_false_in_a_condition(stage: Stage) -> None:
    assert stage.play(allowed_condition).result() == "plan b"


@flow
def fast() -> Any:
    fail("first")
    one = echo.options(key="one")(1)
    two = echo.options(key="two")(one)
    return echo.options(key="three")(two)


@flow(on_failure="continue")
def slow() -> Any:
    failed = fail("first")
    one = echo.options(key="one")(1)
    two = echo.options(key="two")(one)
    return pair(echo.options(key="three")(two), failed)


def test_fail_fast_begins_nothing_new(stage: Stage) -> None:
    played = stage.play(fast)

    assert played.status is RunState.FAILED
    assert played.states() == {
        "fail": FAILED,
        "one": CANCELLED,
        "two": CANCELLED,
        "three": CANCELLED,
    }
    assert (played.view.done, played.view.total) == (1, 4)
    check_closed(played)


@pytest.mark.parametrize("seed", [None, 1, 2, 3])
def test_continue_runs_all_that_does_not_depend_on_the_failure(
    records: Any, seed: int | None
) -> None:
    played = Stage.on(records, seed=seed).play(slow)

    assert played.status is RunState.FAILED
    assert "step 'fail' failed: first" in played.error
    states = played.states()
    assert states.pop("fail") is FAILED
    assert states.pop("pair") is CANCELLED
    assert set(states.values()) == {COMPLETED}
    check_closed(played)


@flow
def tolerant(n: int, bad: list[int], most: str) -> Any:
    checked = fail_on.map(list(range(n)), bad=bad, tolerate=most)
    return [describe.map(checked), checked]


@pytest.mark.parametrize(
    "most, bad, good",
    [
        ("2", [1, 3], True),
        ("2", [1, 3, 5], False),
        ("0", [], True),
        ("0", [4], False),
        ("20%", [0, 9], True),
        ("20%", [0, 8, 9], False),
        ("100%", list(range(10)), True),
    ],
)
@pytest.mark.parametrize("seed", [None, 1])
def test_map_tolerates_so_many_failures_and_no_more(
    records: Any, most: str, bad: list[int], good: bool, seed: int | None
) -> None:
    played = Stage.on(records, seed=seed).play(tolerant, n=10, bad=bad, most=most)

    check_closed(played)
    assert played.step("fail_on").status is (COMPLETED if good else FAILED)
    if not good:
        assert played.status is RunState.FAILED
        assert f"{len(bad)} of 10 items failed; first: [" in played.error
        assert "ValueError: bad" in played.error
        return
    kinds, values = played.result()
    assert kinds == ["StepFailure" if i in bad else "int" for i in range(10)]
    assert [v if isinstance(v, int) else (v.index, v.item, v.message) for v in values] == [
        (i, i, f"bad {i}") if i in bad else i for i in range(10)
    ]


@flow
def intolerant(n: int) -> Any:
    return fail_on.map(list(range(n)), bad=[0])


def test_items_that_have_not_begun_are_cancelled_when_their_map_fails(stage: Stage) -> None:
    played = stage.play(intolerant, n=5)

    counts = played.step("fail_on").counts
    assert counts == {FAILED: 1, CANCELLED: 4}
    check_closed(played)


@step
def nans() -> list[float]:
    return [float("nan")]


@step
def nan_item(value: float) -> float:
    raise ValueError("not this")


@flow
def failing_on_nan() -> Any:
    return nan_item.map(nans(), tolerate=1)


def test_failure_on_an_item_that_json_lacks_is_recorded(stage: Stage) -> None:
    (failure,) = stage.play(failing_on_nan).result()

    assert (failure.index, failure.message) == (0, "not this")
    assert math.isnan(failure.item)


@flow
def allowed_map() -> Any:
    mapped = fail_on.options(allow_failure=True).map([1, 2], bad=[1, 2])
    return [describe(mapped), echo("on")]


def test_map_that_may_fail_leaves_one_failure(stage: Stage) -> None:
    played = stage.play(allowed_map)

    assert played.result() == ["StepFailure", "on"]
    check_closed(played)


# --- retries -------------------------------------------------------------------------------------

_attempts: dict[str, int] = {}


@step(retry_delay=0.001)
def flaky(name: str, fails: int, error: str = "ConnectionError") -> int:
    """Fail so many times, then give the number of the attempt."""
    _attempts[name] = _attempts.get(name, 0) + 1
    if _attempts[name] <= fails:
        kinds = {"ConnectionError": ConnectionError, "KeyError": KeyError, "OSError": OSError}
        raise kinds[error](f"attempt {_attempts[name]}")
    return step.context().attempt


@flow
def retried(name: str, fails: int, retries: int) -> Any:
    return flaky.options(retries=retries)(name, fails)


@pytest.mark.parametrize("fails, retries, good", [(0, 3, True), (2, 2, True), (3, 2, False)])
def test_step_is_tried_as_often_as_it_says(
    stage: Stage, request: pytest.FixtureRequest, fails: int, retries: int, good: bool
) -> None:
    name = request.node.nodeid
    played = stage.play(retried, name=name, fails=fails, retries=retries)

    attempts = min(fails, retries) + 1
    assert _attempts[name] == played.step("flaky").attempts == attempts
    if good:
        assert played.result() == attempts
        done = played.step("flaky")
        assert (done.error_type, done.error_message) == (None, None)
    else:
        assert played.status is RunState.FAILED
        assert f"attempt {attempts}" in played.error
    check_closed(played)


@flow
def retried_on(name: str, error: str) -> Any:
    policy = RetryPolicy(
        max_attempts=3, initial_delay=timedelta(milliseconds=1), retry_on=("OSError",)
    )
    return flaky.options(retry=policy)(name, 1, error)


@pytest.mark.parametrize("error, again", [("ConnectionError", True), ("KeyError", False)])
def test_only_the_errors_that_are_named_are_tried_again(
    stage: Stage, request: pytest.FixtureRequest, error: str, again: bool
) -> None:
    played = stage.play(retried_on, name=request.node.nodeid, error=error)

    assert played.step("flaky").attempts == (2 if again else 1)
    assert (played.status is RunState.COMPLETED) == again


@flow
def backing_off(name: str) -> Any:
    policy = RetryPolicy(
        max_attempts=4, initial_delay=timedelta(seconds=0.2), backoff=2, jitter=0.5
    )
    return flaky.options(retry=policy)(name, 3)


def test_delays_grow_and_a_message_that_comes_early_does_nothing(
    records: Any, request: pytest.FixtureRequest
) -> None:
    waited: list[float] = []
    stage = Stage.on(records, wait=lambda delay: waited.append(delay.total_seconds()))

    played = stage.play(backing_off, name=request.node.nodeid)

    assert waited == pytest.approx([0.2, 0.4, 0.8], abs=0.1)
    assert played.result() == 4


@flow
def mapped_retries(names: list[str]) -> Any:
    return flaky.options(retries=2).map(names, fails=1)


@pytest.mark.parametrize("seed", [None, 1])
def test_items_are_retried_each_on_its_own(
    records: Any, request: pytest.FixtureRequest, seed: int | None
) -> None:
    names = [f"{request.node.nodeid}-{i}" for i in range(4)]

    played = Stage.on(records, seed=seed).play(mapped_retries, names=names)

    assert played.result() == [2, 2, 2, 2]
    assert played.step("flaky").attempts == 2
    check_closed(played)


# --- timeouts ------------------------------------------------------------------------------------


#: A step that goes on for this long was not stopped.
AGES = 300.0
#: Whether the test is over: what it has left behind in a thread ends.
OVER = threading.Event()


@step
def blocks() -> None:
    OVER.wait(AGES)


@step
def computes() -> int:
    end = time.monotonic() + AGES
    number = 0
    while time.monotonic() < end and not OVER.is_set():
        number += 1
    return number


@step
async def sleeps() -> None:
    await asyncio.sleep(AGES)


@step
async def times_out_itself() -> None:
    raise TimeoutError("mine")


@flow
def too_long(which: str) -> None:
    steps: dict[str, Any] = {"blocks": blocks, "computes": computes, "sleeps": sleeps}
    steps[which].options(timeout=0.1)()


@pytest.mark.parametrize("which", ["blocks", "computes", "sleeps"])
@pytest.mark.parametrize("thread", ["main", "other"])
def test_step_that_takes_too_long_fails_on_time(records: Any, which: str, thread: str) -> None:
    stage = Stage.on(records)
    played = stage.submit(too_long, {"which": which})
    began = time.monotonic()
    OVER.clear()

    try:
        if thread == "main":
            stage.dispatcher.run(stage.engine)
        else:
            other = threading.Thread(target=stage.dispatcher.run, args=(stage.engine,))
            other.start()
            other.join(AGES / 2)
            assert not other.is_alive()
    finally:
        OVER.set()

    assert time.monotonic() - began < AGES / 2
    assert played.status is RunState.FAILED
    assert played.step(which).error_type == "StepTimeout"
    assert "longer than its timeout of 0.1 s" in played.error


@flow
def own_timeout() -> None:
    times_out_itself.options(timeout=60)()


def test_timeout_that_a_step_raises_itself_is_its_own_error(stage: Stage) -> None:
    played = stage.play(own_timeout)

    assert played.step("times_out_itself").error_type == "TimeoutError"
    assert "mine" in played.error


@step
async def leaves() -> None:
    raise SystemExit(3)


@step
async def async_echo(value: int) -> int:
    return value


@flow
def leaving() -> Any:
    left = leaves.options(allow_failure=True)()
    return async_echo.options(after=left, timeout=60)(1)


def test_async_step_that_calls_exit_fails_alone(stage: Stage) -> None:
    played = stage.play(leaving)

    assert played.result() == 1
    assert "sys.exit(3)" in str(played.step("leaves").error_message)


# --- outputs of runs -----------------------------------------------------------------------------


@flow
def plain_output() -> Any:
    return {"value": echo([1, {"a": None}]), "text": echo("ü")}


def test_run_row_holds_small_outputs(stage: Stage) -> None:
    played = stage.play(plain_output)

    assert played.view.outputs == {"value": [1, {"a": None}], "text": "ü"}
    check_closed(played)


@flow
def bad_output() -> Any:
    return echo({"a": 1}).b


def test_output_that_cannot_be_read_fails_the_run(stage: Stage) -> None:
    played = stage.play(bad_output)

    assert played.status is RunState.FAILED
    assert "the output cannot be read: echo.b cannot be read" in played.error
    check_closed(played)


@flow
def parent_of_bad_output() -> Any:
    return echo(bad_output())


def test_parent_of_a_child_whose_output_cannot_be_read_fails(stage: Stage) -> None:
    played = stage.play(parent_of_bad_output)

    assert played.status is RunState.FAILED
    assert "echo.b cannot be read" in played.error
    check_closed(played)


class AwayObjects(MemoryObjects):
    """An object store that can be away, as a cloud's sometimes is."""

    away = False

    def get(self, key: str) -> bytes:
        if self.away:
            raise errors.StoreUnavailable("the store does not answer")
        return super().get(key)


@flow
def large_condition() -> Any:
    found = echo("x" * 2000)
    return echo.options(key="next", when=found == "y")(1)


def test_store_that_is_away_while_a_condition_is_read_decides_nothing(records: Any) -> None:
    from dataclasses import replace

    stage = Stage.on(records)
    objects = AwayObjects()
    engine = replace(stage.engine, results=ResultStore(None, lambda: objects, 1000))
    stage = Stage(engine, stage.dispatcher, records)
    played = stage.submit(large_condition, {})

    objects.away = True
    with pytest.raises(errors.StoreUnavailable):
        stage.dispatcher.run(engine)
    assert played.states() == {"echo": COMPLETED, "next": StepState.PENDING}
    objects.away = False
    stage.sweep()
    stage.dispatcher.run(engine)

    assert played.states() == {"echo": COMPLETED, "next": SKIPPED}
    assert played.status is RunState.COMPLETED


@flow
def child_of_allowed() -> Any:
    return fail.options(allow_failure=True)("within")


@flow
def parent_of_allowed() -> Any:
    return echo(child_of_allowed())


def test_child_that_returns_an_allowed_failure_hands_it_to_its_parent(stage: Stage) -> None:
    assert stage.play(parent_of_allowed).result()["message"] == "within"
