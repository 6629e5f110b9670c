"""What flows say about data, run by the real engine: arguments, paths, maps, child flows, order."""

from datetime import UTC, date, datetime
from typing import Any

import pytest
from pydantic import BaseModel

from flowq import errors, flow, step
from flowq.core.states import RunState, StepState
from flowq.engine.engine import Policies
from tests.tools.playing import Stage

COMPLETED, FAILED, CANCELLED = StepState.COMPLETED, StepState.FAILED, StepState.CANCELLED


class Author(BaseModel):
    name: str
    born: date


class Page(BaseModel):
    title: str
    author: Author
    tags: list[str] = []


@step
def fetch(title: str) -> Page:
    author = Author(name="Ada", born=date(1815, 12, 10))
    return Page(title=title, author=author, tags=["a", "b", "c"])


@step
def echo(value: Any) -> Any:
    return value


@step
def add(left: int, right: int = 100) -> int:
    return left + right


@step
def total(values: list[int]) -> int:
    return sum(values)


@step
def numbers(count: int) -> list[int]:
    return list(range(count))


@step
def double(number: int) -> int:
    return 2 * number


@step
def scaled(factor: int, number: int, *, shift: int = 0) -> int:
    return factor * number + shift


@step
def upto(number: int) -> list[int]:
    return list(range(number))


@step
def born(author: Author) -> int:
    assert isinstance(author, Author)
    return author.born.year


@flow
def paths(title: str) -> dict[str, Any]:
    page = fetch(title)
    return {
        "title": page.title,
        "year": born(page.author),
        "tag": echo(page.tags[1]),
        "last": echo(page["tags"][-1]),  # type: ignore[index]
        "whole": page,
    }


def test_paths_lead_into_results(stage: Stage) -> None:
    result = stage.play(paths, title="On engines").result()

    assert (result["title"], result["year"], result["tag"]) == ("On engines", 1815, "b")
    assert result["last"] == "c"
    assert result["whole"]["author"] == {"name": "Ada", "born": "1815-12-10"}


@flow
def wrong_path() -> Any:
    return echo(fetch("x").subtitle)  # type: ignore[attr-defined]


def test_path_that_leads_nowhere_fails_the_step_and_says_what_there_is(stage: Stage) -> None:
    played = stage.play(wrong_path)

    assert played.status is RunState.FAILED
    assert "fetch.subtitle cannot be read: no 'subtitle'" in played.error
    assert "title" in played.error


@flow
def nested_arguments(n: int) -> Any:
    one = double(n)
    return echo(
        {"list": [one, 7, {"deep": one}], "when": datetime(2026, 1, 2, tzinfo=UTC), "$ref": 1}
    )


@flow
def nested_data(n: int) -> Any:
    one = double(n)
    return echo({"list": [one, 7, {"deep": one}], "when": datetime(2026, 1, 2, tzinfo=UTC)})


def test_refs_may_be_inside_lists_and_dicts(stage: Stage) -> None:
    assert stage.play(nested_data, n=4).result() == {
        "list": [8, 7, {"deep": 8}],
        "when": "2026-01-02T00:00:00Z",
    }


@flow
def look_alikes() -> Any:
    return [echo({"$ref": "text"}), echo({"$op": ">", "args": []}), echo([{"$literal": 1}])]


def test_data_that_looks_like_a_reference_stays_data(stage: Stage) -> None:
    assert stage.play(look_alikes).result() == [
        {"$ref": "text"},
        {"$op": ">", "args": []},
        [{"$literal": 1}],
    ]


@flow
def look_alike_items() -> Any:
    items = echo(
        [{"$ref": "text"}, {"$op": "x"}, {"$literal": {"$ref": "y"}}, {"a": {"$ref": "z"}}]
    )
    return echo.map(items)


def test_items_that_look_like_references_stay_data(stage: Stage) -> None:
    assert stage.play(look_alike_items).result() == [
        {"$ref": "text"},
        {"$op": "x"},
        {"$literal": {"$ref": "y"}},
        {"a": {"$ref": "z"}},
    ]


@flow
def ways_to_call(n: int) -> list[int]:
    return [add(n), add(n, 1), add(left=n, right=2), add(right=double(n), left=n)]


def test_arguments_are_given_by_place_name_or_default(stage: Stage) -> None:
    assert stage.play(ways_to_call, n=5).result() == [105, 6, 7, 15]


@step
def collect(first: int, /, *rest: int, **named: int) -> list[int]:
    return [first, *rest, *named.values()]


@flow
def variadic() -> Any:
    return collect(1, double(1), 3, x=4, y=double(5))


def test_star_arguments_reach_the_step(stage: Stage) -> None:
    assert stage.play(variadic).result() == [1, 2, 3, 4, 10]


@flow
def constant(n: int) -> Any:
    return {"n": n, "at": date(2026, 1, 1), "list": [1, 2]}


def test_flow_without_steps_completes_at_once(stage: Stage) -> None:
    played = stage.play(constant, n=3)

    assert played.result() == {"n": 3, "at": "2026-01-01", "list": [1, 2]}
    assert played.view.total == 0


# --- maps ----------------------------------------------------------------------------------------


@flow
def mapped_list(n: int) -> int:
    return total(double.map(list(range(n))))


@flow
def mapped_ref(n: int) -> int:
    return total(double.map(numbers(n)))


@pytest.mark.parametrize("count", [0, 1, 2, 7])
@pytest.mark.parametrize("which", [mapped_list, mapped_ref], ids=["list", "ref"])
def test_map_over_any_number_of_items(stage: Stage, which: Any, count: int) -> None:
    played = stage.play(which, n=count)

    assert played.result() == sum(2 * i for i in range(count))
    node = played.step("double")
    assert (node.status, node.map_size, node.total) == (COMPLETED, count, count)


@flow
def map_of_map(n: int) -> list[int]:
    return double.map(double.map(double.map(numbers(n))))


@pytest.mark.parametrize("count", [0, 1, 5])
def test_map_over_the_result_of_a_map(stage: Stage, count: int) -> None:
    played = stage.play(map_of_map, n=count)

    assert played.result() == [8 * i for i in range(count)]
    assert played.view.total == 3 * count + 1


@flow
def map_of_lists(n: int) -> list[int]:
    return total.map(upto.map(numbers(n)))


def test_items_of_a_nested_map_may_be_lists(stage: Stage) -> None:
    assert stage.play(map_of_lists, n=4).result() == [0, 0, 1, 3]


@flow
def map_item_path() -> Any:
    pages = fetch.map(["x", "y", "z"])
    return {
        "one": echo(pages[1].title),
        "last": pages[-1].title,
        "tags": echo.map(pages[2].tags),
        "out": pages[0].author.name,
    }


def test_one_item_of_a_map_is_reached_by_its_index(stage: Stage) -> None:
    assert stage.play(map_item_path).result() == {
        "one": "y",
        "last": "z",
        "tags": ["a", "b", "c"],
        "out": "Ada",
    }


@flow
def map_item_missing() -> Any:
    return echo(double.map([1, 2])[5])


def test_index_beyond_a_map_fails_with_its_size(stage: Stage) -> None:
    played = stage.play(map_item_missing)

    assert played.status is RunState.FAILED
    assert "double[5]" in played.error
    assert "2" in played.error


@flow
def constants_beside(n: int) -> list[int]:
    return scaled.map(numbers(n), factor=double(5), shift=1)


def test_constants_and_refs_may_be_beside_the_mapped_argument(stage: Stage) -> None:
    assert stage.play(constants_beside, n=3).result() == [1, 11, 21]


@flow
def refs_in_the_list(n: int) -> list[int]:
    return double.map([double(n), 5, double(n + 1)])


def test_mapped_list_may_hold_refs(stage: Stage) -> None:
    assert stage.play(refs_in_the_list, n=1).result() == [4, 10, 8]


@flow
def map_over_path() -> Any:
    return echo.map(fetch("x").tags)


def test_map_over_a_part_of_a_result(stage: Stage) -> None:
    assert stage.play(map_over_path).result() == ["a", "b", "c"]


@flow
def map_over_text() -> Any:
    return echo.map(fetch("x").title)


def test_map_over_what_is_no_list_fails_with_its_type(stage: Stage) -> None:
    played = stage.play(map_over_text)

    assert played.status is RunState.FAILED
    assert "echo maps over fetch.title, which is str, not a list" in played.error
    assert played.states() == {"fetch": COMPLETED, "echo": FAILED}


@step
def large_items(count: int) -> list[str]:
    return [str(i) * 10_000 for i in range(count)]


@step
def size(text: str) -> int:
    return len(text)


@flow
def map_over_large(n: int) -> Any:
    return size.map(large_items(n))


def test_large_items_and_results_pass_by_reference(records: Any) -> None:
    stage = Stage.on(records, threshold=1000)

    played = stage.play(map_over_large, n=3)

    assert played.result() == [10_000] * 3
    rows = records.autocommit(lambda tx: tx.steps.by_flow_run_id(played.id))
    assert [row.inputs for row in rows if row.map_index is not None] == [
        {"text": {"$ref": "large_items", "path": [i]}} for i in range(3)
    ]


@step
def weird() -> list[Any]:
    return [float("nan"), float("inf"), "\0", "ünï\u2028", 2**70, None, {"k\0": 1}]


@flow
def weird_items() -> Any:
    found = weird()
    return {"whole": echo(found), "mapped": echo.map(found)}


def test_strange_values_come_through_as_arguments_and_as_items(stage: Stage) -> None:
    result = stage.play(weird_items).result()

    for found in (result["whole"], result["mapped"]):
        assert found[2:] == ["\0", "ünï\u2028", 2**70, None, {"k\0": 1}]


# --- order ---------------------------------------------------------------------------------------

_log: list[str] = []


@step
def note(text: str) -> str:
    _log.append(text)
    return text


@flow
def ordered() -> None:
    first = note.options(key="first")("first")
    second = note.options(key="second", after=first)("second")
    note.options(key="third", after=[first, second])("third")


@pytest.mark.parametrize("seed", range(5))
def test_after_gives_order_without_data(records: Any, seed: int) -> None:
    _log.clear()

    played = Stage.on(records, seed=seed).play(ordered)

    assert played.result() is None
    assert _log == ["first", "second", "third"]


@flow
def after_map() -> None:
    items = note.map(["a", "b", "c"])
    note.options(key="last", after=items)("z")


@pytest.mark.parametrize("seed", range(5))
def test_after_a_map_waits_for_all_its_items(records: Any, seed: int) -> None:
    _log.clear()

    Stage.on(records, seed=seed).play(after_map)

    assert sorted(_log) == ["a", "b", "c", "z"]
    assert _log[-1] == "z"


# --- child flows ---------------------------------------------------------------------------------


@flow
def child(n: int) -> int:
    return double(double(n))


@flow
def parent(n: int) -> int:
    return add(child(n), child.options(key="again")(n=double(n)))


def test_child_flow_is_a_run_of_its_own(stage: Stage) -> None:
    played = stage.play(parent, n=1)

    assert played.result() == 12
    assert played.states()["child"] is COMPLETED


@flow
def structured_child(n: int) -> dict[str, Any]:
    return {"pages": [fetch("t"), double(n)], "n": n}


@flow
def structured_parent(n: int) -> Any:
    made = structured_child(n)
    return {"title": echo(made["pages"][0]["title"]), "double": made["pages"][1], "all": made}


def test_child_flow_returns_structure(stage: Stage) -> None:
    result = stage.play(structured_parent, n=21).result()

    assert (result["title"], result["double"]) == ("t", 42)
    assert result["all"]["n"] == 21


@flow
def grandparent(n: int) -> int:
    return double(parent(n))


def test_child_flows_nest(stage: Stage) -> None:
    assert stage.play(grandparent, n=1).result() == 24


@flow
def mapping_parent(n: int) -> int:
    return total(child.map(numbers(n)))


@pytest.mark.parametrize("count", [0, 1, 4])
@pytest.mark.parametrize("seed", [None, 1])
def test_child_flows_are_mapped(records: Any, count: int, seed: int | None) -> None:
    played = Stage.on(records, seed=seed).play(mapping_parent, n=count)

    assert played.result() == sum(4 * i for i in range(count))


@flow
def mapping_child(n: int) -> list[int]:
    return double.map(numbers(n))


@flow
def parent_of_mapping_child(n: int) -> list[int]:
    return double.map(mapping_child(n))


def test_child_flow_may_return_what_a_map_made(stage: Stage) -> None:
    assert stage.play(parent_of_mapping_child, n=3).result() == [0, 4, 8]


@flow
def empty_child() -> None:
    return None


@flow
def parent_of_empty() -> Any:
    return echo({"got": empty_child()})


def test_child_flow_without_steps_ends_its_parents_step(stage: Stage) -> None:
    assert stage.play(parent_of_empty).result() == {"got": None}


@flow
def failing_child(n: int) -> int:
    return double(wrong(n))


@step
def wrong(n: int) -> int:
    raise ValueError(f"cannot do {n}")


@flow
def parent_of_failing(n: int) -> int:
    return double(failing_child(n))


def test_failing_child_fails_its_parent_with_the_cause(stage: Stage) -> None:
    played = stage.play(parent_of_failing, n=3)

    assert played.status is RunState.FAILED
    assert "failing_child" in played.error
    assert "cannot do 3" in played.error
    assert played.states() == {"failing_child": FAILED, "double": CANCELLED}


@flow
def parent_that_allows(n: int) -> Any:
    return echo(failing_child.options(allow_failure=True)(n))


def test_child_that_may_fail_leaves_a_failure(stage: Stage) -> None:
    result = stage.play(parent_that_allows, n=3).result()

    assert result["error"] == "RunFailed"
    assert "cannot do 3" in result["message"]


@flow
def refused_parent() -> Any:
    return child(echo("no number"))


def test_child_with_a_wrong_input_fails_the_step(stage: Stage) -> None:
    played = stage.play(refused_parent)

    assert played.status is RunState.FAILED
    assert "n: expected" in played.error


@flow
def beside_failing_child(n: int) -> Any:
    failing_child(n)
    one = echo.options(key="one")(1)
    two = echo.options(key="two")(one)
    return echo.options(key="three")(two)


def test_failed_child_stops_a_run_that_fails_fast(stage: Stage) -> None:
    # The child's steps are sent last, so the others would all run if nothing stopped them.
    played = stage.submit(beside_failing_child, {"n": 1})
    dispatcher, engine = stage.dispatcher, stage.engine
    one = next(d for d in dispatcher.waiting if d.message and d.message.label == "one")
    dispatcher._ready.remove(one)
    dispatcher.run(engine)
    dispatcher.deliver(engine, one)
    dispatcher.run(engine)

    assert played.status is RunState.FAILED
    assert played.states()["two"] is CANCELLED


# --- options and refusals ------------------------------------------------------------------------


def test_inputs_of_the_wrong_type_are_refused_and_nothing_is_recorded(stage: Stage) -> None:
    before = stage.records.autocommit(lambda tx: len(tx.runs.newest(limit=1000)))

    with pytest.raises(errors.InvalidInput, match="n: expected"):
        stage.submit(child, {"n": "many"})
    with pytest.raises(errors.InvalidInput, match="n: expected"):
        stage.submit(child, {})
    with pytest.raises(errors.InvalidInput, match="m: unknown input"):
        stage.submit(child, {"n": 1, "m": 2})

    assert stage.records.autocommit(lambda tx: len(tx.runs.newest(limit=1000))) == before


def test_inputs_over_the_limit_are_refused_with_the_sizes(records: Any) -> None:
    stage = Stage.on(records, policies=Policies(input_limit_bytes=20))

    with pytest.raises(errors.InvalidInput, match="limit is 20") as refused:
        stage.submit(paths, {"title": "ü" * 20})

    assert "FLOWQ_INPUT_LIMIT_BYTES" in str(refused.value)
    assert stage.play(paths, title="short").status is RunState.COMPLETED


@step
def promises() -> Page:
    return {"title": 3}  # type: ignore[return-value]


@flow
def broken_promise() -> Any:
    return promises.options(retries=3)()


def test_output_that_its_annotation_forbids_fails_once_with_the_place(stage: Stage) -> None:
    played = stage.play(broken_promise)

    assert played.status is RunState.FAILED
    step_ = played.step("promises")
    assert (step_.attempts, step_.error_type) == (1, "InvalidOutput")
    assert "title: expected" in played.error
    assert "author: expected" in played.error


@step
def opaque() -> Any:
    return object()


@flow
def not_serializable() -> Any:
    return opaque.options(retries=3)()


def test_output_that_cannot_be_stored_fails_once(stage: Stage) -> None:
    played = stage.play(not_serializable)

    assert played.status is RunState.FAILED
    assert (played.step("opaque").attempts, played.step("opaque").error_type) == (
        1,
        "NotSerializable",
    )


@flow
def wrong_argument() -> Any:
    return double.options(retries=3, key="typed")(echo("x"))


def test_argument_of_the_wrong_type_fails_once_with_the_place(stage: Stage) -> None:
    played = stage.play(wrong_argument)

    assert played.status is RunState.FAILED
    assert "typed(number)" in played.error
    assert played.step("typed").attempts == 1


@step
def who() -> dict[str, Any]:
    here = step.context()
    here.logger.info("from a step")
    return {
        "run": str(here.run_id),
        "step": str(here.step_id),
        "key": here.key,
        "attempt": here.attempt,
        "idempotency": here.idempotency_key,
    }


@step
async def who_async(item: int) -> dict[str, Any]:
    here = step.context()
    return {"run": str(here.run_id), "key": here.key, "index": here.index, "attempt": here.attempt}


@flow
def contexts() -> Any:
    return {"sync": who(), "async": who_async.map([7, 8])}


def test_context_names_the_attempt(stage: Stage) -> None:
    played = stage.play(contexts)
    result = played.result()

    run = str(played.id)
    sync = result["sync"]
    assert (sync["run"], sync["key"], sync["attempt"]) == (run, "who", 1)
    assert sync["idempotency"] == f"flowq-{sync['step']}"
    assert result["async"] == [
        {"run": run, "key": "who_async", "index": index, "attempt": 1} for index in range(2)
    ]


def test_context_outside_a_step_says_so() -> None:
    with pytest.raises(errors.FlowqError, match="outside a step"):
        step.context()


@flow
def long_key() -> Any:
    return echo.options(key="k" * 300)(1)


def test_key_too_long_for_its_column_is_refused_by_name(stage: Stage) -> None:
    with pytest.raises(errors.InvalidFlow, match="kkk"):
        stage.submit(long_key, {})
