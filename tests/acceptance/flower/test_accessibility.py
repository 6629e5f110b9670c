"""Every page of the Flows tab, in light and dark, has nothing that axe-core complains about."""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from playwright.sync_api import Route
from pydantic import BaseModel

import flowq
from flowq import flow, schedule, step
from flowq.adapters.records.database import SqlRecords
from flowq.core.states import RunState
from flowq.engine.model.requested import RequestOptions
from flowq.engine.registry.registry import Registry
from flowq.engine.runs.pause import pause
from flowq.engine.runs.submission import submit
from flowq.engine.schedules import control
from flowq.engine.schedules.declaring import declare_all
from flowq.engine.schedules.requested import record_flows, request_run, start_requested
from tests.tools.browsers import chromium
from tests.tools.flower.accessibility import barriers
from tests.tools.flower.pages import pages_of
from tests.tools.playing import Stage


class Answer(BaseModel):
    approved: bool
    note: str = ""


@step
def numbers(count: int) -> list[int]:
    return list(range(count))


@step(retries=1, retry_delay=0)
def invert(number: int) -> float:
    try:
        return 1 / (number % 5)
    except ZeroDivisionError as error:
        raise ValueError(f"no inverse of {number}") from error


@step
def total(parts: list[Any]) -> int:
    if len(parts) > 20:
        raise LookupError("too many parts")
    return len(parts)


@flow(name="tests.axe.inverses")
def inverses(count: int) -> Any:
    return total(invert.map(numbers(count), tolerate="50%"))


@flow(name="tests.axe.parent")
def parent(counts: list[int]) -> Any:
    return inverses.map(counts)


@flow(name="tests.axe." + "a_name_that_code_has_made_" * 3)
def long_named(count: int) -> Any:
    return total.options(key="a_step_of_the_same_generator_" * 3)(numbers(count))


@flow(name="tests.axe.asking", budget=flowq.Budget(usd=2, tokens=1000))
async def asking(count: int) -> Any:
    await inverses(count)
    return await flowq.signal("approve", Answer)


@pytest.fixture
def stage(sqlite_url: str) -> Iterator[Stage]:
    records = SqlRecords(sqlite_url)
    stage = Stage.on(records)
    schedule("tests axe nightly", inverses, cron="0 2 * * *", inputs={"count": 3})
    declare_all(stage.engine)
    yield stage
    control.remove(stage.engine, "tests axe nightly")
    stage.engine.program_cache.clear()
    records.close()


def without_refresh(route: Route) -> None:
    """Answer with a page that stays while axe looks at it."""
    answer = route.fetch()
    kept = {name: value for name, value in answer.headers.items() if name != "refresh"}
    route.fulfill(response=answer, headers=kept)


#: The widths of a phone and of a small window.
NARROW = (420, 1024)
#: What cannot be read at the width of the window, since it is outside of it or is cut off.
CUT = """() => {
  const width = document.documentElement.clientWidth, found = [];
  if (document.documentElement.scrollWidth > width) found.push("the page scrolls sideways");
  for (const one of document.querySelectorAll("main *")) {
    if (!one.checkVisibility() || one.closest(".visually-hidden")) continue;
    const { overflowX, textOverflow } = getComputedStyle(one);
    const hides = overflowX === "hidden" || overflowX === "clip";
    if (hides && one.scrollWidth > one.clientWidth + 1 && one.clientWidth > 2 &&
        (textOverflow !== "ellipsis" || !one.closest("[title]")))
      found.push(`${one.tagName}.${one.className} is cut: ${one.textContent.trim().slice(0, 60)}`);
  }
  return found;
}"""


def test_no_page_has_a_barrier(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    failed, good = stage.play(parent, counts=[4, 25]), stage.play(inverses, count=12)
    asks = stage.play(asking, count=3)
    long = stage.play(long_named, count=25)
    pending = stage.submit(inverses, {"count": 2})
    paused = submit(stage.engine, inverses.type, {"count": 2}, user_id="ada", metadata={"a": 1})
    pause(stage.engine, paused, "lunch")
    record_flows(stage.engine)
    elsewhere = replace(stage.engine, registry=Registry())
    asked, refused = (
        request_run(elsewhere, inverses.type.name, inputs, RequestOptions())
        for inputs in ({"count": 2}, {"count": "many", "other": 1})
    )
    assert not start_requested(stage.engine, refused)
    assert (failed.status, good.status) == (RunState.FAILED, RunState.COMPLETED)
    places = [
        *("", "?text=nothing+like+this", "?within=never", "?state=attention", "/nothing", "/cost"),
        *("/by-name/tests.axe.inverses", "/schedules", "/schedules/tests%20axe%20nightly"),
        *("/start", "/start/tests.axe.inverses", f"/requested/{asked}", f"/requested/{refused}"),
        "/schedules/tests%20axe%20nightly/backfill?from=2026-01-01T00:00&to=2026-01-05T00:00",
        f"/compare?id={good.id}&id={failed.id}",
        f"/bulk/cancel?id={paused}&id={pending.id}",
        *(f"/{failed.id}{tab}" for tab in ("", "/gantt", "/steps", "/errors", "/events", "/rerun")),
        *(f"/{good.id}{tab}" for tab in ("/cost", "/logs", "/steps/invert", "/step/invert%5B5%5D")),
        *(f"/{asks.id}{tab}" for tab in ("", "/signal?name=approve", "/budget")),
        *(f"/{paused}{tab}" for tab in ("", "/step/invert")),
        *(f"/{long.id}{tab}" for tab in ("", "/gantt", "/steps", "/errors", "/events", "/logs")),
        *(f"/by-name/{long_named.type.name}", f"/bulk/rerun?id={long.id}&id={failed.id}"),
    ]

    with pages_of(stage.engine, monkeypatch) as pages, chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(60_000)
        page.route(re.compile("/requested/"), without_refresh)
        found: list[str] = []
        for place in places:
            page.goto(f"{pages.client.base_url}/flows{place}")
            found += [f"{place}: {one}" for one in barriers(page)]
            for width in NARROW:
                page.set_viewport_size({"width": width, "height": 900})
                found += [f"{place} at {width}: {one}" for one in page.evaluate(CUT)]
                found += [f"{place} at {width}: {one}" for one in barriers(page)]
            page.set_viewport_size({"width": 1280, "height": 900})

    assert not found, "\n".join(found)
