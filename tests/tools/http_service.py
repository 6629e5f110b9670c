"""The HTTP service in the test's own process, and clients that read its streams."""

import http.client
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient

from flowq.entrypoints.http.app import create_app
from flowq.entrypoints.http.settings import HttpSettings
from tests.tools.flowers import stream
from tests.tools.playing import Stage
from tests.tools.waiting import wait_until

#: What a machine's own client is to the service.
HERE = ("127.0.0.1", 50_000)


def client(**settings: Any) -> TestClient:
    """Return a client that calls the app without a server; it reads an answer as a whole."""
    app = create_app(HttpSettings(**settings))
    return TestClient(app, base_url="http://127.0.0.1", client=HERE, raise_server_exceptions=False)


def awaited(http: Any, run_id: str) -> Any:
    """Return the answer to who asks for a result, once the run has ended."""

    def answer() -> Any:
        found = http.get(f"/api/runs/{run_id}/result", params={"wait": 30})
        return found if found.status_code != 202 else None

    return wait_until(answer, what=f"run {run_id} ends")


@cache
def paths() -> Mapping[str, Any]:
    """Return the paths of the service, which flows have in common: those of all tests have none."""
    found: Mapping[str, Any] = FastAPI.openapi(create_app(HttpSettings()))["paths"]
    return found


@contextmanager
def serving(port: int = 0, **settings: Any) -> Iterator[str]:
    """Serve the app on a port of this machine, from a thread; give its address."""
    app = create_app(HttpSettings(**settings))
    config = uvicorn.Config(
        app, port=port, log_level="warning", lifespan="off", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started or not thread.is_alive(), what="the server has started")
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(60)


@contextmanager
def working(stage: Stage) -> Iterator[None]:
    """Do all that there is to do on a stage, in a thread."""
    over = threading.Event()

    def work() -> None:
        while not over.wait(0.01):
            stage.dispatcher.run(stage.engine)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(60)


@dataclass
class Frame:
    """A server-sent event as a client reads it."""

    event: str = "message"
    id: str | None = None
    data: str = ""


@dataclass
class Listener:
    """Reads a stream in a thread, as `EventSource` does; it may leave and come again."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    frames: list[Frame] = field(default_factory=list)
    raw: bytes = b""
    ended: bool = False

    @property
    def names(self) -> list[str]:
        return [frame.event for frame in self.frames]

    @contextmanager
    def listening(self) -> Iterator["Listener"]:
        """Listen until the end of the block, from the last frame on."""
        known = next((one.id for one in reversed(self.frames) if one.id is not None), None)
        with stream(self.url, self.headers, known, self._listen):
            yield self

    def until(self, event: str, count: int = 1) -> None:
        """Wait until so many events of a kind have come."""
        wait_until(
            lambda: self.names.count(event) >= count, timeout=60, what=f"{count} {event} come"
        )

    def _listen(self, answer: Any) -> None:
        block = b""
        try:
            for line in answer:
                self.raw += line
                block += line
                if line == b"\n":
                    found, block = parse(block), b""
                    self.frames += [found] if found else []
            self.ended = True
        except (OSError, ValueError, http.client.HTTPException):
            return


def parse(block: bytes) -> Frame | None:
    """Return the frame of a block; None for a comment."""
    found = Frame()
    for line in block.decode().split("\n"):
        name, _, value = line.partition(": ")
        if name in {"event", "id", "data"}:
            setattr(found, name, value)
    return found if found.data else None


#: What differs from one task to the next.
_MASKS = {
    "ID": re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
    "TIME": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:\+00:00|Z)"),
    "PLACE": re.compile(r"\b\d+-\d+\.\d+(?:\.\d+)?"),
    "_ms": re.compile(r'_ms":\d+'),
}


def masked(text: str) -> str:
    """Return a text with ID and TIME for each id and time."""
    for name, pattern in _MASKS.items():
        text = pattern.sub(name, text)
    return text


def frames(body: str) -> list[Frame]:
    """Return the frames of a stream that has ended."""
    found = [parse(f"{block}\n\n".encode()) for block in body.split("\n\n") if block]
    return [one for one in found if one is not None]


def events(body: str) -> list[dict[str, Any]]:
    """Return the data of the frames of a stream that has ended."""
    return [json.loads(one.data) for one in frames(body)]


def start(http: Any, document: Any, path: str = "/send_data", **options: Any) -> str:
    """Start a task and return its id."""
    answer = http.post(path, json=document, **options)
    assert 202 == answer.status_code, answer.text
    task_id: str = answer.json()["task_id"]
    return task_id
