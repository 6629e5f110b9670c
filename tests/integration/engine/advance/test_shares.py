"""Fair shares: whose steps are sent, in what order, and what becomes of a line after a crash."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any, Final

import pytest
import uuid_utils.compat as uuids
from sqlalchemy import event, func, select

from flowq import RetryPolicy, flow, step
from flowq.adapters.records.database import SqlRecords
from flowq.adapters.records.limits.shares import SqlShares, is_sent
from flowq.adapters.records.sql.tables import Base
from flowq.authoring.definitions.flows import AsyncFlow, Flow
from flowq.core.errors import InvalidFlow, InvalidInput
from flowq.core.ids import LeaseToken, RunId, StepRunId
from flowq.core.states import RunState, StepState
from flowq.engine.engine import Policies
from flowq.engine.ports import Line, Transaction
from flowq.engine.runs import reruns, submission
from flowq.engine.runs.cancel import cancel
from flowq.engine.runs.pause import pause, resume
from flowq.engine.sweeper.invariants import check
from flowq.engine.sweeper.shares import send_lines
from flowq.engine.waits.explain import summaries_of, why_waits
from tests.tools.playing import Stage

STEPS: Final = Base.metadata.tables["flow_step_runs"]
WINDOW: Final = 4
NOW: Final = timedelta(0)
#: What the steps have done, in order.
done: list[Any] = []
#: What is done while a list of items is made.
meanwhile: list[Callable[[], object]] = []


@step
def note(what: Any) -> Any:
    done.append(what)
    return what


@step(retry=RetryPolicy(max_attempts=2, initial_delay=NOW))
def stumble(what: str) -> str:
    done.append(what)
    if done.count(what) == 1:
        raise ValueError(what)
    return what


@flow(fair_by="tenant")
def mapped(tenant: str, count: int) -> list[Any]:
    return note.map([f"{tenant}{index}" for index in range(count)])


@flow
def unfair(count: int) -> list[Any]:
    return note.map([f"u{index}" for index in range(count)])


@flow(fair_by=lambda inputs: inputs.tenant)
def single(tenant: str, number: int) -> Any:
    return note(note(f"{tenant}{number}"))


@flow(fair_by="user")
def wide(count: int) -> list[Any]:
    first = note("first")
    return [note.options(after=first)(index) for index in range(count)]


@step
def list_items(tenant: str) -> list[str]:
    while meanwhile:
        meanwhile.pop()()
    return [f"{tenant}{index}" for index in range(20)]


@flow(fair_by="tenant")
def expanded(tenant: str) -> list[Any]:
    return note.map(list_items(tenant))


@step(concurrency=1)
def limited(what: str) -> str:
    done.append(what)
    for act in meanwhile:
        act()
    return what


@flow(fair_by="tenant")
def in_turn(tenant: str, count: int) -> list[Any]:
    return limited.map([f"{tenant}{index}" for index in range(count)])


@flow(fair_by="tenant")
async def cleaned(tenant: str) -> None:
    try:
        await note.map(list(range(9)))
    except asyncio.CancelledError:
        await asyncio.gather(note("clean"), note("up"))
        raise


@flow
def shareless(tenant: str) -> list[Any]:
    return mapped(tenant, 20)


@flow(fair_by="tenant")
def failing(tenant: str) -> list[Any]:
    return stumble.map([f"{tenant}{index}" for index in range(9)])


@flow
def child(number: int) -> list[Any]:
    return note.map([number, number])


@flow(fair_by="tenant")
def parent(tenant: str) -> list[list[Any]]:
    return child.map(list(range(6)))


@flow(fair_by="tenant")
async def program(tenant: str) -> int:
    values: list[int] = await note.map(list(range(9)))
    return sum(values) + int(await note(1))


@pytest.fixture
def stage(records: SqlRecords) -> Iterator[Stage]:
    done.clear()
    stage = Stage.on(records, policies=Policies(share_window=WINDOW))
    yield stage
    assert not broken(stage)
    with records.engine.begin() as connection:
        connection.execute(Base.metadata.tables["flow_runs"].delete())
    stage.engine.program_cache.clear()


def broken(stage: Stage) -> set[str]:
    return {one.invariant for one in check(stage.records, None, grace=NOW, max_recoveries=5)}


def submit(stage: Stage, wanted: Flow[..., Any] | AsyncFlow[..., Any], **inputs: Any) -> RunId:
    options = inputs.pop("options", {})
    return submission.submit(stage.engine, wanted.type, inputs, **options)


def sent(stage: Stage) -> int:
    """Return how many steps of the largest line are sent and unclaimed."""
    line = (STEPS.c.share, STEPS.c.step_name)
    query = (
        select(func.count())
        .where(STEPS.c.share.is_not(None), STEPS.c.status == StepState.QUEUED, is_sent())
        .group_by(*line)
    )
    with stage.records.engine.connect() as connection:
        return max([row[0] for row in connection.execute(query)], default=0)


def play(stage: Stage, runs: Sequence[RunId]) -> None:
    """Run everything without a sweeper; no line has more than its window in the queue."""
    while stage.dispatcher.run(stage.engine, limit=1):
        assert sent(stage) <= WINDOW
    found = stage.records.autocommit(lambda tx: tx.runs.states(runs))
    assert {RunState.COMPLETED} == {found[run] for run in runs}


def test_share_waits_behind_a_window_of_another_and_not_behind_its_line(stage: Stage) -> None:
    large = submit(stage, mapped, tenant="a", count=60)
    stage.dispatcher.run(stage.engine, limit=1)
    assert len(stage.dispatcher.waiting) <= WINDOW
    small = submit(stage, mapped, tenant="b", count=5)
    play(stage, [large, small])
    assert len(done) == len(set(done)) == 65
    last = max(done.index(f"b{index}") for index in range(5))
    assert last < 5 + 4 * WINDOW
    assert [one for one in done if one[0] == "a"] == [f"a{index}" for index in range(60)]


def test_many_runs_of_a_share_are_sent_in_turn_and_those_that_have_begun_first(
    stage: Stage,
) -> None:
    many = submission.submit_many(
        stage.engine, single.type, [{"tenant": "a", "number": n} for n in range(30)]
    )
    assert len(stage.dispatcher.waiting) == WINDOW
    small = submit(stage, single, tenant="b", number=0)
    play(stage, [*many, small])
    assert max(place for place, one in enumerate(done) if one == "b0") < 4 * WINDOW
    assert done.index("a0", done.index("a0") + 1) < done.index("a20")


def test_urgent_runs_of_a_share_are_first_in_its_line(stage: Stage) -> None:
    runs = [
        submit(stage, mapped, tenant=name, count=9, options={"priority": priority})
        for name, priority in (("x", 0), ("x", 0), ("x", 7))
    ]
    first = Counter(one.message.run_id for one in stage.dispatcher.waiting if one.message)
    assert first == {runs[0]: WINDOW, runs[2]: WINDOW}  # less urgent ones are not counted
    places = stage.records.transaction(
        lambda tx: tx.shares.take(Line("x", note.type.name), 100, timedelta(seconds=15))
    )
    assert places is not None
    assert [one.run_id for one in places] == [runs[2]] * 5 + [runs[0]] * 5 + [runs[1]] * 9


@pytest.mark.parametrize(
    "wanted,inputs,steps",
    [
        (wide, {"count": 20}, 21),
        (failing, {"tenant": "a"}, 18),
        (parent, {"tenant": "a"}, 12),
        (program, {"tenant": "a"}, 10),
    ],
)
def test_fan_outs_retries_child_runs_and_programs_keep_to_the_window(
    stage: Stage, wanted: Flow[..., Any], inputs: dict[str, Any], steps: int
) -> None:
    play(stage, [submit(stage, wanted, **inputs, options={"user_id": "ada"})])
    assert len(done) == steps
    with stage.records.engine.connect() as connection:
        shares = set(connection.execute(select(STEPS.c.share)).scalars())
    assert shares == {"ada" if wanted is wide else "a"}


def test_resumed_steps_are_in_line_again(stage: Stage) -> None:
    run = submit(stage, mapped, tenant="a", count=20)
    stage.dispatcher.run(stage.engine, limit=3)
    assert pause(stage.engine, run) is RunState.PAUSED
    stage.dispatcher.clear()
    assert resume(stage.engine, run) is RunState.RUNNING
    play(stage, [run])
    assert sorted(done) == sorted(f"a{index}" for index in range(20))


def test_child_run_with_a_share_of_its_own_is_in_line_again_when_its_parent_is_resumed(
    stage: Stage,
) -> None:
    run = submit(stage, shareless, tenant="a")
    stage.dispatcher.run(stage.engine, limit=1)
    assert pause(stage.engine, run) is RunState.PAUSED
    stage.dispatcher.clear()
    assert resume(stage.engine, run) is RunState.RUNNING
    assert len(stage.dispatcher.waiting) <= WINDOW + 2  # and the advances of both runs
    play(stage, [run])
    assert len(done) == 20


def test_cleanup_of_a_cancelled_program_does_not_wait_in_line(stage: Stage) -> None:
    run = submit(stage, cleaned, tenant="a")
    stage.dispatcher.run(stage.engine, limit=1)
    submit(stage, mapped, tenant="a", count=40)
    cancel(stage.engine, run)
    stage.dispatcher.run(stage.engine)
    assert {"clean", "up"} <= set(done[: 3 * WINDOW])


def test_rerun_of_a_child_run_has_its_share(stage: Stage) -> None:
    play(stage, [submit(stage, parent, tenant="a")])
    runs = Base.metadata.tables["flow_runs"].c
    with stage.records.engine.connect() as connection:
        query = select(runs.id).where(runs.parent_step_run_id.is_not(None)).limit(1)
        old = RunId(connection.execute(query).scalar_one())
    again = reruns.rerun(stage.engine, old)
    assert stage.engine.definitions.get(again).definition.spec.share == "a"
    play(stage, [again])


def test_sweeper_takes_nothing_from_a_line_whose_window_is_full(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(stage, mapped, tenant="a", count=9)
    monkeypatch.setattr(SqlShares, "take", None)
    assert send_lines(stage.engine, NOW) == 0


def test_map_that_is_expanded_while_its_run_is_paused_does_not_stall_its_line(
    stage: Stage,
) -> None:
    paused = submit(stage, expanded, tenant="a")
    meanwhile.append(lambda: pause(stage.engine, paused))
    stage.dispatcher.run(stage.engine)
    other = submit(stage, mapped, tenant="a", count=9)
    play(stage, [other])
    assert len(done) == 9
    assert resume(stage.engine, paused) is RunState.RUNNING
    play(stage, [paused])
    assert len(done) == 29


def test_line_does_not_go_over_into_the_line_of_a_limit(stage: Stage) -> None:
    runs = [submit(stage, in_turn, tenant="a", count=40)]

    def meanwhile_others_are_refused() -> None:
        meanwhile.clear()
        stage.dispatcher.run(stage.engine)  # all that is sent, while the one slot is taken
        runs.append(submit(stage, in_turn, tenant="b", count=3))
        stage.dispatcher.run(stage.engine)
        assert sent(stage) <= WINDOW + 1

    meanwhile.append(meanwhile_others_are_refused)
    stage.dispatcher.run(stage.engine)
    assert max(done.index(f"b{index}") for index in range(3)) <= 3 + 3 * WINDOW
    assert len(done) == 43


def test_cancelled_steps_leave_their_places_to_others(stage: Stage) -> None:
    first, second = (submit(stage, mapped, tenant="a", count=9) for _ in range(2))
    cancel(stage.engine, first)
    play(stage, [second])
    assert len(done) == 9


def test_what_was_lost_is_sent_again_and_holds_no_place_for_ever(stage: Stage) -> None:
    run = submit(stage, mapped, tenant="a", count=9)
    stage.dispatcher.run(stage.engine, limit=2)
    stage.dispatcher.clear()
    with stage.records.engine.begin() as connection:
        connection.execute(STEPS.update().where(is_sent()).values(wake_at=func.flowq_now(-1.0)))
    stage.sweep()
    again = [one for one in stage.dispatcher.waiting if one.message is not None]
    assert 0 < len(again) <= WINDOW
    play(stage, [run])


def claim(tx: Transaction, step_id: StepRunId) -> None:
    """Claim a step, as a worker does that dies before it does anything else."""
    token = LeaseToken(uuids.uuid7())
    assert tx.steps.claim(step_id, token=token, lease=timedelta(hours=1), worker="dead")


def test_line_of_a_process_that_has_died_before_it_sent_goes_on(stage: Stage) -> None:
    run = submit(stage, mapped, tenant="a", count=9)
    for delivery in stage.dispatcher.waiting:
        assert delivery.message is not None
        stage.records.autocommit(partial(claim, step_id=delivery.message.id))
    stage.dispatcher.clear()
    line = Line("a", note.type.name)
    assert stage.records.autocommit(lambda tx: tx.shares.next_line(Line("", ""))) == line
    assert "line goes on" in broken(stage)
    assert stage.sweep()
    stage.dispatcher.run(stage.engine)
    assert len(done) == 9 - WINDOW
    assert stage.records.autocommit(lambda tx: tx.runs.status(run)) is RunState.RUNNING


def test_processes_that_send_at_once_keep_to_the_window_together(stage: Stage) -> None:
    submit(stage, mapped, tenant="a", count=40)
    line, window = Line("a", note.type.name), 3 * WINDOW
    with ThreadPoolExecutor(8) as threads:
        taken = list(
            threads.map(
                lambda _: stage.records.transaction(
                    lambda tx: tx.shares.take(line, window, timedelta(minutes=1))
                ),
                range(8),
            )
        )
    found = [place.map_index for places in taken for place in places or ()]
    assert len(found) == len(set(found)) == window - WINDOW


def test_nobody_waits_for_the_lock_of_a_line(stage: Stage) -> None:
    if stage.records.engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer, and no locks of names")
    run = submit(stage, mapped, tenant="a", count=9)
    line = Line("a", note.type.name)

    def hold(tx: Transaction) -> None:
        assert tx.shares.take(line, WINDOW, NOW) == []
        stage.dispatcher.run(stage.engine)  # in other connections

    stage.records.transaction(hold)
    assert len(done) == WINDOW
    assert stage.sweep()
    play(stage, [run])
    assert len(done) == 9


def test_why_it_waits(stage: Stage) -> None:
    first, second = (submit(stage, single, tenant="acme", number=n) for n in range(2))
    others = [submit(stage, single, tenant="acme", number=n) for n in range(2, 9)]
    (why,) = why_waits(stage.engine, others[-1])
    assert "waits in the line of its share" in str(why)
    assert "acme" not in str(why)  # an input
    short = summaries_of(stage.engine, [first, second, others[-1]])
    assert short == {first: "a worker", second: "a worker", others[-1]: "its share"}
    mixed = submit(stage, mapped, tenant="b", count=9)
    stage.dispatcher.run(stage.engine, limit=4)
    assert "line of its share" in " ".join(map(str, why_waits(stage.engine, mixed)))


@contextmanager
def statements(stage: Stage) -> Iterator[list[str]]:
    found: list[str] = []

    def note_it(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        found.append(statement)

    event.listen(stage.records.engine, "before_cursor_execute", note_it)
    try:
        yield found
    finally:
        event.remove(stage.records.engine, "before_cursor_execute", note_it)


def test_run_without_a_share_pays_nothing(stage: Stage) -> None:
    if stage.records.engine.dialect.name != "sqlite":
        pytest.skip("prepared statements do not pass SQLAlchemy's events")
    with statements(stage) as found:
        play_all = submit(stage, unfair, count=10)
        stage.dispatcher.run(stage.engine)
    assert stage.records.autocommit(lambda tx: tx.runs.status(play_all)) is RunState.COMPLETED
    assert len(done) == 10
    inserts = "INSERT INTO flow_step_runs "  # it has all columns of a row
    assert not [one for one in found if "share" in one and not one.startswith(inserts)]
    with statements(stage) as fair:
        submit(stage, mapped, tenant="a", count=10)
        stage.dispatcher.run(stage.engine)
    assert [one for one in fair if "share" in one]


def test_share_is_a_plain_value_of_the_run(stage: Stage) -> None:
    def notes(tenant: str) -> Any:
        return note(tenant)

    with pytest.raises(InvalidFlow, match="has fair_by='tenat'"):
        flow(fair_by="tenat")(notes)
    listed = flow(name="tests.shares.listed", fair_by=lambda _: ["a"])(notes)
    with pytest.raises(InvalidInput, match="fair_by of flow"):
        submit(stage, listed, tenant="a")
