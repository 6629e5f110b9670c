"""The pages of schedules: what is shown, and what the buttons do."""

import re
from collections.abc import Iterator
from datetime import timedelta
from urllib.parse import quote

import pytest

from flowq import flow, schedule, step
from flowq.engine.schedules import control
from flowq.engine.schedules.declaring import declare_all
from tests.tools.flower.pages import Pages, pages_of
from tests.tools.playing import Stage

NAME = "reports & notes/weekly <b>"


@step
def note(value: int) -> int:
    return value


@flow
def job(value: int) -> int:
    return note(value)


@pytest.fixture
def pages(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pages]:
    rules = {"cron": "0 5 * * *", "timezone": "Europe/Berlin", "inputs": {"value": 7}}
    schedule(NAME, job, **rules)  # type: ignore[arg-type]
    declare_all(stage.engine)
    with pages_of(stage.engine, monkeypatch) as pages:
        yield pages
    control.remove(stage.engine, NAME)


def press(pages: Pages, action: str, *, name: str = NAME, origin: str = "page") -> tuple[int, str]:
    """Send the form of a button; return the status, and where it redirects."""
    token = re.search(r'name="_xsrf" value="([^"]+)"', pages.get(path()))
    assert token
    fields = {"_xsrf": token[1], "from": origin}
    answer = pages.client.post(f"/flows/schedules/{quote(name, safe='')}/{action}", data=fields)
    return answer.status_code, answer.headers.get("Location", "")


def path(*parts: str) -> str:
    return "/".join(["/flows/schedules", quote(NAME, safe=""), *parts])


def test_a_schedule_is_listed_and_has_a_page(pages: Pages) -> None:
    listed = pages.get("/flows/schedules")
    assert "0 5 * * * (Europe/Berlin)" in listed
    assert "<wbr>weekly <b>" in listed  # resolved: it is escaped in the page
    assert "Schedules</a>" in pages.get("/flows")

    page = pages.get(path())

    assert "It has not started a run yet." in page
    assert 5 == page.count("05:00 +0")
    assert '"value": 7' in page


def test_buttons_pause_resume_and_request_a_run(pages: Pages, stage: Stage) -> None:
    pages.get(path())
    assert press(pages, "pause")[1].endswith("?done=pause")
    assert "The schedule is paused." in pages.get(path() + "?done=pause")
    assert control.find(stage.engine, NAME).progress.paused_at is not None

    assert (303, "/flows/schedules?done=run") == press(pages, "run", origin="list")
    stage.dispatcher.run(stage.engine)
    page = pages.get(path())
    assert "completed" in page
    assert "paused: none starts a run" in page

    press(pages, "resume")
    assert control.find(stage.engine, NAME).progress.paused_at is None


def test_an_overdue_tick_says_why(pages: Pages, stage: Stage) -> None:
    found = control.find(stage.engine, NAME)
    assert found.progress.next_at is not None
    with stage.records.engine.begin() as connection:
        late = found.progress.next_at - timedelta(days=400)
        text = late.strftime("%Y-%m-%d %H:%M:%S.%f")
        if stage.records.url.get_backend_name() == "postgresql":
            text += "+00"
        connection.exec_driver_sql(f"UPDATE flow_schedules SET next_at = '{text}'")

    assert "none knows the flow" in pages.get(path())
    assert "none knows the flow" in pages.get("/flows/schedules")


def test_what_is_not_there_is_not_found(pages: Pages) -> None:
    assert "there is no schedule" in pages.get("/flows/schedules/other", status=404)
    assert 404 == press(pages, "pause", name="other")[0]
    assert 403 == pages.client.post(path("pause"), data={"from": "page"}).status_code
