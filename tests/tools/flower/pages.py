"""The pages of the Flows tab in the test's own process: Flower's application on a stage.

Real handlers, forms, tokens and templates, without Flower's process: no broker, no worker. The
client keeps cookies, so a form is sent as a browser sends it.
"""

import asyncio
import html
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace

import httpx2
import pytest
from celery import Celery
from flower.options import default_options
from flower.urls import settings
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.netutil import bind_sockets

from flowq import bootstrap
from flowq.engine.engine import Engine
from flowq.entrypoints.flower.app import FlowqFlower


@dataclass
class Pages:
    """A client of the pages."""

    client: httpx2.Client

    def get(self, path: str, *, status: int = 200) -> str:
        """Return a page, with its entities resolved."""
        answer = self.client.get(path)
        assert answer.status_code == status, (answer.status_code, answer.text[-2000:])
        return html.unescape(answer.text)

    def text(self, path: str) -> str:
        """Return the words of the main part of a page, one space between them."""
        main = self.get(path).partition("<main")[2]
        return " ".join(re.sub(r"<[^>]*>", " ", main).split())

    def post(self, path: str, fields: Mapping[str, str | list[str]], *, status: int = 303) -> str:
        """Send the form of a page; return where it redirects, or the page that it shows."""
        token = re.search(r'name="_xsrf" value="([^"]+)"', self.client.get(path).text)
        assert token, f"{path} has no form"
        answer = self.client.post(path, data={"_xsrf": token[1], **fields})
        assert answer.status_code == status, (answer.status_code, answer.text[-2000:])
        return answer.headers.get("Location") or html.unescape(answer.text)


@contextmanager
def pages_of(
    engine: Engine, patch: pytest.MonkeyPatch, *, show_content: bool = True
) -> Iterator[Pages]:
    """Serve the pages on an engine until the end of the block."""
    patch.setattr(bootstrap, "engine", lambda: engine)
    patch.setattr(
        bootstrap, "settings", lambda: SimpleNamespace(show_content=show_content, cost_labels="")
    )
    ready, made = threading.Event(), SimpleNamespace(port=0, loop=None)

    def serve() -> None:
        asyncio.set_event_loop(asyncio.new_event_loop())
        made.loop = IOLoop.current()
        app = FlowqFlower(
            capp=Celery("pages", broker="memory://", set_as_current=False),
            options=default_options,
            io_loop=made.loop,
            **settings,
        )
        sockets = bind_sockets(0, address="127.0.0.1")
        made.port = sockets[0].getsockname()[1]
        server = HTTPServer(app)
        server.add_sockets(sockets)
        made.loop.add_callback(ready.set)
        made.loop.start()
        server.stop()
        app.executor.shutdown()
        made.loop.close()

    thread = threading.Thread(target=serve)
    thread.start()
    assert ready.wait(60)
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{made.port}", timeout=60) as client:
            yield Pages(client)
    finally:
        made.loop.add_callback(made.loop.stop)
        thread.join(60)
