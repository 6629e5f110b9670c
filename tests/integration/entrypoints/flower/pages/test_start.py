"""Forms that start runs and send signals: fields, errors beside them, and what comes of it."""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from enum import StrEnum
from typing import Any
from urllib.parse import quote

import pytest
from pydantic import BaseModel, Field

import flowq
from flowq import flow, step
from flowq.adapters.records.sql.tables import FlowDefinition, FlowRequest
from flowq.core.states import RunState
from flowq.engine.model.requested import RequestOptions
from flowq.engine.registry.registry import Registry
from flowq.engine.schedules.requested import record_flows, request_run
from flowq.entrypoints.flower.page import PageHandler
from tests.tools.flower.pages import Pages, pages_of
from tests.tools.playing import Stage

NAME = "tests.start.ship"


class Speed(StrEnum):
    SLOW = "slow"
    FAST = "fast"


class Answer(BaseModel):
    approved: bool
    note: str = "none"
    amount: int = Field(1, ge=1, le=10)


@step
def send(to: str, speed: Speed, day: date | None) -> str:
    return f"{to} {speed} {day}"


@flow(name=NAME)
def ship(to: str, speed: Speed = Speed.SLOW, day: date | None = None) -> Any:
    if to == "nowhere":
        raise ValueError("there is no way to nowhere")
    return send(to, speed, day)


@flow
async def asks() -> str:
    answer = await flowq.signal("approve", Answer)
    return f"{answer.approved} {answer.note} {answer.amount}"


@flow
def inner(number: int) -> Any:
    return send(str(number), Speed.SLOW, None)


@flow
def outer(numbers: list[int]) -> Any:
    return [asked(1), inner.map(numbers)]


@flow
def asked(number: int) -> Any:
    return inner(number)


@pytest.fixture
def stage(stage: Stage) -> Stage:
    return stage.recording(__name__)


@pytest.fixture
def pages(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pages]:
    record_flows(stage.engine)
    with pages_of(stage.engine, monkeypatch) as pages:
        yield pages
    with stage.records.engine.begin() as connection:
        for table in (FlowDefinition, FlowRequest):
            connection.execute(table.__table__.delete())  # type: ignore[attr-defined]


def test_a_run_is_started_from_a_form(pages: Pages, stage: Stage) -> None:
    listed = pages.get(f"/flows/start?after={NAME[:-1]}")  # other tests define flows, too
    assert f"/flows/start/{NAME}" in listed
    form = pages.get(f"/flows/start/{NAME}")
    assert 'name="value/to"' in form
    assert '<option value=""slow"" selected>slow</option>' in form
    assert 'type="date"' in form

    fields = {"value/to": "Oslo\r\nNorth", "value/speed": '"fast"', "value/day": "2030-01-31"}
    place = pages.post(f"/flows/start/{NAME}", {**fields, "run/priority": "3"})
    assert "Requested." in pages.get(place)
    stage.dispatcher.run(stage.engine)
    answer = pages.client.get(place)
    assert 303 == answer.status_code
    events = pages.text(answer.headers["Location"] + "/events")
    assert re.search(r"start flower", events)
    run = pages.get(answer.headers["Location"])
    assert "3 of 9" in run
    assert "Oslo" in run
    flow_page = pages.get(f"/flows/by-name/{NAME}")
    assert f'href="/flows/start/{NAME}"' in flow_page
    assert re.search(r'href="/flows/[0-9a-f-]{36}/step/send" title="send: completed', flow_page)


def test_problems_are_beside_their_fields(pages: Pages, stage: Stage) -> None:
    typed = {"value/to": "", "value/day": "soon", "run/priority": "12", "run/delay": "-1"}
    page = pages.post(f"/flows/start/{NAME}", typed, status=400)
    assert "Not started." in page
    for problem in (
        "<strong>to</strong> is missing",
        "<strong>day</strong> has to be a day",
        "<strong>priority</strong> has to be 9 or less",
        "<strong>delay</strong> has to be more than 0",
    ):
        assert problem in page
    assert 'value="soon"' in page
    assert () == stage.dispatcher.due_now

    place = pages.post(f"/flows/start/{NAME}", {"value/to": "nowhere"})
    stage.dispatcher.run(stage.engine)
    page = pages.get(place)
    assert "there is no way to nowhere" in page
    assert ">nowhere</textarea>" in page.replace("\n", "")
    assert "no worker has recorded" in pages.get("/flows/start/tests.start.none", status=404)


def test_values_of_a_refused_request_are_hidden_with_contents(
    stage: Stage, pages: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknowing = replace(stage.engine, registry=Registry())
    places = [
        f"/flows/requested/{request_run(unknowing, NAME, inputs, RequestOptions())}"
        for inputs in ({"to": "x", "speed": "s3cret"}, {"to": "nowhere"})
    ]
    stage.dispatcher.run(stage.engine)
    assert "s3cret" in pages.get(places[0])
    with pages_of(stage.engine, monkeypatch, show_content=False) as hiding:
        field, raised = (hiding.get(place) for place in places)
        assert "<strong>speed</strong> expected 'slow' or 'fast'" in field
        assert "s3cret" not in field
        assert "the flow refuses these inputs" in raised
        assert "nowhere" not in raised
        assert ">Start</button>" in raised
        monkeypatch.setattr(PageHandler, "read_only", True)
        assert ">Start</button>" not in hiding.get(places[0])
    assert "is not the id of a run" in pages.get(f"/flows/requested/{'-' * 36}", status=404)


def test_a_request_can_be_withdrawn(pages: Pages, stage: Stage) -> None:
    place = pages.post(f"/flows/start/{NAME}", {"value/to": "x"})
    assert "/flows/start" == pages.post(place, {})
    stage.dispatcher.run(stage.engine)
    assert "was not started" in pages.get(place, status=404)
    assert "not the id of a run" in pages.get(f"/flows/requested/{'0' * 36}", status=404)


def test_nothing_is_started_while_flower_is_read_only(
    pages: Pages, monkeypatch: pytest.MonkeyPatch, stage: Stage
) -> None:
    stage.play(ship, to="x")
    monkeypatch.setattr(PageHandler, "read_only", True)
    for place in ("/flows/start", f"/flows/start/{NAME}"):
        assert "--read_only" in pages.get(place, status=403)
    for place in ("/flows", f"/flows/by-name/{NAME}"):
        assert "Start a run" not in pages.get(place)


def test_a_signal_has_the_fields_of_its_type(pages: Pages, stage: Stage) -> None:
    played = stage.play(asks)
    path = f"/flows/{played.id}/signal"
    form = pages.get(path)
    assert "Signal <b>approve</b>" in form
    assert "1 or more, 10 or less" in form

    bad = {"name": "approve", "value/amount": "11", "value/note": "kept"}
    page = pages.post(path, bad, status=400)
    assert "<strong>approved</strong> is missing" in page
    page = pages.post(path, {**bad, "value/approved": "true"}, status=400)
    assert "<strong>amount</strong> has to be 10 or less" in page
    assert ">kept</textarea>" in page.replace("\n", "")

    good = {"name": "approve", "value/amount": "9", "value/note": "", "value/approved": "false"}
    assert f"/flows/{played.id}" == pages.post(path, good)
    stage.dispatcher.run(stage.engine)
    assert RunState.COMPLETED is played.status
    assert "False  9" == played.result()
    (key,) = (one.key for one in played.view.steps if one.key.startswith("approve"))
    step_page = pages.text(f"/flows/{played.id}/step/{quote(key)}")
    assert "Sent by flower" in step_page
    assert '"amount": 9' in step_page
    assert '{"approved": false' in pages.get(f"/flows/{played.id}/events")


def test_child_runs_are_a_tree_on_the_page_of_the_run(pages: Pages, stage: Stage) -> None:
    played = stage.play(outer, numbers=list(range(12)))
    for tab in ("", "/steps"):
        page = pages.text(f"/flows/{played.id}{tab}")
        assert "Child runs 13" in page
        assert "inner 12 child runs" in page
        assert "1 of 1 steps" in page
        assert "and 2 more" in page
        assert "inner 1 child run " in page  # of the other child run
