"""Reruns from Flower and from the command line: one run by its form, many by a filter."""

import json
import re
import sys
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from click.testing import CliRunner

from flowq import bootstrap, flow, step
from flowq.client import Run
from flowq.core.errors import DatabaseUnavailable
from flowq.core.ids import RunId
from flowq.engine.model.rows import RunView
from flowq.engine.runs.reruns import rerun
from flowq.entrypoints.cli.app import recorded
from flowq.entrypoints.cli.main import main
from flowq.entrypoints.flower.pages.run import rerunning
from tests.tools.flower.pages import Pages, pages_of
from tests.tools.playing import Played, Stage

BROKEN: set[int] = set()
#: Inputs for which the function of the flow raises.
REFUSED: set[int] = set()


@step
def double(number: int) -> int:
    if number in BROKEN:
        raise ValueError(f"{number} is broken")
    return 2 * number


@step
def total(values: list[int], factor: int) -> int:
    return factor * sum(values)


@flow(name="tests.rerun.doubled")
def doubled(numbers: list[int], factor: int = 1) -> int:
    if REFUSED & set(numbers):
        raise KeyError("secret")
    return total([double(one) for one in numbers], factor)


@pytest.fixture
def pages(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pages]:
    with pages_of(stage.engine, monkeypatch) as pages:
        yield pages


def test_comparison_with_a_rerun_says_what_is_reused(stage: Stage, pages: Pages) -> None:
    first = failed(stage, [1, 2])
    again = rerun(stage.engine, first.id)
    stage.dispatcher.run(stage.engine)

    shown = pages.text(f"/flows/compare?id={first.id}&id={again}")

    assert f'href="/flows/{first.id}/step/double-2"' in pages.get("/flows")  # the cause, at once
    assert "double ✓ completed ✓ completed reused" in shown
    assert "double-2 differs ✗ failed ✓ completed" in shown


def failed(stage: Stage, numbers: list[int]) -> Played:
    BROKEN.clear()
    BROKEN.add(2)
    played = stage.play(doubled, numbers=numbers)
    assert played.status == "failed"
    BROKEN.clear()
    return played


def view(stage: Stage, run_id: Any) -> RunView:
    found = stage.engine.records.autocommit(lambda tx: tx.runs.view(RunId(UUID(str(run_id)))))
    assert found is not None
    return found


def reruns(stage: Stage, played: Played) -> list[RunId]:
    stage.dispatcher.run(stage.engine)
    return stage.engine.records.autocommit(lambda tx: tx.reruns.reruns_of(played.id))


def test_form_previews_on_request_and_replaces_inputs(
    stage: Stage, pages: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = failed(stage, [1, 2])
    address = f"/flows/{old.id}/rerun"
    previews: list[Any] = []
    real = rerunning.preview

    def preview(*given: Any) -> Any:
        previews.append(given)
        return real(*given)

    monkeypatch.setattr(rerunning, "preview", preview)

    form = pages.get(address)
    assert json.loads(re.findall(r'name="inputs"[^>]*>([^<]*)<', form)[0]) == {
        "numbers": [1, 2],
        "factor": 1,
    }
    assert not previews
    assert re.search(r'name="form" value="\w{32}"', form)
    typed = {"from_step": "", "inputs": '{"factor": 10}'}
    shown = pages.post(address, {**typed, "preview": "1"}, status=200)
    assert "Reused: <b>1 step</b>" in shown
    assert '{"factor": 10}' in shown
    assert (len(previews), reruns(stage, old)) == (1, [])
    for wrong, says in (
        ("[1]", "are a JSON list, not an object"),
        ("{", "are not JSON"),
        ('{"nothing": 1}', "nothing"),
    ):
        assert says in pages.post(address, {**typed, "inputs": wrong}, status=400)

    [new] = [pages.post(address, typed)[-36:]]
    assert reruns(stage, old) == [RunId(view(stage, new).id)]
    assert len({pages.post(address, {**typed, "form": "f1"}) for _ in range(2)}) == 1
    pages.post(address, {**typed, "form": "f1", "from_step": "total"})  # changed after "back"
    assert len(reruns(stage, old)) == 3
    again = view(stage, new)
    assert (again.status, again.outputs, again.inputs["factor"]) == ("completed", 60, 10)
    assert "This is the rerun." in pages.text(f"/flows/{new}")
    events = pages.text(f"/flows/{new}/events")
    assert f"of {old.id} as {new}, with other inputs: factor" in events
    assert f"of {old.id} as {new}" in pages.text(f"/flows/{old.id}/events")


def test_inputs_are_neither_shown_nor_taken_where_contents_are_hidden(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = failed(stage, [2])
    with pages_of(stage.engine, monkeypatch, show_content=False) as pages:
        assert 'name="inputs"' not in pages.get(f"/flows/{old.id}/rerun")
        fields = {"from_step": "double", "inputs": '{"factor": 10}'}
        pages.post(f"/flows/{old.id}/rerun", fields)
    [new] = reruns(stage, old)
    assert view(stage, new).outputs == 4


def test_many_runs_are_rerun_once_by_a_form_that_names_their_number(
    stage: Stage, pages: Pages
) -> None:
    old = [failed(stage, [number, 2]) for number in (3, 4)]
    stage.play(doubled, numbers=[7])
    address = "/flows/bulk/rerun?all=1&flow=tests.rerun.doubled&state=failed"
    assert "Rerun 2 runs?" in pages.text(address)
    usual = pages.text(address.replace("&state=failed", ""))
    assert "Rerun 2 runs?" in usual
    assert "Only cancelled and failed runs" in usual
    assert "Rerun 1 run?" in pages.text(address.replace("failed", "completed"))
    form = re.findall(r'name="form" value="(\w+)"', pages.get(address))[0]
    fields = {"ids": " ".join(str(one.id) for one in old), "form": form}
    for _ in range(2):  # a page is reloaded, a button pressed twice
        assert "Rerun: 2 runs done" in pages.post(address, fields, status=200)

    for one, expected in zip(old, (10, 12), strict=True):
        [new] = reruns(stage, one)
        assert (view(stage, new).outputs, view(stage, new).rerun_of) == (expected, one.id)


def test_command_names_the_number_asks_and_reruns_what_failed(
    stage: Stage, pages: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = [failed(stage, [number, 2]) for number in (3, 4)]
    done = stage.play(doubled, numbers=[7])
    monkeypatch.setattr(recorded, "engine", lambda: stage.engine)

    def command(*words: str, answer: str = "") -> Any:
        return CliRunner().invoke(main, ["runs", *words], input=answer)

    chosen = ("rerun", "--flow", "tests.rerun.doubled")
    refused = command(*chosen, answer="n\n")
    assert "Rerun 2 runs? [y/N]" in refused.output
    assert (refused.exit_code, reruns(stage, old[0])) == (1, [])
    shown = command(*chosen, "--preview", "--json")
    assert [one["reused"] for one in json.loads(shown.stdout)] == [1, 1]
    assert "Nobody can answer here: --yes" in command(*chosen).output

    made = command(*chosen, "--yes", "--json")

    assert made.exit_code == 0, made.output
    for one, row in zip(reversed(old), json.loads(made.stdout), strict=True):
        [new] = reruns(stage, one)
        assert (row["id"], row["rerun_of"]) == (str(new), str(one.id))
        shown = command("show", str(new), "--json")
        assert json.loads(shown.stdout)["rerun_of"] == str(one.id)
    assert reruns(stage, done) == []
    assert json.loads(command("rerun", "--flow", "nobody", "--yes", "--json").stdout) == []


def test_run_that_its_flow_refuses_ends_neither_the_form_nor_the_command(
    stage: Stage, pages: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = [failed(stage, [number, 2]) for number in (3, 4, 5)]
    monkeypatch.setattr(recorded, "engine", lambda: stage.engine)
    monkeypatch.setattr(sys.modules[__name__], "REFUSED", {4})

    def command(*words: str) -> Any:
        given = ("runs", "rerun", "--flow", "tests.rerun.doubled", "--json", *words)
        return CliRunner().invoke(main, given)

    def errors(shown: Any) -> list[str]:
        assert shown.exit_code == 1, shown.output
        return [one.get("error", "") for one in json.loads(shown.stdout)]

    says = "flow 'tests.rerun.doubled' refuses these inputs: KeyError"
    assert errors(command("--preview")) == ["", "", f"{says}: 'secret'"]
    assert errors(command("--yes")) == ["", "", f"{says}: 'secret'"]
    assert [len(reruns(stage, one)) for one in old] == [1, 0, 1]

    single = pages.post(f"/flows/{old[1].id}/rerun", {"from_step": "", "inputs": ""}, status=400)
    address = "/flows/bulk/rerun?all=1&flow=tests.rerun.doubled&state=failed"
    fields = {"ids": " ".join(str(one.id) for one in old), "form": "f"}
    many = pages.post(address, fields, status=200)
    assert "Rerun: 2 runs done" in many
    for page in (single, many):
        assert "refuses these inputs: KeyError" in page
        assert "secret" not in page


def test_command_tells_what_it_has_started_when_the_database_goes(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = [failed(stage, [number, 2]) for number in (3, 4)]
    monkeypatch.setattr(recorded, "engine", lambda: stage.engine)
    monkeypatch.setattr(bootstrap, "engine", lambda: stage.engine)
    real = Run.rerun

    def once(run: Run[Any], *given: Any) -> Run[Any]:
        monkeypatch.setattr(Run, "rerun", gone)
        return real(run, *given)

    def gone(*_: Any) -> None:
        raise DatabaseUnavailable("the database is gone")

    monkeypatch.setattr(Run, "rerun", once)
    shown = CliRunner().invoke(main, ["runs", "rerun", "--flow", "tests.rerun.doubled", "--yes"])
    [new] = reruns(stage, old[1])
    assert (shown.exit_code, reruns(stage, old[0])) == (3, [])
    assert f"Run {new} reruns {old[1].id}." in shown.output
    assert "the database is gone" in shown.output
