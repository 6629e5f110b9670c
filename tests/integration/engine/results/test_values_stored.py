"""Both databases take what flowq accepts, and flowq refuses the rest before they see it."""

import math
from datetime import date, datetime, timedelta, timezone
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

import flowq
from flowq import errors, flow, step
from flowq.adapters.results.memory import MemoryCache
from flowq.core.errors import InvalidInput
from flowq.core.states import RunState
from flowq.engine.runs import submission
from flowq.engine.runs.signals import send_signal
from tests.tools.playing import Stage

HARD: list[Any] = [
    "a\0b",
    ["\0", {"\0k": "\0"}],
    "\N{GRINNING FACE}\u2028\x1b[0m",
    math.nan,
    [math.nan, {"a": -math.inf}, -0.0],
    {"$float": "nan", "$ref": "x", "$literal": {"$op": "=="}},
    2**64,
    10**4000,
    1e308,
    {"": None, " ": [], "'\"\\": {}},
]


class Login(BaseModel):
    password: SecretStr


@step
def same(value: Any) -> Any:
    return value


@flow
def graph(value: Any) -> Any:
    return same(same(value))


@flow
async def program(value: Any) -> Any:
    return await same(await same(value))


@flow
async def parent(value: Any) -> Any:
    return await graph(await same(value))


@flow
def mapped(value: Any) -> Any:
    return same.map(same([value]))


@flow
async def waits(value: Any) -> Any:
    seen = await same(value)
    return [seen, await flowq.signal("say")]


@pytest.mark.parametrize("value", HARD, ids=lambda value: ascii(value)[:30])
@pytest.mark.parametrize("chosen", [graph, program, parent])
def test_what_is_hard_to_store_comes_back(stage: Stage, chosen: Any, value: Any) -> None:
    played = stage.play(chosen, value=value)

    assert RunState.COMPLETED is played.status, played.error
    assert repr(value) == repr(played.result())


@pytest.mark.parametrize("value", HARD, ids=lambda value: ascii(value)[:30])
def test_an_item_that_is_hard_to_store_comes_back(stage: Stage, value: Any) -> None:
    assert repr([value]) == repr(stage.play(mapped, value=value).result())


NUMBERS: list[Any] = [2**53 + 1, -(2**64), 10**40, 0.1 + 0.2, -1.7976931348623157e308, 7]


@pytest.mark.parametrize("value", [*NUMBERS, *HARD], ids=lambda value: ascii(value)[:30])
def test_a_result_that_only_its_row_holds_comes_back(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, value: Any
) -> None:
    """SQLite makes a number of text that is one, with 15 digits."""
    monkeypatch.setattr(MemoryCache, "get_many", lambda _, keys: [None] * len(keys))

    assert repr(value) == repr(stage.play(graph, value=value).result())


@pytest.mark.parametrize(
    "said", ["a\0b", [date(2020, 1, 2)], {"$float": "nan"}, None, *NUMBERS], ids=str
)
def test_a_signal_comes_as_it_was_sent(stage: Stage, said: Any) -> None:
    played = stage.play(waits, value="a\0b")

    send_signal(stage.engine, played.id, "say", said)
    stage.dispatcher.run(stage.engine)

    came = ["2020-01-02"] if isinstance(said, list) else said
    assert ["a\0b", came] == played.result()


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


REFUSED: list[Any] = [
    math.nan,
    [math.inf],
    "\ud800",
    {"\ud800": 1},
    deep(101),
    deep(2000),
    [10**5000],
    SecretStr("hunter2"),
    Login(password=SecretStr("hunter2")),
    {(1, 2): 3},
    {None: 1},
    {frozenset(): 1},
    {1: 1, "1": 2},
    b"\xff",
    object(),
]


@pytest.mark.parametrize("said", REFUSED, ids=range(len(REFUSED)))
def test_a_signal_that_would_not_come_as_it_was_is_refused(stage: Stage, said: Any) -> None:
    played = stage.play(waits, value=1)

    with pytest.raises(InvalidInput, match="the data of the signal 'say'") as caught:
        send_signal(stage.engine, played.id, "say", said)

    assert caught.value.hint
    assert "hunter2" not in str(caught.value)
    send_signal(stage.engine, played.id, "say", 1)
    stage.dispatcher.run(stage.engine)
    assert RunState.COMPLETED is played.status


@pytest.mark.parametrize("note", REFUSED, ids=range(len(REFUSED)))
def test_metadata_that_would_not_come_back_is_refused(stage: Stage, note: Any) -> None:
    with pytest.raises(InvalidInput, match="the metadata of a run") as caught:
        submission.submit(stage.engine, graph.type, {"value": 1}, metadata={"note": note})

    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("name", ["\ud800", "a\0b"])
def test_a_name_that_no_database_stores_is_refused(stage: Stage, name: str) -> None:
    played = stage.play(waits, value=1)
    with pytest.raises(InvalidInput, match="the name of a signal"):
        send_signal(stage.engine, played.id, name, 1)
    send_signal(stage.engine, played.id, "say", 1)
    stage.dispatcher.run(stage.engine)


@pytest.mark.parametrize(
    "inputs, options",
    [
        (5, {}),
        ({"value": 1}, {}),
        ([5], {}),
        ([{"value": 1}], {"idempotency_keys": [[]]}),
        ([{"value": 1}], {"idempotency_keys": 5}),
        ([{"value": 1}], {"idempotency_keys": ["\ud800"]}),
        ([{"value": 1}], {"deadline": datetime.max.replace(tzinfo=timezone(-timedelta(hours=5)))}),
        ([{"value": 1}], {"deadline": datetime.min.replace(tzinfo=timezone(timedelta(hours=5)))}),
        ([{"value": 1}], {"user_id": "\ud800"}),
        ([{"value": 1}, {"value": math.nan, "other": 1}], {}),
    ],
    ids=str,
)
def test_many_runs_are_refused_in_one_way(stage: Stage, inputs: Any, options: Any) -> None:
    with pytest.raises(InvalidInput):
        submission.submit_many(stage.engine, graph.type, inputs, **options)


class Awkward(errors.StepError):
    pass


@step
def fails(value: float) -> float:
    details = {"nan": math.nan, "text": "\ud800", "object": object(), "deep": deep(300)}
    raise Awkward("a\0b \ud800", details={**details, "plain": {"value": value}})


@flow
def failing(value: float) -> Any:
    return fails.map([value], tolerate=1)


def test_what_is_kept_of_a_failure_never_keeps_it_from_being_recorded(stage: Stage) -> None:
    (failure,) = stage.play(failing, value=math.nan).result()

    assert "Awkward" == failure.error
    assert math.isnan(failure.item)
