"""Steps take the results of earlier ones with the same inputs, and say so."""

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from flowq import Cache, errors, flow, step
from flowq.adapters.records.database import SqlRecords
from flowq.core.ids import node_id
from flowq.core.states import RunState, StepState
from flowq.engine.engine import Policies
from flowq.engine.interrupts import Interrupt
from flowq.engine.sweeper.retention import collect
from tests.tools.faults.points import FaultPoint, injected
from tests.tools.invariants import assert_invariants
from tests.tools.playing import Played, Stage

calls: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def none_called() -> None:
    calls.clear()


@pytest.fixture
def stage(records: SqlRecords) -> Iterator[Stage]:
    yield Stage.on(records)
    with records.engine.begin() as connection:  # tests of a module share a database
        connection.exec_driver_sql("DELETE FROM flow_cached_results")


@step(cache=60)
def double(number: int) -> int:
    calls[f"double {number}"] += 1
    return 2 * number


@step(cache=Cache(ttl=60, shared=True))
def shared(number: int) -> int:
    calls["shared"] += 1
    return number


@step(cache=Cache(key=lambda url, **_: url if url != "never" else None))
def fetch(url: str, attempt: int) -> int:
    calls[url] += 1
    return attempt


@step(cache=True, retries=1, retry_delay=0)
def unsure(number: int) -> int:
    calls["unsure"] += 1
    if calls["unsure"] == 1:
        raise OSError("not now")
    return number


@step(cache=True)
def fails(number: int) -> int:
    calls["fails"] += 1
    raise ValueError("no")


@step(cache=True)
def everything(value: Any, file: Any = None) -> Any:
    calls["everything"] += 1
    return value


@step
def write(text: str, folder: str) -> Path:
    path = Path(folder) / f"{len(list(Path(folder).iterdir()))}.txt"
    path.write_text(text)
    return path


@step
def add(numbers: list[int]) -> int:
    return sum(numbers)


@flow
def doubled(number: int) -> Any:
    return double(number)


@flow
def doubled_again(number: int) -> Any:
    return double(double(number))


@flow
def all_doubled(numbers: list[int]) -> Any:
    return add(double.map(numbers))


@flow
def sharing(number: int) -> Any:
    return shared(number)


@flow
def sharing_too(number: int) -> Any:
    return add([shared(number), 1])


@flow
def fetching(url: str, attempt: int) -> Any:
    return fetch(url, attempt)


@flow
def trying(number: int) -> Any:
    return unsure(number)


@flow
def failing(number: int) -> Any:
    return fails(number)


@flow
def anything(value: Any) -> Any:
    return everything(value)


@flow
def of_file(text: str, folder: str) -> Any:
    return everything(1, write(text, folder))


def outcome(played: Played, key: str) -> tuple[StepState, int]:
    shown = played.step(key)
    return shown.status, shown.hits


# --- hits ----------------------------------------------------------------------------------------


def test_second_run_takes_the_result_of_the_first(stage: Stage) -> None:
    first = stage.play(doubled, number=4)

    second = stage.play(doubled, number=4)

    assert (8, 8) == (first.result(), second.result())
    assert {"double 4": 1} == calls
    assert (StepState.COMPLETED, 0) == outcome(first, "double")
    assert (StepState.COMPLETED, 1) == outcome(second, "double")
    row = stage.records.autocommit(lambda tx: tx.steps.by_id(node_id(second.id, "double")))
    assert row is not None
    assert row.cached_from == node_id(first.id, "double")


def test_hit_costs_nothing_and_says_what_it_saved(stage: Stage) -> None:
    first = stage.submit(doubled, {"number": 4})
    is_sqlite = stage.records.url.get_backend_name() == "sqlite"
    with stage.records.engine.begin() as connection:
        money = 250_000_000 if is_sqlite else 0.25
        connection.exec_driver_sql(
            f"UPDATE flow_step_runs SET tokens_used = 1200, cost_estimate = {money} "
            f"WHERE step_key = 'double' AND status = 'queued'"
        )
    stage.dispatcher.run(stage.engine)

    second = stage.play(doubled, number=4)

    assert (1200, Decimal("0.25")) == (first.view.tokens, first.view.cost)
    assert not second.view.tokens
    assert not second.view.cost
    assert (1, 1200, Decimal("0.25")) == (
        second.view.hits,
        second.view.saved.tokens,
        second.view.saved.cost,
    )


def test_other_inputs_are_another_call(stage: Stage) -> None:
    stage.play(doubled, number=4)

    assert stage.play(doubled, number=5).result() == 10
    assert {"double 4": 1, "double 5": 1} == calls


def test_items_of_a_map_are_cached_one_by_one(stage: Stage) -> None:
    stage.play(all_doubled, numbers=[1, 2, 3])

    played = stage.play(all_doubled, numbers=[2, 3, 4])

    assert played.result() == 18
    assert {f"double {n}": 1 for n in (1, 2, 3, 4)} == calls
    assert played.step("double").hits == 2


def test_step_of_one_run_takes_the_result_of_another_step_of_it(stage: Stage) -> None:
    stage.play(doubled_again, number=1)
    stage.play(doubled_again, number=2)

    assert {"double 1": 1, "double 2": 1, "double 4": 1} == calls


def test_flows_share_results_only_if_the_cache_says_so(stage: Stage) -> None:
    stage.play(doubled, number=1)
    stage.play(doubled_again, number=1)
    stage.play(sharing, number=1)
    stage.play(sharing_too, number=1)

    assert (2, 1) == (calls["double 1"], calls["shared"])


def test_key_function_says_which_calls_are_equal(stage: Stage) -> None:
    assert stage.play(fetching, url="a", attempt=1).result() == 1
    assert stage.play(fetching, url="a", attempt=2).result() == 1
    assert stage.play(fetching, url="b", attempt=2).result() == 2
    assert stage.play(fetching, url="never", attempt=1).result() == 1
    assert stage.play(fetching, url="never", attempt=2).result() == 2


def test_version_makes_another_key(stage: Stage) -> None:
    @flow(name="versions")
    def of_version(version: int) -> Any:
        return double.options(cache=Cache(ttl=60, version=version))(1)

    for version in (1, 2, 2, 1):
        stage.play(of_version, version=version)

    assert calls["double 1"] == 2


def test_expired_result_is_made_anew(stage: Stage) -> None:
    stage.play(doubled, number=4)
    with stage.records.engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE flow_cached_results SET expires_at = '2020-01-01 00:00:00.000000'"
        )

    assert stage.play(doubled, number=4).step("double").hits == 0
    assert stage.play(doubled, number=4).step("double").hits == 1
    assert calls["double 4"] == 2


@pytest.mark.parametrize(
    "values", [[1, 1.0, True, "1", None, [1], {"a": 1}], [{"a": 1, "b": 2}, {"b": 2, "a": 2}]]
)
def test_inputs_that_differ_have_different_keys(stage: Stage, values: list[Any]) -> None:
    for value in values:
        assert stage.play(anything, value=value).step("everything").hits == 0


def test_order_of_keys_does_not_matter(stage: Stage) -> None:
    stage.play(anything, value={"a": 1, "b": 2})

    assert stage.play(anything, value={"b": 2, "a": 1}).step("everything").hits == 1


def test_files_are_compared_by_their_content(stage: Stage, tmp_path: Path) -> None:
    stage.play(of_file, text="one", folder=str(tmp_path))

    assert stage.play(of_file, text="one", folder=str(tmp_path)).step("everything").hits == 1
    assert stage.play(of_file, text="two", folder=str(tmp_path)).step("everything").hits == 0


# --- failures ------------------------------------------------------------------------------------


def test_failure_is_never_cached(stage: Stage) -> None:
    assert stage.play(failing, number=1).status is RunState.FAILED
    assert stage.play(failing, number=1).status is RunState.FAILED

    assert calls["fails"] == 2


def test_step_that_succeeds_at_last_is_cached(stage: Stage) -> None:
    assert stage.play(trying, number=1).result() == 1
    assert stage.play(trying, number=1).result() == 1

    assert calls["unsure"] == 2


def test_attempt_that_dies_before_it_is_recorded_is_not_run_again(stage: Stage) -> None:
    played = stage.submit(doubled, {"number": 7})

    class Gone(Interrupt):
        pass

    def die(point: FaultPoint) -> None:
        if point is FaultPoint.BEFORE_COMPLETE:
            raise Gone

    with injected(die), pytest.raises(Gone):
        stage.dispatcher.run(stage.engine)
    with stage.records.engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE flow_step_runs SET lease_expires_at = '2020-01-01 00:00:00.000000' "
            "WHERE lease_token IS NOT NULL"
        )
    stage.sweep()
    stage.dispatcher.run(stage.engine)

    assert played.result() == 14
    assert calls["double 7"] == 1


# --- large results -------------------------------------------------------------------------------


#: An age that all has: also what has ended in this millisecond.
AT_ONCE = timedelta(seconds=-1)


@pytest.fixture
def large(stage: Stage, records: SqlRecords) -> Stage:
    """A stage whose results all go to the object store, and whose runs are old at once."""
    policies = Policies(retention=AT_ONCE, orphans_after=AT_ONCE)
    return Stage.on(records, threshold=0, policies=policies)


def stored(stage: Stage) -> int:
    return sum(len(page) for page in stage.engine.results.objects.list("results"))


def test_large_result_is_taken_by_reference(large: Stage) -> None:
    first, second = (large.play(doubled, number=4) for _ in range(2))

    assert (8, 8) == (first.result(), second.result())
    assert stored(large) == 1


def test_object_outlives_the_run_that_made_it_and_the_entry(large: Stage) -> None:
    """It is deleted with the last that names it: run, entry, or run that has taken it."""
    large.play(doubled, number=4)
    collect(large.engine)
    assert stored(large) == 1, "the entry names it"

    second = large.play(doubled, number=4)
    assert second.step("double").hits == 1
    object.__setattr__(large.engine, "policies", Policies(orphans_after=AT_ONCE))
    with large.records.engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE flow_cached_results SET expires_at = '2020-01-01 00:00:00.000000'"
        )
    collect(large.engine)
    assert stored(large) == 1, "the second run names it"
    assert second.result() == 8

    policies = Policies(retention=AT_ONCE, orphans_after=AT_ONCE)
    object.__setattr__(large.engine, "policies", policies)
    collect(large.engine)
    assert stored(large) == 0


def test_entry_whose_object_is_gone_is_a_miss(large: Stage) -> None:
    large.play(doubled, number=4)
    for page in list(large.engine.results.objects.list("results")):
        large.engine.results.objects.delete([one.key for one in page])

    object.__setattr__(large.engine, "policies", Policies())
    with large.records.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM flow_runs")
    assert large.play(doubled, number=4).result() == 8
    assert calls["double 4"] == 2


def test_small_result_outlives_the_run_that_made_it(stage: Stage, records: SqlRecords) -> None:
    stage.play(doubled, number=4)
    with records.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM flow_runs")

    assert Stage.on(records).play(doubled, number=4).result() == 8
    assert calls["double 4"] == 1
    assert_invariants(records)


# --- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        0,
        -1,
        timedelta(0),
        timedelta(days=9999),
        "1h",
        Cache(key="url"),  # type: ignore[arg-type]
        Cache(version=""),
    ],
)
def test_cache_that_makes_no_sense_is_refused_where_it_is_written(value: Any) -> None:
    with pytest.raises(errors.InvalidFlow, match=r"cache.*test_caching\.py"):

        @step(cache=value)
        def never() -> None: ...


def test_key_function_belongs_to_the_step(stage: Stage) -> None:
    with pytest.raises(errors.InvalidFlow, match="key function"):
        double.options(cache=Cache(key=lambda number: number))


def test_key_function_that_fails_fails_the_step(stage: Stage) -> None:
    @step(name="tests.bad_key", cache=Cache(key=lambda number: 1 / number))
    def bad_key(number: int) -> int:
        return number

    @flow(name="bad_keys")
    def bad_keys(number: int) -> Any:
        return bad_key(number)

    played = stage.play(bad_keys, number=0)

    assert played.status is RunState.FAILED
    assert "division by zero" in played.error


@step(cache=Cache(key=lambda name: [SecretStr(name)]))
def by_secret(name: str) -> str:
    return name


@flow
def secretly(name: str) -> str:
    return by_secret(name)


def test_secrets_are_no_keys_since_all_of_them_look_the_same(stage: Stage) -> None:
    played = stage.play(secretly, name="ada")

    assert "does not distinguish values: it is a SecretStr" in played.error
