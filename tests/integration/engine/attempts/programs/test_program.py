"""Programs on the real engine, in the test's own thread."""

# A `def` step is typed as what it returns; a program awaits it all the same.
# mypy: disable-error-code="misc, no-any-return, call-overload, arg-type, list-item"

import asyncio
import json
from contextlib import suppress
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
from pydantic import BaseModel

import flowq
from flowq import LazyResult, flow, step
from flowq.adapters.records.database import SqlRecords
from flowq.core.errors import InvalidInput, StepError, StepFailed
from flowq.core.ids import RunId
from flowq.core.references import Concat, Reference
from flowq.core.states import RunState, StepState
from flowq.engine.engine import Policies
from flowq.engine.runs.cancel import cancel
from flowq.engine.runs.pause import pause, resume
from flowq.engine.runtime.program_cache import ProgramCache
from tests.tools.playing import Played, Stage

COMPLETED, FAILED, CANCELLED = StepState.COMPLETED, StepState.FAILED, StepState.CANCELLED
RAN: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    RAN.clear()


class Page(BaseModel):
    title: str
    day: date


@step
def add(x: int, y: int = 1) -> int:
    RAN.append(f"add {x}")
    return x + y


@step
def boom(x: int) -> int:
    raise ValueError(f"no {x}")


@step
def page(title: str) -> Page:
    return Page(title=title, day=date(2030, 1, 2))


@step(retries=2, retry_delay=0.01)
def flaky(x: int) -> int:
    RAN.append("flaky")
    if len(RAN) < 3:
        raise ValueError("not yet")
    return x


@step
def big(size: int) -> bytes:
    return b"x" * size


@step
def size_of(data: bytes) -> int:
    return len(data)


@flow
async def two(x: int) -> int:
    first = await add(x)
    return await add(first, 10)


@flow
async def wide(n: int) -> int:
    return sum(await asyncio.gather(*(add(i) for i in range(n))))


@flow
async def row(n: int) -> int:
    value = 0
    for _ in range(n):
        value = await add(value)
    return value


@flow
async def nothing(x: int) -> int:
    return x


@flow
async def failing(x: int) -> int:
    return await boom(x)


@flow
async def mending(x: int) -> str:
    try:
        await boom(x)
    except StepFailed as error:
        return f"{error.error}: {error.reason}"
    return "never"


@step(retries=1, retry_delay=0)
async def refused(status: int) -> None:
    raise Refused("refused", details={"status": status, "traceback": "mine"})


class Refused(StepError):
    """An error that has details."""


@step
async def large(count: int) -> object:
    return {"items": ["x" * 100] * count}


@step
async def measure(items: list[str], more: list[str]) -> list[int]:
    return [len(items), len(more)]


class Lazy:
    """What a program saw of a result."""

    seen: object = None


@flow
async def lazily(count: int) -> list[int]:
    found = await large.options(lazy=True)(count)
    Lazy.seen = found
    part = Reference(found.key, ("items",))
    both = Concat((["y"], part))
    return await measure(part, both)


@step
async def count_items(found: dict[str, list[str]]) -> int:
    return len(found["items"])


@flow
async def lazily_whole(count: int) -> int:
    Lazy.seen = await large.options(lazy=True)(count)
    return await count_items(Lazy.seen)


@step
async def text(index: int, size: int) -> str:
    if size == 30_000 and index == 7:
        raise ValueError("no")
    return "x" * size


@step
async def total(items: list[str]) -> list[int]:
    return [len(items), sum(map(len, items))]


@flow
async def lazy_map(size: int) -> list[int]:
    found: Any = text.options(lazy=True).map([0, 1, 2], size=size)
    return await total(await found)


@flow
async def lazy_failures() -> list[Any]:
    called: Any = text.options(lazy=True).map([0, 7, 2], size=30_000, tolerate=1)
    found = await called
    [failure] = found.failures.values()
    return [list(found.failures), failure.error, [one for one in found.load() if one]]


@flow
async def child(size: int) -> dict[str, list[str]]:
    return {"items": ["x" * size] * 3}


@flow
async def grandchild(found: dict[str, list[str]]) -> int:
    return len(found["items"])


@flow
async def lazy_parent(size: int) -> list[int]:
    found: Any = await child.options(lazy=True)(size=size)
    counted = await total(found.part("items"))
    assert await grandchild(found) == 3
    return counted


@flow
async def overfeeding(size: int, is_map: bool) -> list[Any]:  # noqa: FBT001
    x = await add(1)
    try:
        texts = ["x" * size]
        await (text.map([*texts], size=1) if is_map else total(texts))
    except InvalidInput as error:
        return [error.message, await add(x)]
    return []


@flow
async def overfed(size: int) -> list[int]:
    return await total(["x" * size])


@flow
async def looking(status: int) -> object:
    try:
        await refused(status)
    except StepFailed as error:
        return [error.error, error.reason, error.attempts, dict(error.details)]
    return None


@flow
async def mixed(n: int) -> list[str]:
    got = await asyncio.gather(
        *(boom(i) if i % 2 else add(i) for i in range(n)), return_exceptions=True
    )
    return [type(one).__name__ if isinstance(one, Exception) else str(one) for one in got]


@flow
async def retrying() -> int:
    return await flaky(7)


@flow
async def typed(title: str) -> str:
    found = await page(title)
    return f"{found.title} {found.day.year}"


@flow
async def napping(seconds: float) -> int:
    await flowq.sleep(seconds)
    return await add(1)


@flow
async def mapping(n: int) -> list[int]:
    return await add.map(range(n), y=100)


@flow
async def lenient(n: int) -> int:
    got = await boom.map(range(n), tolerate="100%")
    return len([one for one in got if not one])


@flow
async def strict(n: int) -> str:
    try:
        await boom.map(range(n))
    except StepFailed as error:
        return error.error
    return "never"


@flow
async def parent(x: int) -> int:
    one, other = await asyncio.gather(two(x), two(x + 1))
    return one + other


@flow
def graph_parent(x: int) -> int:
    return add(two(x))


@flow
async def parent_of_failing(x: int) -> str:
    try:
        await failing(x)
    except StepFailed as error:
        return error.error
    return "never"


@flow
async def passing(size: int) -> int:
    return await size_of(await big(size))


@flow
async def hurried() -> str:
    try:
        async with asyncio.timeout(0.05):
            await napping(3600)
    except TimeoutError:
        return "too slow"
    return "never"


@flow
async def leaving() -> int:
    tasks = [asyncio.create_task(napping(3600)), asyncio.create_task(add(1))]
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    (first,) = done
    return await first


@flow
async def broken() -> int:
    await add(1)
    raise KeyError("lost")


@flow
async def tidy(x: int) -> int:
    try:
        await flowq.sleep(3600)
    finally:
        await add(x)
    return x


@flow
async def stubborn(x: int) -> int:
    with suppress(asyncio.CancelledError):
        await flowq.sleep(3600)
    return await add(x)


@flow
async def lingering() -> None:
    try:
        await flowq.sleep(3600)
    finally:
        await flowq.sleep(3600)


@flow
async def endless() -> None:
    while True:
        await add(1)


def keys(run: Played) -> list[str]:
    return [step.key for step in run.view.steps]


def test_large_result_of_a_lazy_call_is_passed_on_by_reference(stage: Stage) -> None:
    played = stage.play(lazily, count=1000)

    assert [1000, 1001] == played.result()
    assert isinstance(Lazy.seen, LazyResult)
    assert (1000, True) == (len(Lazy.seen.load()["items"]), Lazy.seen.size > 100_000)
    inputs = played.step("measure#2").inputs
    assert len(json.dumps(inputs)) < 200


@pytest.mark.parametrize("count, is_copied", [(3, True), (300, False)])
def test_short_result_of_a_lazy_call_is_copied(
    stage: Stage,
    count: int,
    is_copied: bool,  # noqa: FBT001
) -> None:
    played = stage.play(lazily_whole, count=count)

    assert count == played.result()
    value = {"items": ["x" * 100] * count}
    wanted = value if is_copied else {"$ref": "large#1"}
    assert {"found": wanted} == played.step("count_items#2").inputs
    assert isinstance(Lazy.seen, LazyResult)
    assert (value, 3) == (Lazy.seen.load(), len(Lazy.seen.part("items", 0, "x").path))


@pytest.mark.parametrize("size, is_copied", [(10, True), (700, False), (30_000, False)])
def test_list_of_a_lazy_map_is_passed_on_by_reference(
    stage: Stage,
    size: int,
    is_copied: bool,  # noqa: FBT001
) -> None:
    played = stage.play(lazy_map, size=size)

    assert [3, 3 * size] == played.result()
    items = played.step("total#2").inputs["items"]
    assert (["x" * size] * 3 if is_copied else {"$ref": "text#1"}) == items


def test_failed_items_of_a_lazy_map_are_known_without_its_values(stage: Stage) -> None:
    assert [[1], "ValueError", ["x" * 30_000, "x" * 30_000]] == stage.play(lazy_failures).result()


@pytest.mark.parametrize("size", [10, 30_000, 80_000])
def test_result_of_a_lazy_child_is_passed_on_by_reference(stage: Stage, size: int) -> None:
    played = stage.play(lazy_parent, size=size)

    assert [3, size * 3] == played.result()
    items = played.step("total#2").inputs["items"]
    assert (["x" * size] * 3 if size == 10 else {"$ref": "child#1", "path": ["items"]}) == items
    assert {"$ref": "child#1"} == played.step("grandchild#3").inputs["found"] or size == 10


SMALL_INPUTS = Policies(input_limit_bytes=1000)


@pytest.mark.parametrize("is_map", [False, True])
def test_call_with_too_large_arguments_is_refused(
    records: SqlRecords,
    is_map: bool,  # noqa: FBT001
) -> None:
    stage = Stage.on(records, policies=SMALL_INPUTS)
    played = stage.play(overfeeding, size=2000, is_map=is_map)

    said, kept = played.result()
    assert "the arguments of step 'total#2' have" in said or "'text#2'" in said
    assert "bytes as JSON, the limit is 1,000" in said
    assert 3 == kept
    # Nothing of it is recorded, and what was done before it is.
    assert ["overfeeding", "add#1", "add#3"] == list(played.states())


def test_error_of_too_large_arguments_fails_the_run(records: SqlRecords) -> None:
    stage = Stage.on(records, policies=SMALL_INPUTS)
    played = stage.play(overfed, size=2000)

    assert played.status is RunState.FAILED
    assert "the arguments of step 'total#1' have 2,0" in played.error


def test_recorded_call_is_not_refused_when_the_limit_is_lowered(records: SqlRecords) -> None:
    stage = Stage.on(records)
    played = stage.submit(overfed, {"size": 2000})
    stage.dispatcher.run(stage.engine, limit=1)

    later = replace(stage.engine, policies=SMALL_INPUTS)
    stage.dispatcher.run(later)
    assert [1, 2000] == played.result()


def test_details_of_an_error_reach_the_program(stage: Stage) -> None:
    wanted = ["Refused", "refused", 2, {"status": 503, "traceback_": "mine"}]
    assert wanted == stage.play(looking, status=503).result()


def test_awaited_steps_run_one_after_the_other(stage: Stage) -> None:
    run = stage.play(two, x=1)

    assert run.result() == 12
    assert run.states() == {"two": COMPLETED, "add#1": COMPLETED, "add#2": COMPLETED}
    assert run.step("two").attempts == 1


def test_gathered_steps_are_one_batch(stage: Stage) -> None:
    assert stage.play(wide, n=3).result() == 6
    assert stage.play(wide, n=20).result() == 210


def test_loop_of_steps_continues_step_by_step(stage: Stage) -> None:
    assert stage.play(row, n=30).result() == 30


def test_program_without_a_step_ends_at_once(stage: Stage) -> None:
    assert stage.play(nothing, x=5).result() == 5


def test_failure_of_a_step_is_raised_where_it_is_awaited(stage: Stage) -> None:
    run = stage.play(failing, x=1)

    assert run.status is RunState.FAILED
    assert "no 1" in run.error
    assert run.states() == {"failing": FAILED, "boom#1": FAILED}


def test_failure_that_is_caught_does_not_fail_the_run(stage: Stage) -> None:
    run = stage.play(mending, x=1)

    assert run.result() == "ValueError: no 1"
    assert run.step("boom#1").status is FAILED


@pytest.mark.parametrize("n", [4, 12])
def test_gather_may_collect_failures(stage: Stage, n: int) -> None:
    got = stage.play(mixed, n=n).result()

    assert got == [("StepFailed" if i % 2 else str(i + 1)) for i in range(n)]


def test_step_is_retried_before_its_program_sees_a_failure(stage: Stage) -> None:
    run = stage.play(retrying)

    assert run.result() == 7
    assert run.step("flaky#1").attempts == 3


def test_result_comes_as_the_annotation_of_the_step_says(stage: Stage) -> None:
    assert stage.play(typed, title="news").result() == "news 2030"


def test_sleep_is_a_row_that_ends_in_time(stage: Stage) -> None:
    run = stage.play(napping, seconds=0.05)

    assert run.result() == 2
    assert run.step("sleep#1").status is COMPLETED


def test_sweeper_ends_a_sleep_whose_message_was_lost(stage: Stage) -> None:
    run = stage.submit(napping, {"seconds": 0.05})
    stage.dispatcher.run(stage.engine, limit=1)
    stage.dispatcher.clear()

    for _ in range(200):
        stage.sweep()
        stage.dispatcher.run(stage.engine)
        if run.status is RunState.COMPLETED:
            break

    assert run.result() == 2


@pytest.mark.parametrize("n", [0, 3, 12])
def test_map_gives_the_results_in_order(stage: Stage, n: int) -> None:
    assert stage.play(mapping, n=n).result() == [i + 100 for i in range(n)]


def test_map_may_tolerate_failures(stage: Stage) -> None:
    assert stage.play(lenient, n=3).result() == 3
    assert stage.play(lenient, n=12).result() == 12


def test_map_that_fails_is_raised(stage: Stage) -> None:
    assert stage.play(strict, n=3).result() == "StepError"
    assert stage.play(strict, n=12).result() == "StepError"


def test_flow_in_a_program_is_a_child_run(stage: Stage) -> None:
    run = stage.play(parent, x=1)

    assert run.result() == 12 + 13
    assert run.step("two#1").status is COMPLETED


def test_program_may_be_a_child_run_of_a_graph(stage: Stage) -> None:
    assert stage.play(graph_parent, x=1).result() == 13


def test_failure_of_a_child_run_is_raised(stage: Stage) -> None:
    assert stage.play(parent_of_failing, x=1).result() == "RunFailed"


def test_result_that_json_cannot_hold_is_passed_on_by_reference(stage: Stage) -> None:
    assert stage.play(passing, size=5000).result() == 5000


def test_what_a_timeout_leaves_behind_is_cancelled(stage: Stage) -> None:
    run = stage.play(hurried)

    assert run.result() == "too slow"
    assert run.step("napping#2").status is CANCELLED


def test_what_a_program_leaves_behind_is_cancelled(stage: Stage) -> None:
    run = stage.play(leaving)

    assert run.result() == 2
    assert (
        run.step("napping#t1.1" if "napping#t1.1" in keys(run) else "napping#1").status is CANCELLED
    )


def test_error_of_the_program_fails_the_run(stage: Stage) -> None:
    run = stage.play(broken)

    assert run.status is RunState.FAILED
    assert "lost" in run.error


def test_program_with_too_many_calls_fails(stage: Stage) -> None:
    short = Stage.on(stage.records, policies=Policies(max_calls=5))

    run = short.play(endless)

    assert run.status is RunState.FAILED
    assert "more than 5" in run.error


# --- the cache -----------------------------------------------------------------------------------


def test_program_that_is_not_kept_is_replayed(stage: Stage) -> None:
    object.__setattr__(stage.engine, "program_cache", ProgramCache(0))

    assert stage.play(row, n=10).result() == 10
    assert len(RAN) == 10


def test_kept_program_that_is_behind_the_rows_catches_up(stage: Stage) -> None:
    """As in two processes, each of which goes on with the run now and then."""
    caches = [ProgramCache(10), ProgramCache(10), ProgramCache(10)]
    run = stage.submit(row, {"n": 12})
    done = 0
    while stage.dispatcher.waiting:
        object.__setattr__(stage.engine, "program_cache", caches[(done * done) % 3])
        stage.dispatcher.run(stage.engine, limit=1)
        done += 1

    assert run.result() == 12
    assert len(RAN) == 12
    for cache in caches:
        cache.clear()


# --- cancel --------------------------------------------------------------------------------------


def started(stage: Stage, flow: Any, **inputs: Any) -> Played:
    run = stage.submit(flow, inputs)
    stage.dispatcher.run(stage.engine, limit=1)
    return run


def test_program_that_never_began_is_cancelled_at_once(stage: Stage) -> None:
    run = stage.submit(tidy, {"x": 1})

    assert cancel(stage.engine, run.id) is RunState.CANCELLED
    assert RAN == []


def test_cancel_lets_finally_blocks_run_steps(stage: Stage) -> None:
    run = started(stage, tidy, x=5)

    assert cancel(stage.engine, run.id) is RunState.CANCELLING
    stage.dispatcher.run(stage.engine)

    assert run.status is RunState.CANCELLED
    assert RAN == ["add 5"]
    assert run.states() == {"tidy": CANCELLED, "sleep#1": CANCELLED, "add#2": COMPLETED}


def test_cancel_is_replayed_at_its_place(stage: Stage) -> None:
    run = started(stage, tidy, x=5)
    stage.engine.program_cache.clear()
    object.__setattr__(stage.engine, "program_cache", ProgramCache(0))

    cancel(stage.engine, run.id)
    stage.dispatcher.run(stage.engine)

    assert run.status is RunState.CANCELLED
    assert RAN == ["add 5"]


def test_program_that_swallows_its_cancel_is_cancelled(stage: Stage) -> None:
    run = started(stage, stubborn, x=5)

    cancel(stage.engine, run.id)
    stage.dispatcher.run(stage.engine)

    assert run.status is RunState.CANCELLED
    assert run.step("stubborn").status is CANCELLED


def test_cleaning_up_has_an_end(stage: Stage) -> None:
    short = Stage.on(stage.records, policies=Policies(cleanup=timedelta(seconds=0.05)))
    run = started(short, lingering)
    short.dispatcher.clear()
    cancel(short.engine, run.id)

    for _ in range(300):
        short.sweep()
        waiting = [
            one for one in short.dispatcher.waiting if one.batch is None or one.batch[0] != "t"
        ]
        short.dispatcher.run(short.engine, limit=len(waiting))
        if run.status is RunState.CANCELLED:
            break

    assert run.status is RunState.CANCELLED


def test_cancel_reaches_the_programs_of_child_runs(stage: Stage) -> None:
    run = started(stage, parent_of_tidy, x=3)
    stage.dispatcher.run(stage.engine, limit=2)

    cancel(stage.engine, run.id)
    for _ in range(5):
        stage.dispatcher.run(stage.engine)
        stage.sweep()

    assert run.status is RunState.CANCELLED
    assert RAN == ["add 3"]


@flow
async def parent_of_tidy(x: int) -> int:
    return await tidy(x)


def test_deadline_is_a_cancel_for_the_program(stage: Stage) -> None:
    from flowq.engine.runs import submission

    run_id = RunId(
        submission.submit(stage.engine, tidy.type, {"x": 4}, deadline=timedelta(milliseconds=1))
    )
    stage.dispatcher.run(stage.engine, limit=1)
    stage.dispatcher.clear()
    for _ in range(100):
        stage.sweep()
        stage.dispatcher.run(stage.engine)
        view = stage.engine.records.autocommit(lambda tx: tx.runs.view(run_id))
        assert view is not None
        if view.status is RunState.FAILED:
            break

    assert view is not None
    assert view.status is RunState.FAILED
    assert "deadline" in (view.error or "")
    assert RAN == ["add 4"]


# --- code that has changed -----------------------------------------------------------------------

OTHER = {"step": False}


@flow
async def changing(x: int) -> int:
    first = await add(x)
    second = await (page("other") if OTHER["step"] else add(first, 10))
    return await add(first if OTHER["step"] else second)


def test_run_of_a_changed_program_is_paused_and_continues_with_the_old_code(stage: Stage) -> None:
    run = started(stage, changing, x=1)
    stage.dispatcher.run(stage.engine, limit=2)  # the second step is called
    stage.engine.program_cache.clear()
    OTHER["step"] = True
    try:
        stage.dispatcher.run(stage.engine)
    finally:
        OTHER["step"] = False

    assert run.status is RunState.PAUSED
    assert "tests.integration.engine.attempts.programs.test_program.page" in run.error
    assert "tests.integration.engine.attempts.programs.test_program.add" in run.error
    assert resume(stage.engine, run.id) is RunState.RUNNING
    stage.dispatcher.run(stage.engine)
    assert run.result() == 13


def test_paused_program_continues_after_the_resume(stage: Stage) -> None:
    run = started(stage, row, n=3)
    pause(stage.engine, run.id)
    stage.dispatcher.run(stage.engine)
    assert run.status is RunState.PAUSED

    resume(stage.engine, run.id)
    stage.dispatcher.run(stage.engine)

    assert run.result() == 3


def test_program_that_is_paused_can_be_cancelled(stage: Stage) -> None:
    run = started(stage, tidy, x=5)
    pause(stage.engine, run.id)
    stage.sweep()

    cancel(stage.engine, run.id)
    stage.dispatcher.run(stage.engine)

    assert run.status is RunState.CANCELLED
    assert RAN == ["add 5"]
