"""Row-wise steps, run by the real engine: modes, geometries, strategies, failures, tables."""

import time
from collections.abc import Sequence
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from flowq import bootstrap
from flowq.core.states import StepState
from flowq.engine.model.rows import StepView
from flowq.workflows import RuntimeContext, WorkflowResult, WorkflowRunner, step_type
from flowq.workflows.steps.rows import parts
from tests.tools.playing import Played, Stage
from tests.tools.waiting import wait_until
from tests.tools.workflows.samples import document, play

NAMES = ["pen", "ink", "book", "map", "cup"]


def define() -> None:
    @step_type("names", inputs=[])
    def names() -> list[str]:
        return NAMES

    @step_type("price", execution_mode="row_iterative")
    def price(article: str, factor: float = 1.0) -> float:
        return len(article) * factor


def nodes(stage: Stage, result: WorkflowResult) -> dict[str, StepView]:
    view = stage.records.autocommit(lambda tx: tx.runs.view(result.run_id))
    assert view is not None
    return {step.key: step for step in view.steps}


@pytest.mark.parametrize(
    "strategy, items, own",
    [
        (None, 5, []),
        ({"workers": 4}, 4, ["p::parts", "p::joined"]),
        ("distribute across 4 workers", 4, ["p::parts", "p::joined"]),
        ({"workers": 99}, 5, ["p::parts", "p::joined"]),
        ("single container", 1, ["p::parts", "p::joined"]),
        ("distributed", 5, []),
        ("iterative", 5, []),
    ],
)
def test_the_prices_of_the_manual(
    stage: Stage, strategy: Any, items: int, own: Sequence[str]
) -> None:
    define()
    step: dict[str, Any] = {
        "id": "p",
        "type_slug": "price",
        "inputs": {"article": "names"},
        "config": {"factor": 2.0},
    }
    if strategy is not None:
        step["execution_strategy"] = strategy
    result = play(stage, document({"id": "names"}, step))

    assert [6.0, 6.0, 8.0, 6.0, 6.0] == result.value("p")
    found = nodes(stage, result)
    assert {"names", "p", *own} == set(found)
    assert items == found["p"].map_size
    assert ["completed", "completed"] == [one.status for one in result.steps]


@pytest.mark.parametrize(
    "size, workers, ends",
    [(5, 4, [2, 3, 4, 5]), (4, 4, [1, 2, 3, 4]), (2, 4, [1, 2]), (0, 4, []), (7, 1, [7])],
)
def test_parts_are_contiguous_and_alike(size: int, workers: int, ends: list[int]) -> None:
    found = parts(list(range(size)), workers)
    assert ends == [end for _, end in found]
    assert [0, *ends[:-1]][: len(ends)] == [first for first, _ in found]


@pytest.mark.parametrize("strategy, most", [("iterative", {1}), (None, {1, 2, 3, 4})])
def test_one_after_the_other_never_overlaps(stage: Stage, strategy: Any, most: set[int]) -> None:
    """Also with four workers; without the strategy the same rows do overlap."""
    running: set[int] = set()
    seen: set[int] = set()

    @step_type("watch", execution_mode="row_iterative")
    def watch(value: int) -> int:
        running.add(value)
        seen.add(len(running))
        if strategy is None:
            wait_until(lambda: seen != {1}, what="another row runs")
        else:
            time.sleep(0.02)  # the work of a row
        running.remove(value)
        return value

    workflow = document({"id": "watch", "execution_strategy": strategy})
    runner = WorkflowRunner(RuntimeContext(engine=stage.engine))
    run = runner.enqueue(workflow, {"value": [3, 1, 2, 5, 4, 6]})
    stage.run_in_threads(Played(stage, run.id, None), 4)  # type: ignore[arg-type]
    assert [3, 1, 2, 5, 4, 6] == WorkflowResult.of(run, engine=stage.engine).value("watch")
    assert seen <= most
    assert (strategy == "iterative") == (seen == {1})


def define_geometries() -> None:
    @step_type("as_is")
    def as_is(value: Any) -> Any:
        return value

    @step_type("split", geometry="expand")
    def split(text: str) -> list[str]:
        return text.split()

    @step_type("long", geometry="filter")
    def long(text: str, least: int = 4) -> bool:
        if text == "bad":
            raise ValueError("no")
        return len(text) >= least

    @step_type("upper", geometry="apply", execution_mode="row_iterative")
    def upper(text: str) -> str:
        return text.upper()

    @step_type("total", geometry="reduce")
    def total(values: list[str]) -> int:
        return sum(map(len, values))

    @step_type("order", geometry="vectorize")
    def order(values: list[str], lose: int = 0) -> list[str]:
        return sorted(values)[lose:]


@pytest.mark.parametrize("strategy", [None, {"workers": 2}])
@pytest.mark.parametrize(
    "slug, given, value",
    [
        ("split", ["a b", "", "c"], ["a", "b", "c"]),
        ("split", [], []),
        ("long", ["pen", "book", "door"], ["book", "door"]),
        ("upper", ["a", "b"], ["A", "B"]),
        ("upper", [], []),
    ],
)
def test_each_row_has_a_geometry(
    stage: Stage, slug: str, given: Any, value: Any, strategy: Any
) -> None:
    """Whether the value is known to be a list, or is that of a step without an annotation."""
    define_geometries()
    for steps in ([], [{"id": "as_is"}]):
        step = {"id": slug, "execution_strategy": strategy}
        result = play(stage, document(*steps, step), {"value": given})
        assert value == result.value(slug)


def test_all_rows_have_a_geometry(stage: Stage) -> None:
    define_geometries()
    steps = [{"id": "order"}, {"id": "total"}]
    result = play(stage, document(*steps), {"values": ["book", "a"]})
    assert (["a", "book"], 5) == (result.value("order"), result.value("total"))

    short = document({"id": "order", "config": {"lose": 1}})
    lost = play(stage, short, {"values": ["book", "a"]}).steps[0].error or ""
    assert "geometry vectorize: 2 rows were given, 1 came back" in lost


def test_a_step_may_have_another_mode_than_its_type(stage: Stage) -> None:
    define_geometries()
    by_row = document({"id": "as_is", "execution_mode": "row_iterative"})
    result = play(stage, by_row, {"value": [1, 2]})
    assert [1, 2] == result.value("as_is")
    assert 2 == nodes(stage, result)["as_is"].map_size

    kept = document({"id": "as_is", "geometry": "filter"})
    assert [1, 2] == play(stage, kept, {"value": [1, 0, 2]}).value("as_is")


@pytest.mark.parametrize("value", ["a text", {"a": 1}, None, 7])
@pytest.mark.parametrize("strategy", [None, {"workers": 2}])
def test_what_has_no_rows_fails_clearly(stage: Stage, value: Any, strategy: Any) -> None:
    define_geometries()
    result = play(stage, document({"id": "upper", "execution_strategy": strategy}), {"x": value})

    assert "failed" == result.status
    assert "a row-wise step is given a" in (result.steps[0].error or "")
    assert "not a list or a table" in (result.steps[0].error or "")


@pytest.mark.parametrize("strategy", [None, {"workers": 2}])
def test_failed_rows_are_collected(stage: Stage, strategy: Any) -> None:
    define_geometries()
    step = {"id": "long", "on_error": "collect", "execution_strategy": strategy}
    result = play(stage, document(step), {"rows": ["book", "bad", "a", "door"]})

    failed = [{"index": 1, "error": "ValueError: no"}]
    assert {"ok": ["book", "door"], "failed": failed} == result.value("long")
    assert "completed" == result.status


@pytest.mark.parametrize("strategy", [None, {"workers": 2}])
@pytest.mark.parametrize("on_error", ["stop", "fail_fast", "continue"])
def test_a_failed_row_fails_its_step(stage: Stage, strategy: Any, on_error: str) -> None:
    define_geometries()
    step = {"id": "long", "on_error": on_error, "execution_strategy": strategy}
    after = {"id": "as_is", "type_slug": "as_is"}
    result = play(stage, document(step, after), {"rows": ["book", "a", "bad"]})

    assert "failed" == result.status
    goes_on = "completed" if on_error == "continue" else "pending"
    assert ["failed", goes_on] == [one.status for one in result.steps]
    assert (result.steps[0].error or "").startswith("ValueError: no (")
    assert 'raise ValueError("no")' in (result.steps[0].traceback or "")
    if on_error == "continue":
        assert "StepError" in str(result.value("as_is"))


FRAMES: dict[str, Any] = {
    "pandas": pd.DataFrame,
    "polars": pl.DataFrame,
    "pyarrow": pa.Table.from_pylist,
}


def as_list(frame: Any) -> list[Any]:
    if isinstance(frame, pd.DataFrame):
        return list(frame.to_dict(orient="records"))
    return list(frame.to_dicts() if isinstance(frame, pl.DataFrame) else frame.to_pylist())


@pytest.mark.parametrize("strategy", [None, {"workers": 2}])
@pytest.mark.parametrize("library", FRAMES)
def test_rows_of_a_table_are_mappings_and_come_back_as_one(
    stage: Stage, library: str, strategy: Any
) -> None:
    @step_type("double", execution_mode="row_iterative")
    def double(row: dict[str, Any]) -> dict[str, Any]:
        return {**row, "n": row["n"] * 2}

    @step_type("even", geometry="filter")
    def even(row: dict[str, Any]) -> bool:
        return bool(row["n"] % 4 == 0)

    @step_type("name", execution_mode="row_iterative")
    def name(row: dict[str, Any]) -> str:
        return str(row["name"])

    frame = FRAMES[library]([{"name": one, "n": at} for at, one in enumerate(NAMES)])
    steps = [{"id": one, "execution_strategy": strategy} for one in ("double", "even", "name")]
    result = play(stage, document(*steps), {"row": frame})

    assert "completed" == result.status, result.steps
    doubled, kept = result.value("double"), result.value("even")
    assert type(frame) is type(doubled) is type(kept)
    assert [0, 2, 4, 6, 8] == [row["n"] for row in as_list(doubled)]
    assert [("pen", 0), ("book", 4), ("cup", 8)] == [
        (row["name"], row["n"]) for row in as_list(kept)
    ]
    assert ["pen", "book", "cup"] == result.value("name")


def test_async_functions_run_by_rows(stage: Stage) -> None:
    @step_type("twice", execution_mode="row_iterative")
    async def twice(value: int) -> int:
        if value == 3:
            raise ValueError("no")
        return 2 * value

    step = {"id": "twice", "execution_strategy": "2 workers", "on_error": "collect"}
    result = play(stage, document(step), {"value": [1, 2, 3]})
    assert {"ok": [2, 4], "failed": [{"index": 2, "error": "ValueError: no"}]} == (
        result.value("twice")
    )


def test_what_a_step_needs_chooses_its_queue(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    define()

    @step_type("train", metadata={"requires_gpu": True})
    def train(value: list[str]) -> list[str]:
        return value

    assert bootstrap.settings().strategy_queues == {}
    monkeypatch.setenv("FLOWQ_STRATEGY_QUEUES", '{"gpu": "cards"}')
    bootstrap.settings.cache_clear()
    steps: list[dict[str, Any]] = [
        {"id": "train"},
        {"id": "a", "type_slug": "train", "resources": {"cpu": 4}},
        {"id": "b", "type_slug": "price", "inputs": {"article": "a"}, "resources": "gpu"},
        {"id": "c", "type_slug": "price", "inputs": {"article": "a"}, "resources": ["disk"]},
    ]
    result = play(stage, document(*steps), {"value": NAMES})
    bootstrap.settings.cache_clear()
    spec = stage.engine.definitions.get(result.run_id).definition.spec
    queues = {step.key: step.queue for step in spec.steps if "::" not in step.key}
    assert {"train": "cards", "a": "cards", "b": "cards", "c": None} == queues
    assert StepState.FAILED not in {step.status for step in nodes(stage, result).values()}
