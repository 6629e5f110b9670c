"""A real Chromium, the system's own, and what no page may do in it.

Without a browser these tests are skipped with the reason; with `FLOWQ_REQUIRE_BROWSER=1`, as in CI,
they fail.
"""

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

#: Chromium on its own: no sandbox, since CI is root, and nothing that talks to its maker.
_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


# What a page shows comes later on a busy machine.
expect.set_options(timeout=60_000)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Have a browser; `FLOWQ_TEST_CHROMIUM` may name another one than that of the PATH.

    Chromium without windows, where it is installed: a page costs it a quarter of the time.
    """
    found = filter(None, map(shutil.which, ("chromium-headless-shell", "chromium")))
    path = os.environ.get("FLOWQ_TEST_CHROMIUM") or next(found, None)
    if path is None:
        assert os.environ.get("FLOWQ_REQUIRE_BROWSER") != "1", "there is no chromium"
        pytest.skip("there is no chromium; FLOWQ_TEST_CHROMIUM may name another browser")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=path, args=list(_ARGUMENTS), timeout=120_000
        )
        try:
            yield browser
        finally:
            browser.close()


def complaints(page: Page, address: str) -> list[str]:
    """Return the list of what is wrong from now on: errors, and requests to other hosts."""
    problems: list[str] = []
    host = urlsplit(address).netloc

    def asked(url: str) -> None:
        if urlsplit(url).scheme != "data" and urlsplit(url).netloc != host:
            problems.append(f"asked for {url}")

    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on(
        "console",
        lambda said: problems.append(said.text) if said.type in {"error", "warning"} else None,
    )
    page.on("request", lambda request: asked(request.url))
    return problems


@contextmanager
def site(html: str) -> Iterator[str]:
    """Serve one page, from another address than the service's; give its address."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/" else 404)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(html.encode() if self.path == "/" else b"")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(60)
