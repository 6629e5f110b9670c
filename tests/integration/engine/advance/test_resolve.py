"""A step that takes the results of a whole map: read in pages, the same values as before."""

from typing import Any

import pytest

from flowq import StepFailure, flow, step
from flowq.adapters.records.database import SqlRecords
from flowq.adapters.records.steps.reads import StepReads
from flowq.core.states import RunState
from flowq.engine.advance import resolve
from tests.tools.playing import Stage

PAGE = 10


@step
def label(number: int) -> str | None:
    if number % 7 == 3:
        raise ValueError(f"no {number}")
    return None if number % 5 == 0 else f"{number}" * (1 + number % 3)


@step
def joined(texts: list[Any]) -> list[Any]:
    return [one.message if isinstance(one, StepFailure) else one for one in texts]


@step
def three(texts: list[Any], first: Any, last: Any) -> list[Any]:
    return [len(texts), first, last]


@flow
def collected(numbers: list[int]) -> list[Any]:
    return joined(label.options(tolerate="100%").map(numbers))


@flow
def parts(numbers: list[int]) -> list[Any]:
    texts = label.options(tolerate="100%").map(numbers)
    return three(texts, texts[1], texts[-1])


@flow
def beyond(numbers: list[int]) -> list[Any]:
    texts = label.options(tolerate="100%").map(numbers)
    return three(texts, texts[0], texts[99])


@step
def lengthened(one: Any, other: Any) -> list[int]:
    one.append("more")
    return [len(one), len(other)]


@flow
def twice_whole(numbers: list[int]) -> list[int]:
    texts = label.map(numbers)
    return lengthened(texts, texts)


def expected(number: int) -> str | None:
    if number % 7 == 3:
        return f"no {number}"
    return None if number % 5 == 0 else f"{number}" * (1 + number % 3)


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int | None]]:
    """Return the first index and the limit of each read of items."""
    read: list[tuple[int, int | None]] = []
    items = StepReads.items

    def look(self: Any, run_id: Any, key: str, first: int = 0, limit: int | None = None) -> Any:
        found = items(self, run_id, key, first, limit)
        assert limit is None or len(found) <= limit
        read.append((first, limit))
        return found

    monkeypatch.setattr(StepReads, "items", look)
    monkeypatch.setattr(resolve, "_PAGE", PAGE)
    return read


@pytest.mark.parametrize("threshold", [0, 1024 * 1024])
@pytest.mark.parametrize("size", [0, 1, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE + 2])
def test_join_reads_its_map_in_pages(
    records: SqlRecords, pages: list[Any], size: int, threshold: int
) -> None:
    """Results in rows or in the object store; those that are None or failures too."""
    numbers = list(range(size))
    result = Stage.on(records, threshold=threshold).play(collected, numbers=numbers).result()

    assert result == [expected(number) for number in numbers]
    assert pages == [(first, PAGE) for first in range(0, size, PAGE)]


def test_items_beside_their_whole_map_cost_no_other_read(stage: Stage, pages: list[Any]) -> None:
    assert stage.play(parts, numbers=list(range(24))).result() == [24, expected(1), expected(23)]
    assert len(pages) == 3


def test_item_beyond_the_end_is_named(stage: Stage) -> None:
    played = stage.play(beyond, numbers=[1, 2])

    assert played.status is RunState.FAILED
    assert "label[99] cannot be read" in played.error


def test_each_argument_has_a_list_of_its_own(stage: Stage) -> None:
    assert stage.play(twice_whole, numbers=[1, 2]).result() == [3, 2]
