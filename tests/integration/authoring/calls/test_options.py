"""Every option of a step holds in every way to call it, or is refused by its name.

A table: options down, ways to call across. What an option does is seen by its effect on a run under
a clock that jumps; only how many are in flight at once needs threads.
"""

import asyncio
import inspect
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from itertools import count
from types import SimpleNamespace
from typing import Any, Final

import pytest

from flowq import BaseFlow, BaseStep, Cache, Concurrency, Rate, flow, step, testing
from flowq.adapters.dispatch.inprocess import InProcessDispatcher
from flowq.adapters.records.database import SqlRecords
from flowq.authoring.calls.options import UNSET, Options
from flowq.authoring.definitions.flows import Flow
from flowq.authoring.definitions.steps import Step, StepDecorator
from flowq.core.errors import InvalidFlow
from flowq.core.results import StepFailure
from flowq.core.retries import RetryPolicy
from flowq.core.states import RunState
from flowq.engine.runs.options import SubmitOptions
from flowq.testing.runs import StartedRun
from tests.tools.playing import Stage
from tests.tools.waiting import wait_until

BEGIN: Final = testing.runs.BEGIN

_numbers = count()

#: How often a step was called, by its argument.
calls: Counter[Any] = Counter()


class InFlight:
    now = 0
    most = 0
    meets = False  #: Whether one waits for another.


@pytest.fixture(autouse=True)
def nothing_called() -> None:
    calls.clear()
    InFlight.now = InFlight.most = 0
    InFlight.meets = False


# --- ways to call --------------------------------------------------------------------------------


def unique(name: str) -> str:
    return f"tests.options.{name}.{next(_numbers)}"


def graph(made: Any, values: Sequence[Any]) -> Any:
    @flow(name=unique("graph"))
    def calling() -> Any:
        return [made(value) for value in values]

    return calling


def mapped(made: Any, values: Sequence[Any]) -> Any:
    @flow(name=unique("mapped"))
    def calling() -> Any:
        return made.map(list(values))

    return calling


def program(made: Any, values: Sequence[Any]) -> Any:
    @flow(name=unique("program"))
    async def calling() -> Any:
        return [await made(value) for value in values]

    return calling


def gathered(made: Any, values: Sequence[Any]) -> Any:
    @flow(name=unique("gathered"))
    async def calling() -> Any:
        return list(await asyncio.gather(*[made(value) for value in values]))

    return calling


def program_map(made: Any, values: Sequence[Any]) -> Any:
    @flow(name=unique("program_map"))
    async def calling() -> Any:
        return await made.map(list(values))

    return calling


def base_flow(made: Any, values: Sequence[Any]) -> Any:
    class Calling(BaseFlow):
        flow_name = unique("base_flow")

        async def _execute_flow_logic(self, inputs: dict[str, Any]) -> dict[str, Any]:
            return {"results": [await made(value) for value in values]}

    return Calling


def child_graph(made: Any, values: Sequence[Any]) -> Any:
    inner = graph(made, values)

    @flow(name=unique("child_graph"))
    async def calling() -> Any:
        return await inner()

    return calling


def child_program(made: Any, values: Sequence[Any]) -> Any:
    inner = program(made, values)

    @flow(name=unique("child_program"))
    def calling() -> Any:
        return inner()

    return calling


GRAPHS: Final = (graph, mapped, child_graph)
PROGRAMS: Final = (program, gathered, program_map, base_flow, child_program)
MAPS: Final = (mapped, program_map)
ALL: Final = (*GRAPHS, *PROGRAMS)

ways = pytest.mark.parametrize("way", ALL)
#: Options are said where a step is defined, or by the one who calls it.
SAID: Final = ("defined", "called")
_turns = count()


def told(test: Callable[..., None]) -> Callable[..., None]:
    """Test an option in all ways, and said in both places, which take turns.

    Each option meets each way and each place, and each way both places, with one option or the
    next: the place and the way do not know of each other.
    """
    turn = next(_turns)
    pairs = [(way, SAID[(number + turn) % 2]) for number, way in enumerate(ALL)]
    parametrized: Callable[..., None] = pytest.mark.parametrize("way, said", pairs)(test)
    return parametrized


def stepped(function: Callable[..., Any], said: str, **options: Any) -> Step[..., Any]:
    if said == "defined":
        return step(name=unique("step"), **options)(function)
    return step(name=unique("step"))(function).options(**options)


def results_of(run: StartedRun) -> Any:
    result = run.result()
    return result["results"] if isinstance(result, dict) and "results" in result else result


# --- what steps do -------------------------------------------------------------------------------


def counted(value: Any) -> Any:
    calls[value] += 1
    return value


def third_time_lucky(value: Any) -> Any:
    calls[value] += 1
    if calls[value] < 3:
        raise ConnectionError(f"{value} is not there yet")
    return value


def fails(value: Any) -> Any:
    calls[value] += 1
    raise ValueError(f"{value} is wrong")


async def naps(value: Any) -> Any:
    await asyncio.sleep(30)
    return value


def in_flight(value: Any) -> Any:
    InFlight.now += 1
    InFlight.most = max(InFlight.most, InFlight.now)
    if InFlight.meets:
        wait_until(lambda: InFlight.most > 1, what="another one is in flight")
    else:
        time.sleep(0.03)
    InFlight.now -= 1
    return value


# --- the table -----------------------------------------------------------------------------------


@told
def test_retries(way: Any, said: str) -> None:
    made = stepped(third_time_lucky, said, retries=2)

    with testing.start(way(made, ["a", "b"])) as run:
        assert results_of(run) == ["a", "b"]

    assert calls == {"a": 3, "b": 3}


@told
def test_retry_as_a_whole_policy(way: Any, said: str) -> None:
    policy = RetryPolicy(max_attempts=3, initial_delay=timedelta(hours=1), backoff=3, jitter=0)
    policy = policy.model_copy(update={"max_delay": timedelta(days=1)})

    with testing.start(way(stepped(third_time_lucky, said, retry=policy), ["a"])) as run:
        assert results_of(run) == ["a"]
        assert timedelta(hours=4) <= run.now - BEGIN < timedelta(hours=4, minutes=1)


@told
def test_delay_of_retries(way: Any, said: str) -> None:
    made = stepped(third_time_lucky, said, retries=2, retry_delay=3600)

    with testing.start(way(made, ["a"])) as run:
        assert results_of(run) == ["a"]
        # Half of the jitter is taken from each; the longest delay is the first one.
        assert timedelta(hours=1.8) <= run.now - BEGIN < timedelta(hours=1.9)


@told
def test_backoff_of_retries(way: Any, said: str) -> None:
    made = stepped(third_time_lucky, said, retries=2, retry_delay=10, backoff=10)

    with testing.start(way(made, ["a"])) as run:
        assert results_of(run) == ["a"]
        assert timedelta(seconds=99) <= run.now - BEGIN < timedelta(seconds=100)


@told
@pytest.mark.parametrize("error, attempts", [(OSError, 3), (KeyError, 1)])
def test_errors_to_retry_on(way: Any, said: str, error: Any, attempts: int) -> None:
    made = stepped(third_time_lucky, said, retries=2, retry_on=error)

    with testing.start(way(made, ["a"])) as run:
        run.finish()

    assert calls == {"a": attempts}


@told
def test_timeout(way: Any, said: str) -> None:
    with testing.start(way(stepped(naps, said, timeout=0.05), ["a"])) as run:
        assert run.finish() is RunState.FAILED
        assert "longer than its timeout of 0.05 s" in str(run.view().error)


@told
def test_queue(way: Any, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    queues: list[str | None] = []

    def send(self: InProcessDispatcher, batches: Any) -> None:
        queues.extend(one.queue for batch in batches for one in batch.messages)
        original(self, batches)

    original = InProcessDispatcher.send
    monkeypatch.setattr(InProcessDispatcher, "send", send)

    with testing.start(way(stepped(counted, said, queue="gpu"), ["a", "b"])) as run:
        assert results_of(run) == ["a", "b"]

    assert [queue for queue in queues if queue] == ["gpu", "gpu"]


@told
def test_cache(way: Any, said: str) -> None:
    with testing.start(way(stepped(counted, said, cache=3600), ["a", "b", "a"])) as run:
        assert results_of(run) == ["a", "b", "a"]

    assert calls == {"a": 1, "b": 1}


@ways
def test_key_function_of_a_cache(way: Any) -> None:
    by_size = Cache(key=lambda value: f"size {len(value)}")
    made = stepped(counted, "defined", cache=by_size)

    with testing.start(way(made, ["a", "bb", "c"])) as run:
        assert results_of(run) == ["a", "bb", "a"]


@told
def test_rate(way: Any, said: str) -> None:
    made = stepped(counted, said, rate=Rate(1, per=timedelta(minutes=10)))

    with testing.start(way(made, ["a", "b", "c"])) as run:
        assert results_of(run) == ["a", "b", "c"]
        assert run.now - BEGIN >= timedelta(minutes=20)


@told
def test_rate_of_tokens(way: Any, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked for is asked of the records; what answers cost is for other tests."""
    admitted: list[Any] = []

    def admit(_self: Any, limit: Any, _step: Any) -> Any:
        admitted.append(limit)
        return SimpleNamespace(limit=limit)

    transaction = "flowq.adapters.records.limits.token_rates.SqlTokenRates"
    monkeypatch.setattr(f"{transaction}.admit", admit)
    monkeypatch.setattr(f"{transaction}.release", lambda _self, _reserved: None)
    made = stepped(counted, said, rate=Rate(500, per=60, key="openai", of="tokens"))

    with testing.start(way(made, ["a", "b"])) as run:
        assert results_of(run) == ["a", "b"]

    assert [(limit.key, limit.slots) for limit in admitted] == [("tokens/60:openai", 500)] * 2


@told
def test_concurrency(way: Any, said: str, records: SqlRecords) -> None:
    limited = stepped(in_flight, said, concurrency=1)
    keyed = stepped(in_flight, said, concurrency=Concurrency(1, key="of {value}"))
    for made, values in ((limited, ["a", "b", "c"]), (keyed, ["d", "d", "d"])):
        calling = way(made, values)
        stage = Stage.on(records)
        played = stage.submit(testing.runs.flow_of(calling), {})

        stage.run_in_threads(played, 4)

        assert played.status is RunState.COMPLETED, played.error
        assert InFlight.most == 1


@pytest.mark.parametrize("way", [graph, mapped, gathered, program_map])
def test_steps_without_limit_are_in_flight_together(way: Any, records: SqlRecords) -> None:
    """Else the test above could not fail."""
    InFlight.meets = True
    stage = Stage.on(records)
    played = stage.submit(way(stepped(in_flight, "defined"), list("abcdefgh")), {})

    stage.run_in_threads(played, 4)

    assert InFlight.most > 1


@told
def test_allowed_failure(way: Any, said: str) -> None:
    with testing.start(way(stepped(fails, said, allow_failure=True), ["a"])) as run:
        result = results_of(run)
        assert run.status is RunState.COMPLETED

    shown = result[0] if isinstance(result, list) else result
    assert "a is wrong" in (shown.message if isinstance(shown, StepFailure) else shown["message"])


@ways
def test_condition(way: Any) -> None:
    made = stepped(counted, "called", when=False)

    with testing.start(way(made, ["a"])) as run:
        assert results_of(run) in ([None], None)

    assert not calls


@ways
def test_tolerance_is_for_maps(way: Any) -> None:
    made = stepped(fails, "called", tolerate="100%")

    if way in MAPS:
        with testing.start(way(made, ["a", "b"])) as run:
            assert len(results_of(run)) == 2
    else:
        assert "has tolerate=" in refusal(way(made, ["a"]))


@ways
def test_order_is_for_graphs(way: Any) -> None:
    first = stepped(counted, "defined")

    class Late:
        """Gives the option what only exists when the flow is traced."""

        def __call__(self, value: Any) -> Any:
            return second.options(after=first("first"))(value)

        def map(self, values: Any) -> Any:
            return second.options(after=first("first")).map(values)

    def follows(value: Any) -> Any:
        return dict(calls)

    second = stepped(follows, "defined")
    if way in PROGRAMS:
        assert "has after=" in refusal(way(Late(), ["a"]))
    else:
        assert testing.run(way(Late(), ["a"])) == [{"first": 1}]


@ways
def test_large_results_are_lazy_in_programs(way: Any) -> None:
    lazy = stepped(lambda value: [value] * 50_000, "called", lazy=True)
    if way not in PROGRAMS:
        assert "has lazy=" in refusal(way(lazy, ["a"]))
        return

    @flow(name=unique("lazily"))
    async def lazily() -> Any:
        found = await lazy("a")
        return [type(found).__name__, len(found.load())]

    assert testing.run(lazily) == ["LazyResult", 50_000]


@ways
def test_skipped_inputs_are_accepted_in_graphs(way: Any) -> None:
    skipped = stepped(counted, "called", when=False)
    meets = stepped(lambda value: [value], "called", accept_skipped=True)
    if way in PROGRAMS:
        assert "has accept_skipped=" in refusal(way(meets, ["a"]))
        return

    @flow(name=unique("skipping"))
    def skipping() -> Any:
        return meets([skipped("a"), counting("b")])

    counting = stepped(counted, "defined")
    assert testing.run(skipping) == [[None, "b"]]


@ways
def test_key(way: Any) -> None:
    made = stepped(counted, "called", key="mine")

    with testing.start(way(made, ["a"])) as run:
        assert results_of(run) == ["a"]
        engine = run.stage.engine
        with engine.records.engine.connect() as connection:  # type: ignore[attr-defined]
            keys = connection.exec_driver_sql("SELECT step_key FROM flow_step_runs").scalars().all()

    assert [key for key in keys if key.partition("#")[0] == "mine"]


def refusal(calling: Any) -> str:
    """Return what refuses a flow: its graph as it is submitted, a program as it is run."""
    try:
        with testing.start(calling) as run:
            assert run.finish() is RunState.FAILED
            return str(run.view().error)
    except InvalidFlow as error:
        return str(error)


# --- calls outside of runs -----------------------------------------------------------------------


def test_plain_calls_take_what_shapes_their_result() -> None:
    """Nothing is in flight, queued or recorded there: all else has no meaning, as the docs say."""
    plain = step(name=unique("plain"), retries=3, cache=True, queue="gpu", timeout=1)(counted)
    plain = plain.options(key="mine", concurrency=1, rate="1/hour", accept_skipped=True)

    assert [plain("a"), plain("a")] == ["a", "a"]
    assert plain.options(when=False)("a") is None
    assert plain.options(tolerate=1).map(["a"]) == ["a"]
    with pytest.raises(InvalidFlow, match="has tolerate="):
        plain.options(tolerate=1)("a")


# --- child runs ----------------------------------------------------------------------------------


@flow(name="tests.options.inner")
def inner(value: int = 0) -> Any:
    return counting(value)


@step(name="tests.options.counting")
def counting(value: Any) -> Any:
    return counted(value)


OF_RUNS: Final[dict[str, Any]] = {
    "user_id": "ann",
    "metadata": {"a": 1},
    "idempotency_key": "once",
    "deadline": timedelta(hours=1),
    "budget": object(),
    "priority": 9,
    "delay": timedelta(hours=1),
    "at": datetime(2040, 1, 1, tzinfo=UTC),
    "session": object(),
}


@pytest.mark.parametrize("name", OF_RUNS)
@pytest.mark.parametrize("mapping", [False, True])
def test_what_is_said_of_runs_is_refused_of_calls(name: str, *, mapping: bool) -> None:
    called = inner.options(**{name: OF_RUNS[name]})

    @flow(name=unique("of_runs"))
    def graph() -> Any:
        return called.map([1]) if mapping else called(1)

    @flow(name=unique("of_runs"))
    async def program() -> Any:
        return await (called.map([1]) if mapping else called(1))

    assert f"is called with {name}=" in refusal(graph)
    assert f"is called with {name}=" in refusal(program)


@pytest.mark.parametrize(
    "name, value",
    [
        ("when", False),
        ("after", [1]),
        ("allow_failure", True),
        ("accept_skipped", True),
        ("tolerate", 1),
        ("key", "mine"),
    ],
)
def test_what_is_said_of_calls_is_refused_of_runs(name: str, value: Any) -> None:
    with pytest.raises(InvalidFlow, match=f"is enqueued with {name}="):
        inner.options(**{name: value}).enqueue(1)
    with pytest.raises(InvalidFlow, match=f"is enqueued with {name}="):
        inner.options(**{name: value}).enqueue_many([{"value": 1}])


def test_child_runs_take_options_of_calls() -> None:
    @flow(name=unique("failing"))
    def failing(value: int) -> Any:
        return stepped_fails(value)

    stepped_fails = stepped(fails, "defined")

    @flow(name=unique("parent"))
    async def parent() -> Any:
        one = await failing.options(allow_failure=True)(1)
        many: Any = await failing.options(tolerate=2).map([1, 2])
        none: Any = await failing.options(when=False)(3)
        return [type(one).__name__, len(many), none]

    assert testing.run(parent) == ["StepFailure", 2, None]
    assert calls == {1: 2, 2: 1}


# --- nothing is left out -------------------------------------------------------------------------

#: Options of the decorator, each tested above in all ways, and those that only a call has.
OF_STEPS: Final = {
    *("retries", "retry", "retry_delay", "backoff", "retry_on", "timeout", "queue"),
    *("cache", "concurrency", "rate", "allow_failure"),
}
OF_CALLS: Final = {"when", "after", "accept_skipped", "tolerate", "key"}
OF_PROGRAMS: Final = {"lazy"}


def parameters(function: Any) -> set[str]:
    return {
        name
        for name, one in inspect.signature(function).parameters.items()
        if one.kind is inspect.Parameter.KEYWORD_ONLY
    }


def test_table_has_all_options() -> None:
    """Who adds an option adds it here, and to all that takes options."""
    assert parameters(StepDecorator.__call__) == OF_STEPS | {
        "name",
        "middleware",
        "log_prints",
        "local",
    }
    assert parameters(Step.options) == OF_STEPS | OF_CALLS | OF_PROGRAMS | {"log_prints", "local"}
    assert parameters(Flow.options) == OF_CALLS | OF_PROGRAMS | {"allow_failure"}
    assert set(SubmitOptions.__annotations__) == set(OF_RUNS)
    assert all(hasattr(BaseStep, name) for name in OF_STEPS | {"middleware", "log_prints"})


def test_spec_of_a_node_says_all_that_is_said() -> None:
    """What no flow takes to its spec would be dropped without a word."""
    shaped_by_the_flow = {"when", "after", "tolerate", "key", "local"}
    both = {"concurrency", "rate"}

    named = {one.name for one in fields(Options)} - shaped_by_the_flow - both - OF_PROGRAMS
    facts = named | {"limits"}

    assert set(Options().spec_fields()) == facts
    assert Options().changed_names() == []
    assert Options(when=None).changed_names() == ["when"]
    assert Options(when=UNSET).changed_names() == []


@pytest.mark.parametrize(
    "options, problem",
    [
        ({"retries": True}, "retries is True"),
        ({"retries": "3"}, "retries is '3'"),
        ({"retries": 1.5}, "retries is 1.5"),
        ({"retry": 3}, "retry is 3"),
        ({"retry_on": []}, "retry_on is empty"),
        ({"retry_on": 3}, "retry_on holds 3"),
        ({"retry_on": ""}, "retry_on holds ''"),
        ({"allow_failure": "yes"}, "allow_failure is 'yes'"),
        ({"allow_failure": None}, "allow_failure is None"),
        ({"accept_skipped": 1}, "accept_skipped is 1"),
        ({"lazy": "yes"}, "lazy is 'yes'"),
    ],
)
def test_values_that_make_no_sense_are_refused(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidFlow, match=problem):
        counting.options(**options)
