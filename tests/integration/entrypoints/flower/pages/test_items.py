"""The items of a map on their page: cells, values, a search in them, and a way to an index."""

from collections.abc import Iterator
from typing import Any

import pytest

from flowq import flow, step
from tests.tools.flower.pages import Pages, pages_of
from tests.tools.playing import Stage


@step
def words(count: int) -> list[str]:
    return [f"word {index} of <b>" for index in range(count)]


@step
def spell(word: str, times: int) -> str:
    if "7" in word:
        raise LookupError(f"nobody knows {word[:4].upper()}")
    return word * times


@step
def measure(text: Any) -> int:
    return len(text)


@flow
def spelled(count: int, times: int = 1) -> Any:
    return measure.map(spell.map(words(count), times=times, tolerate="50%"))


@flow
def measured(texts: list[str]) -> Any:
    return measure.map(texts)


@pytest.fixture
def pages(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pages]:
    with pages_of(stage.engine, monkeypatch) as pages:
        yield pages


def test_items_are_cells_and_found_by_their_values(stage: Stage, pages: Pages) -> None:
    here = f"/flows/{stage.play(spelled, count=28).id}/steps/spell"

    shown = pages.get(here)
    assert 'viewBox="0 0 28 1"' in shown
    assert "Items of spell: 25 completed, 3 failed" in shown
    assert "word 26 of <b>" in shown
    assert [f"spell[{one}]" in pages.text(f"{here}?text=WORD+2") for one in (9, 2, 26)] == [
        *(False, True, True)
    ]
    found = pages.text(f"{here}?text=nobody&state=failed&after=8")
    assert "LookupError nobody knows WORD" in found
    assert "spell[17]" in found
    assert "spell[7]" not in found
    assert "No such item" in pages.text(f"{here}?text=nobody&state=completed")


def test_an_index_is_gone_to_and_hidden_values_are_not_found(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = f"/flows/{stage.play(spelled, count=28).id}/steps/spell"

    with pages_of(stage.engine, monkeypatch, show_content=False) as pages:
        answer = pages.client.get(f"{here}?index=25")
        assert (302, f"{here}?after=24#item-25") == (
            *(answer.status_code, answer.headers["Location"]),
        )
        assert "spell[24]" not in pages.text(f"{here}?after=24")
        assert "word 1" not in pages.text(here)
        assert "No such item" in pages.text(f"{here}?text=word+1")


def test_all_of_a_value_is_searched_and_limits_are_told(
    stage: Stage, pages: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"{'long ' * 100}end {index}" for index in range(5)]
    here = f"/flows/{stage.play(measured, texts=texts).id}/steps/measure"

    found = pages.text(f"{here}?text=end+3")
    assert [f"measure[{one}]" in found for one in range(5)] == [False, False, False, True, False]
    assert "were searched" not in found
    for place in ("adapters.records.queries.run_items", "entrypoints.flower.pages.run.items"):
        monkeypatch.setattr(f"flowq.{place}.MAX_INPUTS", 3)
    assert "values of the items 0 to 2 were searched" in pages.text(f"{here}?text=end+3")


def test_large_values_are_references(stage: Stage, pages: Pages) -> None:
    here = f"/flows/{stage.play(spelled, count=6, times=30_000).id}/steps/measure"

    assert "→ spell[3]" in pages.text(here)
