"""What follows the end of each kind of row, and what it costs: statements and messages."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import pytest

from flowq import flow, step
from flowq.adapters.records.database import SqlRecords
from flowq.adapters.records.sql.repository import Repository
from flowq.core.errors import StepFailed
from flowq.engine.engine import Policies
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


@dataclass
class Cost:
    """What one delivery cost."""

    statements: int = 0
    units: int = 0
    sent: int = 0


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch, stage: Stage) -> Iterator[Cost]:
    cost = Cost()
    run, tried, send = Repository._run, SqlRecords._tried, stage.dispatcher.send

    def count_run(self: Repository, *args: Any) -> Any:
        cost.statements += 1
        return run(self, *args)

    def count_unit(self: SqlRecords, *args: Any, **given: Any) -> Any:
        cost.units += 1
        return tried(self, *args, **given)

    def count_sent(batches: Any) -> None:
        cost.sent += sum(len(batch.messages) for batch in batches)
        send(batches)

    with monkeypatch.context() as patch:
        patch.setattr(Repository, "_run", count_run)
        patch.setattr(SqlRecords, "_tried", count_unit)
        patch.setattr(stage.dispatcher, "send", count_sent)
        yield cost


#: Of each flow what is delivered, in order, and its cost: statements, units of work, messages. The
#: claim is counted too: of a step that completes it is the first statement.
COSTS: Final[Mapping[Any, Sequence[tuple[str, int, int, int]]]] = {
    chain: [("first", 2, 2, 1), ("last", 3, 3, 0)],
    fan_in: [("a", 2, 2, 0), ("b", 2, 2, 1), ("last", 3, 3, 0)],
    few_items: [("one[0]", 3, 3, 0), ("one[1]", 6, 4, 1), ("last", 5, 4, 0)],
    many_items: [
        *((f"one[{index}]", 2, 2, 0) for index in range(4)),
        ("end", 4, 2, 1),
        ("last", 5, 4, 0),
    ],
    wide: [
        *(("w0", 2, 2, 0), ("w1", 2, 2, 1), ("w2", 3, 3, 0), ("w3", 3, 3, 0)),
        ("last", 6, 6, 0),
    ],
    fails: [("first", 10, 6, 0)],
    item_fails: [("broken[0]", 15, 7, 0), ("broken[1]", 4, 4, 0)],
    member_fails: [
        *((f"w{index}", 2, 2, 0) for index in range(3)),
        *(("w3", 7, 5, 0), ("end", 4, 2, 0)),
    ],
    parent: [("child", 5, 2, 1), ("one", 10, 8, 1), ("last", 3, 3, 0)],
    calls: [
        *(("calls", 6, 3, 1), ("one#1", 2, 2, 1)),
        *(("calls", 6, 3, 2), ("one#2", 5, 5, 0), ("one#3", 5, 3, 1)),
        ("calls", 4, 4, 0),
    ],
    many_calls: [
        ("many_calls", 6, 3, 4),
        *((f"one#{number}", 2, 2, 0) for number in range(1, 5)),
        *(("end", 4, 2, 1), ("many_calls", 4, 4, 0)),
    ],
    calls_map: [
        *(("calls_map", 6, 3, 2), ("one#1[0]", 4, 4, 0), ("one#1[1]", 9, 6, 1)),
        ("calls_map", 6, 5, 0),
    ],
    call_fails: [("call_fails", 6, 3, 1), ("broken#1", 6, 4, 1), ("call_fails", 7, 7, 0)],
    called_item_fails: [
        *(("called_item_fails", 6, 3, 2), ("broken#1[0]", 12, 6, 1), ("broken#1[1]", 4, 4, 0)),
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
