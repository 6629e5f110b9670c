"""What has failed in one map is passed on by the next: in graphs, programs and plain Python."""

# A `def` step is typed as what it returns; a program awaits it all the same.
# mypy: disable-error-code="misc, no-any-return, arg-type"

import asyncio
import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from pydantic import BaseModel

from flowq import Flow, NewsStep, StepFailure, errors, flow, step
from flowq.core.states import RunState, StepState
from flowq.engine.advance.passed_failures import HINT
from tests.integration.engine.test_flows_failures import check_closed
from tests.tools.llm_steps import Summarise
from tests.tools.playing import Stage

URLS = [f"https://{number}" for number in range(10)]
BAD = ["https://3", "https://7"]


class Loose(BaseModel):
    """Takes any data at all."""

    title: str = "none"


@step
def fetch(url: str, bad: list[str]) -> str:
    if url in bad:
        raise ConnectionError(f"no answer from {url}")
    return f"page of {url}"


@step
def parse(page: str) -> int:
    return len(page)


@step
def parse_model(page: Loose) -> str:
    return page.title


@step
def name_kind(page: str | StepFailure) -> str:
    return f"failed: {page.item}" if isinstance(page, StepFailure) else "read"


@step
def name_any(page: Any) -> str:
    return f"failed: {page.item}" if isinstance(page, StepFailure) else "read"


@step
def name_bare(page):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - that is the case
    return f"failed: {page.item}" if isinstance(page, StepFailure) else "read"


@step
def double(size: int) -> int:
    return size * 2


@step
def gather(found: Sequence[Any]) -> list[str]:
    """Name each result; of a failure all that it has."""
    return [
        f"{re.sub(r'#[0-9.]+', '', one.place)} {one.item} {one.error}: {one.message}"
        if isinstance(one, StepFailure)
        else str(one)
        for one in found
    ]


@flow
def child(page: str) -> int:
    return parse(page)


@flow
def kind_of_child(page: str | StepFailure) -> str:
    return name_kind(page)


@flow
def graph(bad: list[str], tolerate: int | None = 2) -> list[str]:
    pages = fetch.map(URLS, bad=bad, tolerate="20%")
    return gather(parse.map(pages, tolerate=tolerate))


@flow
async def program(bad: list[str], tolerate: int | None = 2) -> list[str]:
    pages = await fetch.map(URLS, bad=bad, tolerate="20%")
    return await gather(await parse.map(pages, tolerate=tolerate))


def over(consumer: Any) -> tuple[Flow[..., Any], Flow[..., Any]]:
    """Return a graph and a program that map a step over pages of which some are missing."""
    name = consumer.__name__

    @flow(name=f"graph_of_{name}")
    def as_graph() -> list[str]:
        return gather(consumer.map(fetch.map(URLS, bad=BAD, tolerate=2), tolerate=2))

    @flow(name=f"program_of_{name}")
    async def as_program() -> list[str]:
        pages = await fetch.map(URLS, bad=BAD, tolerate=2)
        return await gather(await consumer.map(pages, tolerate=2))

    return as_graph, as_program


@flow
def three_deep(bad: list[str]) -> list[str]:
    sizes = parse.map(fetch.map(URLS, bad=bad, tolerate=2), tolerate=2)
    return gather(double.map(sizes, tolerate=2))


@flow
def of_single_steps() -> list[str]:
    pages = [fetch.options(key=f"f{url[-1]}", allow_failure=True)(url, bad=BAD) for url in URLS]
    return gather(parse.map(pages, tolerate=2))


@step
def keep(pages: list[str | StepFailure]) -> list[str | StepFailure]:
    return pages


@flow
def through_a_step() -> list[str]:
    return gather(parse.map(keep(fetch.map(URLS, bad=BAD, tolerate=2)), tolerate=2))


FAILED = [f"fetch[{url[-1]}] {url} ConnectionError: no answer from {url}" for url in BAD]


def expected(value: Callable[[str], str]) -> list[str]:
    found = iter(FAILED)
    return [next(found) if url in BAD else value(url) for url in URLS]


PASSED = expected(lambda url: str(len(f"page of {url}")))
NAMED = [f"failed: {url}" if url in BAD else "read" for url in URLS]


@pytest.mark.parametrize("either", [graph, program], ids=["graph", "program"])
def test_failure_keeps_its_item_through_the_second_map(
    either: Flow[..., Any], stage: Stage
) -> None:
    played = stage.play(either, bad=BAD)

    assert played.result() == PASSED
    rows = played.stage.records.autocommit(lambda tx: tx.steps.by_flow_run_id(played.id))
    second = [row for row in rows if row.step_name.endswith("parse") and row.map_index is not None]
    failed = [row for row in second if row.status == StepState.FAILED]
    assert [(row.map_index, row.attempt, row.error_type) for row in failed] == [
        (3, 1, "ConnectionError"),
        (7, 1, "ConnectionError"),
    ]
    assert all("(passed on from fetch" in (row.error_message or "") for row in failed)
    check_closed(played)


@pytest.mark.parametrize("either", [graph, program], ids=["graph", "program"])
@pytest.mark.parametrize("tolerate", [None, 1])
def test_failures_that_are_passed_on_count_for_the_second_map(
    either: Flow[..., Any], tolerate: int | None, stage: Stage
) -> None:
    played = stage.play(either, bad=BAD, tolerate=tolerate)

    assert played.status is RunState.FAILED
    assert re.search(r"no answer from https://3 \(passed on from fetch(#1)?\[3\]\)", played.error)
    assert HINT in played.error


@pytest.mark.parametrize(
    "consumer, results",
    [
        (parse, PASSED),
        (parse_model, None),
        (name_kind, NAMED),
        (name_any, NAMED),
        (name_bare, NAMED),
        (child, PASSED),
        (kind_of_child, NAMED),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
@pytest.mark.parametrize("way", ["graph", "program", "plain"])
def test_step_is_called_with_failures_if_its_annotation_takes_them(
    consumer: Any, results: list[str] | None, way: str, stage: Stage
) -> None:
    as_graph, as_program = over(consumer)
    if way == "plain":
        if results is None:
            pytest.skip("plain Python checks no annotation of what has not failed")
        assert as_graph() == results
        assert asyncio.run(as_program()) == results
        return
    played = stage.play(as_graph if way == "graph" else as_program)

    if results is None:  # no page is a model, and none of the failures was taken for one
        assert played.status is RunState.FAILED
        assert "expected" in played.error
        return
    assert played.result() == results
    check_closed(played)


class Latest(NewsStep):
    """Takes failures, and reads no feed."""

    step_name = "tests_latest_pages"

    class Inputs(BaseModel):
        page: str | StepFailure


@pytest.mark.parametrize("way", ["graph", "program", "plain"])
def test_step_class_is_called_with_failures_if_its_inputs_take_them(way: str, stage: Stage) -> None:
    @flow
    def graph_of_classes() -> list[list[str]]:
        pages = fetch.map(BAD, bad=BAD, tolerate=2)
        refused = gather(Summarise().map(pages, tolerate=2))
        return lists(refused, gather(Latest().map(pages)))

    @flow
    async def program_of_classes() -> list[list[str]]:
        pages = await fetch.map(BAD, bad=BAD, tolerate=2)
        refused = await gather(await Summarise().map(pages, tolerate=2))
        return [refused, await gather(await Latest().map(pages))]

    if way == "plain":
        found = asyncio.run(program_of_classes())
    else:
        found = stage.play(graph_of_classes if way == "graph" else program_of_classes).result()

    refused, taken = found
    assert refused == [
        f"fetch[{index}] {url} ConnectionError: no answer from {url}"
        for index, url in enumerate(BAD)
    ]
    assert all("tests_latest_pages" in text for text in taken)


@step
def lists(*texts: list[str]) -> list[list[str]]:
    return list(texts)


@step
def loose_pages(n: int) -> list[Loose]:
    return [Loose(title=str(number)) for number in range(n)]


@step
def break_one(page: Loose) -> Loose:
    if page.title == "1":
        raise ValueError("broken")
    return page


@flow
def models_in_a_graph() -> list[str]:
    pages = break_one.map(loose_pages(3), tolerate=1)
    return gather(parse_model.map(pages, tolerate=1))


@flow
async def models_in_a_program() -> list[str]:
    pages = await break_one.map(await loose_pages(3), tolerate=1)
    return await gather(await parse_model.map(pages, tolerate=1))


@pytest.mark.parametrize("either", [models_in_a_graph, models_in_a_program])
def test_failure_does_not_become_a_model_that_any_data_fits(
    either: Flow[..., Any], stage: Stage
) -> None:
    found = stage.play(either).result()

    assert found[0::2] == ["0", "2"]
    assert found[1].startswith("break_one[1]")


@pytest.mark.parametrize("each", [three_deep, of_single_steps, through_a_step])
def test_failure_is_the_first_one_however_far_it_has_come(
    each: Flow[..., Any], stage: Stage
) -> None:
    inputs = {"bad": BAD} if each is three_deep else {}

    found = stage.play(each, **inputs).result()

    failed = [text for text in found if "ConnectionError" in text]
    assert len(failed) == 2
    assert all(" https://" in text or each is of_single_steps for text in failed)
    assert [text.split()[0] for text in failed] == (
        ["f3", "f7"] if each is of_single_steps else ["fetch[3]", "fetch[7]"]
    )


def test_plain_map_that_tolerates_too_few_raises_what_was_passed_on() -> None:
    with pytest.raises(errors.StepError, match=r"passed on from fetch\[3\].*no answer"):
        graph(bad=BAD, tolerate=None)
    with pytest.raises(errors.StepFailed, match=r"passed on from fetch\[3\].*no answer"):
        asyncio.run(program(bad=BAD, tolerate=None))


@step
def take(left: Any, right: str | StepFailure) -> str:
    return f"{type(left).__name__} {type(right).__name__}"


@flow
async def passes_one() -> str:
    failure = await fetch.options(allow_failure=True)("https://3", bad=BAD)
    return await take([failure], failure)


def test_program_passes_a_failure_as_what_it_is(stage: Stage) -> None:
    assert stage.play(passes_one).result() == "list StepFailure"
