"""The page of one step: what it was given and returned, its attempts, and what is hidden."""

from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import Any
from urllib.parse import quote

import pytest
import uuid_utils.compat as uuids

import flowq
from flowq import flow, step
from flowq.core.ids import LeaseToken, item_id, node_id
from flowq.core.states import RunState, StepState
from flowq.engine.model.logs import LogBunch, StoredLine
from flowq.engine.model.rows import Claim
from flowq.engine.runtime.logs.attempt_log import AttemptLog
from flowq.entrypoints.flower.pages.run import logs
from flowq.entrypoints.flower.pages.run import step as page
from tests.tools.flower.pages import Pages, pages_of
from tests.tools.playing import Stage


@step
def numbers(count: int) -> list[int]:
    return list(range(count))


@step(retries=1, retry_delay=0)
def invert(number: int, unit: str) -> str:
    try:
        return f"{1 / number} {unit}"
    except ZeroDivisionError as error:
        raise ValueError(f"no inverse of {number}") from error


@step
def large(size: int) -> str:
    return "<b>" * size


@step
async def length(text: str, after: Any = None) -> int:
    return len(text)


@flow
def inverses(count: int) -> Any:
    return invert.map(numbers(count), unit="m")


@flow
def of_large(size: int) -> Any:
    return length(large(size))


@flow
def lengths(count: int) -> Any:
    return length.map([f"word {number}" for number in range(count)])


@flow
async def called_lengths(count: int) -> Any:
    return await length.map([f"word {number}" for number in range(count)])


@flow
async def program(word: str) -> Any:
    found = await length.options(key="how long?")(word)
    return found + await flowq.signal("more", int)


class Nowhere:
    def put(self, log: AttemptLog, line: StoredLine) -> None:
        raise AssertionError


def write(tx: Any, bunches: list[LogBunch]) -> None:
    tx.logs.write(bunches)


@pytest.fixture
def pages(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pages]:
    with pages_of(stage.engine, monkeypatch) as pages:
        yield pages


def test_item_shows_its_inputs_its_error_and_every_attempt(stage: Stage, pages: Pages) -> None:
    played = stage.play(inverses, count=2)

    assert played.status is RunState.FAILED
    shown = pages.text(f"/flows/{played.id}/step/invert[0]")
    assert 'Inputs { "unit": "m", "number": 0 }' in shown
    assert "ValueError : no inverse of 0" in shown
    assert "caused by ZeroDivisionError" in shown
    assert "in invert" in shown
    found = page.find(stage.engine, played.id, "invert[0]")
    assert [one.number for one in page.attempts_of(found)] == [2, 1]
    assert "Item 1 →" in shown
    assert "← Item" not in shown


def test_step_and_map_have_pages_that_lists_link_to(stage: Stage, pages: Pages) -> None:
    played = stage.play(inverses, count=3)
    here = f"/flows/{played.id}"

    assert f'href="{here}/step/numbers"' in pages.get(f"{here}/steps")
    assert f'href="{here}/step/invert%5B1%5D"' in pages.get(f"{here}/steps/invert")
    assert f'href="{here}/step/invert%5B0%5D"' in pages.get(f"{here}/errors")
    assert f'href="{here}/step/numbers"' in pages.get(f"{here}/graph")
    assert f'href="{here}/step/numbers"' in pages.get(f"{here}/gantt")
    assert "Output Download 7 bytes" in pages.text(f"{here}/step/numbers")
    assert '"number": [ 0, 1, 2 ]' in pages.text(f"{here}/step/invert")
    assert "[0,1,2]" == pages.get(f"{here}/output/numbers")


def test_large_inputs_stay_references_and_a_result_is_downloaded(
    records: Any, pages: Pages, stage: Stage
) -> None:
    played = stage.play(of_large, size=400_000)

    assert played.result() == 1_200_000
    shown = pages.text(f"/flows/{played.id}/step/length")
    assert "References, because the results are large: 1.1 MiB" in shown
    assert '"text": "→ large"' in shown
    assert len(pages.get(f"/flows/{played.id}/output/large")) >= 1_200_000


@pytest.mark.parametrize("each, key", [(lengths, "length"), (called_lengths, "length#1")])
def test_long_list_of_a_map_is_shown(stage: Stage, pages: Pages, each: Any, key: str) -> None:
    """No process keeps it, so it is read for the page."""
    run_id = stage.play(each, count=101).id

    assert '"word 0", "word 1"' in pages.text(f"/flows/{run_id}/step/{quote(key)}")


def test_call_of_a_program_and_the_program_itself(stage: Stage, pages: Pages) -> None:
    played = stage.play(program, word="flower")
    keys = [one.key for one in played.view.steps]

    assert keys == ["program", "how long?#1", "more#2"]
    assert '"text": "flower"' in pages.text(f"/flows/{played.id}/step/how long%3F%231")
    assert '{ "word": "flower" }' in pages.text(f"/flows/{played.id}/step/program")
    waiting = pages.text(f"/flows/{played.id}/step/more%232")
    assert "waiting" in waiting
    assert "None yet." in waiting


def test_key_with_brackets_is_found_before_an_item(stage: Stage) -> None:
    @flow
    def bracketed() -> Any:
        return length.options(key="a[1]")("x")

    played = stage.play(bracketed)

    found = page.find(stage.engine, played.id, "a[1]")
    assert (found.key, found.index, found.status) == ("a[1]", None, StepState.COMPLETED)


@pytest.mark.parametrize("label", ["numbers[0]", "nobody", "invert[99]", "invert[0]x"])
def test_unknown_step_is_not_found(stage: Stage, pages: Pages, label: str) -> None:
    played = stage.play(inverses, count=1)

    assert f"no step '{label}'" in pages.get(f"/flows/{played.id}/step/{label}", status=404)


def test_content_is_hidden_unless_settings_show_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = stage.play(program, word="secret-word")

    with pages_of(stage.engine, monkeypatch, show_content=False) as pages:
        for key in ("program", "how long%3F%231"):
            shown = pages.get(f"/flows/{played.id}/step/{key}")
            assert "hidden; FLOWQ_SHOW_CONTENT=1 shows them" in shown
            assert "secret-word" not in shown
        pages.get(f"/flows/{played.id}/output/how long%3F%231", status=403)


def test_last_lines_are_those_of_the_chosen_attempt(
    stage: Stage, pages: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "_SETTLING", timedelta(minutes=10))
    played = stage.play(inverses, count=1)
    item = item_id(node_id(played.id, "invert"), 0)
    for attempt in (1, 2):
        claim = Claim(item, played.id, "invert", 0, attempt, 0, LeaseToken(uuids.uuid7()), {})
        said = [StoredLine(n, 20, "app", f"line <{n}> of {attempt}") for n in range(60)]
        bunches = AttemptLog(claim, Nowhere(), 1_000_000).bunches(said)[0]
        stage.records.transaction(partial(write, bunches=bunches))

    last, first = (
        pages.get(f"/flows/{played.id}/step/invert[0]{asked}") for asked in ("", "?attempt=1")
    )

    assert "line <59> of 2" in last
    assert "line <10> of 2" in last
    assert "line <9> of 2" not in last  # of fifty
    assert "of 1<" not in last
    assert "line <59> of 1" in first
    assert "logs?text=invert%5B0%5D&attempt=1" in first
    # The last attempt has just ended, and may write a line yet.
    assert [True, False] == ["data-live-every" in one for one in (last, first)]
