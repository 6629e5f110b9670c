"""What follows the end of each kind of row, and what it costs: statements and messages."""

import asyncio
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any, Final

import pytest
import redis
from celery import Celery
from kombu import Producer
from psycopg import Cursor

import flowq
from flowq import flow, step
from flowq.adapters.dispatch.celery import CeleryDispatcher
from flowq.adapters.events.outbox import Outbox
from flowq.adapters.events.redis import RedisEvents
from flowq.adapters.records.database import SqlRecords
from flowq.adapters.results.memory import MemoryCache, MemoryObjects
from flowq.core.errors import DatabaseUnavailable, StepFailed
from flowq.core.ids import LeaseToken, RunId, StepRunId, child_run_id, item_id, node_id
from flowq.core.spec import Gate
from flowq.core.states import TERMINAL_RUN_STATES, RunState
from flowq.engine.attempts import outages
from flowq.engine.attempts.outcomes import AttemptEnding
from flowq.engine.attempts.run import run_attempt
from flowq.engine.engine import Policies
from flowq.engine.model.rows import Claim, StepRef
from flowq.engine.ports import Transaction
from flowq.engine.results.store import ResultStore
from flowq.engine.runs import submission
from flowq.testing.records import VirtualClock, VirtualRecords
from tests.tools.controls.costs import counted
from tests.tools.invariants import assert_invariants
from tests.tools.playing import Stage

CHORDS_FROM_FOUR = Policies(chord_from=4)


@step
def one(x: int) -> int:
    return x + 1


@step
def pair(x: int, y: int) -> int:
    return x + y


@step
def broken(_x: int) -> int:
    raise ValueError("broken")


@step
def merge(xs: list[int]) -> int:
    return sum(xs)


@flow
def chain(x: int) -> int:
    return one.options(key="last")(one.options(key="first")(x))


@flow
def fan_in(x: int) -> int:
    return pair.options(key="last")(one.options(key="a")(x), one.options(key="b")(x))


@flow
def few_items(x: int) -> int:
    return merge.options(key="last")(one.map([x, x]))


@flow
def many_items(x: int) -> int:
    return merge.options(key="last")(one.map([x] * 4))


@flow
def wide(x: int) -> list[int]:
    ones = [one.options(key=f"w{n}")(x) for n in range(4)]
    return [pair.options(key="last")(ones[0], ones[1]), *ones[2:]]


@flow
def fails(x: int) -> int:
    return one.options(key="last")(broken.options(key="first")(x))


@flow
def item_fails(x: int) -> int:
    return merge.options(key="last")(broken.map([x, x]))


#: As a program calls them: what they return is awaited.
call_one: Any = one
call_broken: Any = broken


@flow
async def calls(x: int) -> int:
    first = await call_one(x)
    return sum(await asyncio.gather(call_one(first), call_one(first)))


@flow
async def calls_in_row(x: int) -> int:
    for _ in range(3):
        x = await call_one(x)
    return x


@flow
async def many_calls(x: int) -> int:
    return sum(await asyncio.gather(*(call_one(x) for _ in range(4))))


@flow
async def calls_map(x: int) -> int:
    return sum(await call_one.map([x, x]))


@flow
async def call_fails(x: int) -> int:
    try:
        return int(await call_broken(x))
    except StepFailed:
        return 0


@flow
async def called_item_fails(x: int) -> int:
    try:
        return sum(await call_broken.map([x, x]))
    except StepFailed:
        return 0


@flow
def member_fails(x: int) -> list[int]:
    ones = [one.options(key=f"w{n}")(x) for n in range(3)]
    return [*ones, broken.options(key="w3")(x)]


@flow
def child(x: int) -> int:
    return one(x)


@flow
def parent(x: int) -> int:
    return one.options(key="last")(child(x))


#: Of each flow what is delivered, in order, and its cost: statements, units of work, messages. The
#: claim is counted too: of a step that completes it is the first statement. The step whose result
#: its run returns ends the run in the statement that ends itself.
COSTS: Final[Mapping[Any, Sequence[tuple[str, int, int, int]]]] = {
    chain: [("first", 2, 2, 1), ("last", 2, 2, 0)],
    fan_in: [("a", 2, 2, 0), ("b", 2, 2, 1), ("last", 2, 2, 0)],
    few_items: [("one[0]", 3, 3, 0), ("one[1]", 6, 4, 1), ("last", 4, 4, 0)],
    many_items: [
        *((f"one[{index}]", 2, 2, 0) for index in range(4)),
        ("end", 4, 2, 1),
        ("last", 4, 4, 0),
    ],
    wide: [
        *(("w0", 2, 2, 0), ("w1", 2, 2, 1), ("w2", 3, 3, 0), ("w3", 3, 3, 0)),
        ("last", 6, 6, 0),
    ],
    fails: [("first", 10, 6, 0)],
    item_fails: [("broken[0]", 14, 7, 0), ("broken[1]", 4, 4, 0)],
    member_fails: [
        *((f"w{index}", 2, 2, 0) for index in range(3)),
        *(("w3", 7, 5, 0), ("end", 4, 2, 0)),
    ],
    parent: [("child", 5, 2, 1), ("one", 10, 8, 1), ("last", 2, 2, 0)],
    calls: [
        # Who ends the first call continues the program, as does who ends the last.
        *(("calls", 4, 3, 1), ("one#1", 6, 3, 2)),
        *(("one#2", 5, 5, 0), ("one#3", 9, 5, 0)),
    ],
    calls_in_row: [
        ("calls_in_row", 4, 3, 1),
        # The end of a call and the next call are one statement.
        *(("one#1", 2, 2, 1), ("one#2", 2, 2, 1), ("one#3", 4, 4, 0)),
    ],
    many_calls: [
        ("many_calls", 6, 3, 4),
        *((f"one#{number}", 2, 2, 0) for number in range(1, 5)),
        *(("end", 4, 2, 1), ("many_calls", 4, 4, 0)),
    ],
    calls_map: [
        *(("calls_map", 6, 3, 2), ("one#1[0]", 4, 4, 0), ("one#1[1]", 9, 6, 1)),
        ("calls_map", 5, 5, 0),
    ],
    call_fails: [("call_fails", 4, 3, 1), ("broken#1", 6, 4, 1), ("call_fails", 7, 7, 0)],
    called_item_fails: [
        *(("called_item_fails", 6, 3, 2), ("broken#1[0]", 11, 6, 1), ("broken#1[1]", 4, 4, 0)),
        ("called_item_fails", 7, 7, 0),
    ],
}


@pytest.mark.parametrize("each", COSTS, ids=lambda each: each.type.name.rpartition(".")[2])
def test_no_end_costs_more_than_it_did(
    records: SqlRecords, monkeypatch: pytest.MonkeyPatch, each: Any
) -> None:
    stage = Stage.on(records, policies=CHORDS_FROM_FOUR)
    stage.submit(each, {"x": 1})
    on_postgres = records.url.get_backend_name() == "postgresql"
    found: list[tuple[str, int, int, int]] = []

    while stage.dispatcher.due_now:
        delivery = stage.dispatcher.due_now[0]
        label = delivery.message.label if delivery.message else "end"
        with counted(monkeypatch, stage) as cost:
            stage.dispatcher.run(stage.engine, limit=1)
        found.append((label, cost.statements, cost.units, cost.sent))

    # SQLite has no UPDATE within a CTE: it takes more statements, none of which travels.
    first = 1 if on_postgres else 2
    assert [(one[0], *one[first:]) for one in found] == [
        (one[0], *one[first:]) for one in COSTS[each]
    ]


def test_who_does_not_know_a_run_reads_its_definition_with_the_first_claim(
    records: SqlRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage.on(records)
    run = stage.submit(chain, {"x": 1})
    found: list[int] = []

    while stage.dispatcher.due_now:
        stage.engine.definitions.forget(run.id)
        with counted(monkeypatch, stage) as cost:
            stage.dispatcher.run(stage.engine, limit=1)
        found.append(cost.units)

    # The last step reads the result of the first, in a statement of its own.
    assert found == [2, 3]
    assert run.status is RunState.COMPLETED


# --- maps that programs have called --------------------------------------------------------------


@flow
def unlucky_child(x: int) -> int:
    return broken(x) if x == 0 else one(one(x))


call_child: Any = child
call_unlucky_child: Any = unlucky_child


@flow
async def calls_map_of_children(x: int) -> int:
    try:
        return sum(await call_unlucky_child.map([0, x, x]))
    except StepFailed:
        return -1


def test_child_runs_of_a_called_map_that_has_failed_are_cancelled_at_once(
    records: SqlRecords,
) -> None:
    stage = Stage.on(records)

    played = stage.play(calls_map_of_children, x=1)

    assert played.result() == -1
    items = [item_id(node_id(played.id, "unlucky_child#1"), index) for index in range(3)]
    runs = [child_run_id(item) for item in items]
    states = [records.autocommit(partial(_status, run_id=run_id)) for run_id in runs]
    assert states == [RunState.FAILED, RunState.CANCELLED, RunState.CANCELLED]


def _status(tx: Transaction, run_id: RunId) -> RunState | None:
    return tx.runs.status(run_id)


# --- every answer lost, one at a time ------------------------------------------------------------


@contextmanager
def answer_lost(monkeypatch: pytest.MonkeyPatch, number: int) -> Iterator[list[int]]:
    """Lose the answer of one unit of work: it is committed, but the caller gets an error."""
    tried = SqlRecords._tried
    asked: list[int] = []

    def lose(self: SqlRecords, *args: Any, **given: Any) -> Any:
        asked.append(len(asked))
        answer = tried(self, *args, **given)
        if len(asked) - 1 == number:
            raise DatabaseUnavailable("the answer was lost")
        return answer

    no_pause = SimpleNamespace(monotonic=time.monotonic, sleep=lambda _seconds: None)
    with monkeypatch.context() as patch:
        patch.setattr(SqlRecords, "_tried", lose)
        patch.setattr(outages, "time", no_pause)
        yield asked


def _deliver_all(stage: Stage) -> None:
    while stage.dispatcher.waiting:
        delivery = stage.dispatcher.waiting[0]
        try:
            stage.dispatcher.run(stage.engine, limit=1)
        except DatabaseUnavailable:  # a worker does the end of a batch again
            stage.dispatcher.deliver(stage.engine, delivery)


@pytest.mark.parametrize("each", COSTS, ids=lambda each: each.type.name.rpartition(".")[2])
def test_whatever_answer_is_lost_the_run_ends_the_same(
    monkeypatch: pytest.MonkeyPatch, each: Any
) -> None:
    records = VirtualRecords(VirtualClock(datetime.now(UTC)))
    waiting, at_once = timedelta(seconds=20), timedelta(0)
    policies = replace(CHORDS_FROM_FOUR, outage_wait=waiting, resend_after=at_once)
    runs = []
    number = 0
    while True:
        stage = Stage.on(records, policies=policies)
        played = stage.submit(each, {"x": 1})
        runs.append(played)
        with answer_lost(monkeypatch, number) as asked:
            _deliver_all(stage)
        while played.status not in TERMINAL_RUN_STATES and stage.sweep():
            _deliver_all(stage)
        assert played.status in TERMINAL_RUN_STATES, number
        if number > len(asked):
            break
        number += 1
    while stage.sweep():  # what has ended stays as it is
        _deliver_all(stage)

    assert number > 4
    ended = [(view.status, view.outputs, view.done) for view in (run.view for run in runs)]
    assert set(map(repr, ended)) == {repr(ended[number])}
    assert_invariants(records, grace=timedelta(0))
    records.close()


# --- the gate of a row ---------------------------------------------------------------------------


@flow
async def mixed(x: int) -> int:
    ones = await call_one.map([x, x])
    first, more = await asyncio.gather(call_one(x), call_child(x))
    return sum([*ones, first, more])


@flow
def graph_of_all(x: int) -> int:
    return merge.options(key="last")([one.options(key="first")(x), *[child(x)]])


#: What each message finds: the gate of its row.
GATES: Final[Mapping[Any, Mapping[str, Gate]]] = {
    graph_of_all: {"first": Gate.NODE, "child": Gate.NODE, "one": Gate.NODE, "last": Gate.NODE},
    many_items: {**{f"one[{n}]": Gate.ITEM for n in range(4)}, "last": Gate.NODE},
    mixed: {
        "mixed": Gate.NODE,
        "one#1[0]": Gate.ITEM,
        "one#1[1]": Gate.ITEM,
        "one#2": Gate.CALL,
        "child#3": Gate.CALL,
        "one": Gate.NODE,
    },
}


class _Seen(Exception):
    """Leaves the transaction that a claim was made in, so that it never was."""

    def __init__(self, claim: Claim) -> None:
        self.claim = claim


def _look(tx: Transaction, step_id: StepRunId) -> None:
    token, lease = LeaseToken(step_id), timedelta(seconds=30)
    claim = tx.steps.claim(step_id, token=token, lease=lease, worker="test")
    assert claim is not None
    raise _Seen(claim)


@pytest.mark.parametrize("each", GATES, ids=lambda each: each.type.name.rpartition(".")[2])
def test_claim_and_definition_say_the_same_gate(records: SqlRecords, each: Any) -> None:
    stage = Stage.on(records, policies=CHORDS_FROM_FOUR)
    stage.submit(each, {"x": 1})
    by_claim: dict[str, Gate] = {}
    by_definition: dict[str, Gate] = {}

    while stage.dispatcher.due_now:
        message = stage.dispatcher.due_now[0].message
        if message is not None:
            place = records.autocommit(partial(_place, step_id=message.id))
            definition = stage.engine.definitions.get(message.run_id)
            by_definition[message.label] = definition.gate(place)
            with pytest.raises(_Seen) as seen:
                records.transaction(partial(_look, step_id=message.id))
            by_claim[message.label] = seen.value.claim.gate
        stage.dispatcher.run(stage.engine, limit=1)

    assert by_claim == by_definition == GATES[each]


def _place(tx: Transaction, step_id: StepRunId) -> StepRef:
    place = tx.steps.node(step_id)
    assert place is not None
    return place


# --- the way from the result to the next message -------------------------------------------------

ROOT: Final = Path(__file__).parents[4]
PACKAGE: Final = Path(flowq.__file__).parent


def _written_path() -> list[str]:
    """Return the modules that architecture.md names for the way of a completed step."""
    text = (ROOT / "docs/project/architecture.md").read_text(encoding="utf-8")
    part = text.partition("### 4. ")[2].partition("These are all")[0]
    return re.findall(r"^\| `([\w/]+\.py)`", part, re.MULTILINE)


class _Walk:
    """Notes which modules stand on the stack when a statement, an event or a message goes out."""

    def __init__(self) -> None:
        self.modules: set[str] = set()
        self._ends = {Cursor.execute.__code__, Outbox.put.__code__, Producer.publish.__code__}
        self._on_its_way = False

    def __call__(self, frame: FrameType | None, event: str, _argument: object) -> None:
        code = frame.f_code if frame is not None else None
        if event == "return" and code is one.type.function.__code__:
            self._on_its_way = True
        if not self._on_its_way or event != "call" or code not in self._ends:
            return
        while frame is not None and frame.f_code is not run_attempt.__code__:
            file = Path(frame.f_code.co_filename)
            if file.is_relative_to(PACKAGE):
                self.modules.add(file.relative_to(PACKAGE).as_posix())
            frame = frame.f_back
        self._on_its_way = code is not Producer.publish.__code__


def test_way_of_a_completed_step_is_the_one_that_is_written(
    postgres_url: str, redis_url: str
) -> None:
    records, objects = SqlRecords(postgres_url), MemoryObjects()
    client = redis.Redis.from_url(redis_url.replace("redis+socket://", "unix://"))
    engine = replace(
        Stage.on(records).engine,
        dispatcher=CeleryDispatcher(Celery("way", broker=redis_url, backend=redis_url)),
        events=RedisEvents(client),
        results=ResultStore(MemoryCache(), lambda: objects, 1024),
    )
    run_id = submission.submit(engine, chain.type, {"x": 1})
    walk = _Walk()
    sys.setprofile(walk)
    try:
        ended = run_attempt(engine, node_id(run_id, "first"), run_id, in_chord=False)
    finally:
        sys.setprofile(None)
        records.close()
        client.close()

    assert ended.ending is AttemptEnding.COMPLETED
    written = _written_path()
    assert len(written) <= 10
    assert sorted(written) == sorted(walk.modules)
