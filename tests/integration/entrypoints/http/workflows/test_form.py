"""The page of docs/documents/workflows.md in Chromium: a library makes forms of the step types.

The library is in tests/tools/vendor, so that the test needs no network; no wheel has it.
"""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Route, expect

from tests.tools import servers
from tests.tools.browsers import site
from tests.tools.docs.pages import block_of
from tests.tools.http_service import serving
from tests.tools.playing import Stage
from tests.tools.workflows.samples import define_text

_ADDRESS = "https://cdn.jsdelivr.net/npm/@json-editor/json-editor@2.17.2/dist/jsoneditor.js"
_LIBRARY = Path(__file__).parents[4] / "tools/vendor/jsoneditor-2.17.2.js"


def test_forms_are_made_of_step_types_and_checked(
    played: Stage, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    define_text()
    port = servers.free_port()
    html = block_of("documents/workflows.md", "html")
    html = html.replace("localhost:8001", f"127.0.0.1:{port}")
    asked: list[str] = []

    def library(route: Route) -> None:
        asked.append(route.request.url)
        route.fulfill(path=_LIBRARY, content_type="text/javascript")

    with site(html) as address, serving(port, http_cors_origins=address):
        tab = browser.new_page()
        errors: list[str] = []
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.route("https://cdn.jsdelivr.net/**", library)
        tab.goto(address)
        types, form, answer = tab.locator("#types"), tab.locator("#form"), tab.locator("#answer")
        expect(types.locator("option")).to_have_text(["Count words", "Split into words"])

        top = form.get_by_label("Top")
        expect(top).to_have_value("3")
        top.fill("2")
        top.press("Tab")
        tab.click("#check")
        expect(answer).to_have_text('right: {"top":2}')

        types.select_option("tokenize")
        expect(form).to_contain_text("Split a text at white space.")
        lower = form.get_by_label("Lower")
        expect(lower).to_have_value("1")  # the library draws a choice of true and false
        lower.select_option("false")
        tab.click("#check")
        expect(answer).to_have_text('right: {"lower":false}')
        tab.close()

    assert not errors
    assert [_ADDRESS] == asked
