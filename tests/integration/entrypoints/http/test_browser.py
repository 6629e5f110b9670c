"""The page of docs/http/index.md in Chromium: it draws progress, also when its server restarts."""

import re
import sys
import threading
from types import ModuleType
from uuid import uuid4

import httpx2
import pytest
from playwright.sync_api import Browser, expect

from tests.tools import servers
from tests.tools.browsers import complaints, site
from tests.tools.docs.pages import block_of
from tests.tools.http_service import serving
from tests.tools.playing import Stage

#: A number above 0 and below 100.
PART = re.compile(r"^(0\.\d*[1-9]\d*|[1-9]\d?(\.\d+)?)$")


def test_page_draws_progress_and_survives_its_server(
    played: Stage, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Semaphore(0)
    module = ModuleType("shop")
    monkeypatch.setitem(sys.modules, "shop", module)
    module.__dict__["go_on"] = go_on
    waits = "assert go_on.acquire(timeout=60); return"
    source = block_of("http/index.md", "python")
    exec(source.replace("return number", f"{waits} number"), vars(module))
    port = servers.free_port()
    html = block_of("http/index.md", "html").replace("localhost:8001", f"127.0.0.1:{port}")

    with site(html) as address:
        tab = browser.new_page()
        bar, steps = tab.locator("#bar"), tab.locator("#steps li")
        with serving(port, http_cors_origins=address):
            tab.goto(address)
            tab.click("#start")
            go_on.release()
            expect(steps).to_have_count(1, timeout=60_000)
            expect(bar).to_have_attribute("value", PART)
        go_on.release()
        with serving(port, http_cors_origins=address):
            expect(steps).to_have_count(2, timeout=60_000)
            go_on.release()
            expect(tab.locator("#end")).to_have_text("WORKFLOW_COMPLETED", timeout=60_000)
            expect(steps).to_have_count(3)
            assert {f"square {index}" for index in range(3)} == set(steps.all_text_contents())
            expect(bar).to_have_attribute("value", "100")
        tab.close()


def test_page_shows_errors_that_stay_and_asks_no_more(played: Stage, browser: Browser) -> None:
    port = servers.free_port()
    html = block_of("http/index.md", "html").replace("localhost:8001", f"127.0.0.1:{port}")

    with site(html) as address, serving(port, http_cors_origins=address):
        tab = browser.new_page()
        tab.clock.install()
        asked: list[str] = []
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(address)
        tab.click("#start")  # of a flow that the service does not know
        expect(tab.locator("#end")).to_have_text("this server knows no flow 'squares'")
        run_id = str(uuid4())
        tab.evaluate(f"follow('{run_id}')")
        expect(tab.locator("#end")).to_have_text(f"there is no run {run_id}")
        tab.clock.run_for(60_000)
        assert 1 == sum(url.endswith("/events") for url in asked)
        tab.close()


def test_documentation_is_shown_without_the_web(played: Stage, browser: Browser) -> None:
    with serving() as address:
        tab = browser.new_page()
        wrong = complaints(tab, address)
        tab.goto(address)
        expect(tab).to_have_url(f"{address}/docs")
        expect(tab.locator("h1")).to_have_text("flowq")
        paths = httpx2.get(f"{address}/openapi.json").json()["paths"]
        expect(tab.locator("section summary")).to_have_count(sum(map(len, paths.values())))
        start = tab.locator("details", has_text="POST /api/runs/{run_id}/pause")
        start.locator("summary").click()
        expect(start).to_contain_text(f"curl -s '{address}/api/runs/{{run_id}}/pause' --json")
        start.locator("a", has_text="RunStatus").first.click()
        expect(tab.locator("#RunStatus")).to_contain_text('"flow_name"')
        expect(tab.locator("#RunStatus")).to_have_attribute("open", "")
        assert not wrong
        tab.close()
