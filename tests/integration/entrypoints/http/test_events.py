"""Streams of events: any number of readers, who may leave and come again, on one follower."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import httpx2
import pytest

from flowq import flow, step
from flowq.adapters.events.memory import MemoryEvents
from flowq.client import followers
from flowq.core.errors import RunNotFound
from flowq.core.ids import RunId
from flowq.entrypoints.http import sse
from flowq.entrypoints.http.runs import routes
from tests.tools.http_service import Listener, awaited, client, serving
from tests.tools.playing import Stage
from tests.tools.waiting import wait_until

#: What steps wait for.
go_on = threading.Semaphore(0)


@step
def guarded(value: int) -> int:
    assert go_on.acquire(timeout=60)
    return value


@flow(name="tests.http.chain")
def chain(length: int) -> int:
    value: Any = 0
    for number in range(length):
        value = guarded.options(key=f"s{number}")(value)
    return value  # type: ignore[no-any-return]


@pytest.fixture(autouse=True)
def _nothing_waits(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(routes._FOLLOWERS, "_linger", 600.0)  # a slow machine is no reason to end
    yield
    routes._FOLLOWERS.close()
    while go_on.acquire(blocking=False):
        pass


@pytest.fixture
def address(played: Stage) -> Iterator[str]:
    with serving() as address:
        yield address


def begin(address: str, length: int) -> str:
    body = {"inputs": {"length": length}}
    answer = httpx2.post(f"{address}/api/flows/tests.http.chain/runs", json=body)
    assert 202 == answer.status_code, answer.text
    return f"{address}/api/runs/{answer.json()['id']}/events"


def release(steps: int) -> None:
    for _ in range(steps):
        go_on.release()


def keys(listener: Listener, event: str = "STEP_COMPLETED") -> list[str]:
    return [json.loads(one.data)["step"] for one in listener.frames if one.event == event]


def test_two_readers_and_a_late_one_get_the_same_bytes(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "_PING", 600.0)  # silence is sent to those who wait
    url = begin(address, 6)
    first, second, late = Listener(url), Listener(url), Listener(url)
    with first.listening(), second.listening():
        release(3)
        first.until("STEP_COMPLETED", 3)
        release(3)
        for listener in (first, second):
            listener.until("WORKFLOW_COMPLETED")
            wait_until(lambda listener=listener: listener.ended, what="the stream ends")  # type: ignore[misc]
    with late.listening():
        wait_until(lambda: late.ended, what="the stream ends")

    assert first.raw == second.raw == late.raw
    assert first.raw.startswith(b"retry: 1000\n\n")
    assert [f"s{number}" for number in range(6)] == keys(first)
    data = [json.loads(frame.data) for frame in first.frames]
    assert [frame.event for frame in first.frames] == [one["event_type"] for one in data]
    assert [frame.id for frame in first.frames] == [one["id"] for one in data]


def test_readers_share_one_thread_which_ends_after_them(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def threads() -> int:
        return sum(one.name == f"flowq-follow-{run_id}" for one in threading.enumerate())

    monkeypatch.setattr(routes._FOLLOWERS, "_linger", 0.5)
    url = begin(address, 1)
    run_id = url.split("/")[-2]
    listeners = [Listener(url) for _ in range(30)]
    contexts = [listener.listening() for listener in listeners]
    for context in contexts:
        context.__enter__()
    for listener in listeners:
        listener.until("STEP_STARTED")
    assert 1 == threads()
    for context in contexts:
        context.__exit__(None, None, None)
    wait_until(lambda: threads() == 0, timeout=60, what="nobody follows the run any more")
    release(1)


@pytest.mark.parametrize("is_lost", [False, True])
def test_reader_that_reconnects_misses_nothing_and_receives_nothing_twice(
    played: Stage, address: str, *, is_lost: bool
) -> None:
    """Also when the stream is lost in between: the rows have what it had."""
    url = begin(address, 12)
    listener = Listener(url)
    for part in range(4):
        with listener.listening():
            release(3)
            listener.until("STEP_COMPLETED", 3 * (part + 1))
        if is_lost:
            assert isinstance(played.engine.events, MemoryEvents)
            played.engine.events.forget()
    with listener.listening():
        listener.until("WORKFLOW_COMPLETED")
    assert [f"s{number}" for number in range(12)] == keys(listener)
    assert 1 == listener.names.count("WORKFLOW_STARTED")
    assert len({frame.id for frame in listener.frames}) == len(listener.frames)


def test_who_comes_to_another_server_continues_there(played: Stage) -> None:
    with serving() as one:
        url = begin(one, 6)
        listener = Listener(url)
        with listener.listening():
            release(3)
            listener.until("STEP_COMPLETED", 3)
    # It has no server's state; the followers of this process are another server's now.
    routes._FOLLOWERS.close()
    with serving() as other:
        listener.url = url.replace(one, other)
        with listener.listening():
            release(3)
            listener.until("WORKFLOW_COMPLETED")
    assert [f"s{number}" for number in range(6)] == keys(listener)
    assert 1 == listener.names.count("WORKFLOW_STARTED")


def test_after_the_end_nobody_comes_again(played: Stage) -> None:
    release(1)
    http = client()
    body = {"inputs": {"length": 1}}
    run_id = http.post("/api/flows/tests.http.chain/runs", json=body).json()["id"]
    awaited(http, run_id)

    whole = http.get(f"/api/runs/{run_id}/events")
    assert "text/event-stream; charset=utf-8" == whole.headers["Content-Type"]
    assert ("no-cache", "no") == (
        whole.headers["Cache-Control"],
        whole.headers["X-Accel-Buffering"],
    )
    assert "id: end\n\n" in whole.text
    for known, status in [("end", 204), ("start", 200), ("of another life", 400)]:
        answer = http.get(f"/api/runs/{run_id}/events", headers={"Last-Event-ID": known})
        assert status == answer.status_code


def test_silence_is_broken_by_a_comment(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "_PING", 0.05)
    listener = Listener(begin(address, 1))
    with listener.listening():
        wait_until(lambda: listener.raw.count(b": ping\n\n") >= 3, what="comments come")
    release(1)


def test_too_many_streams_are_refused_for_now(played: Stage) -> None:
    with serving(http_streams=2) as address:
        url = begin(address, 1)
        with Listener(url).listening(), Listener(url).listening():
            answer = httpx2.get(url)
            assert (503, "5") == (answer.status_code, answer.headers["Retry-After"])
            assert "TooManyStreams" == answer.json()["error"]

        def is_let_in() -> bool:
            with httpx2.stream("GET", url) as again:
                return again.status_code == 200

        wait_until(is_let_in, what="there is room again")
        release(1)


def test_client_that_takes_nothing_is_left(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "_PATIENCE", 0.3)
    monkeypatch.setattr(sse, "_PING", 0.01)
    monkeypatch.setattr(sse.EventStream, "silence", b": " + b"x" * 100_000 + b"\n\n")
    url = urlsplit(begin(address, 1))
    run_id = RunId(UUID(url.path.split("/")[-2]))
    with socket.create_connection((url.hostname, url.port), timeout=60) as connection:
        connection.sendall(f"GET {url.path} HTTP/1.1\r\nHost: {url.netloc}\r\n\r\n".encode())
        assert b"H" == connection.recv(1), "the head comes when the run is followed"
        began = time.monotonic()
        wait_until(lambda: run_id not in routes._FOLLOWERS.sinks(), timeout=60, what="it is left")
        assert time.monotonic() - began < 60
    release(1)


def test_run_that_is_deleted_ends_its_streams(played: Stage, address: str) -> None:
    def gone(*_: object, **__: object) -> Iterator[Any]:
        raise RunNotFound("there is no such run")
        yield

    url = begin(address, 1)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(followers, "follow", gone)
        listener = Listener(url)
        with listener.listening():
            wait_until(lambda: listener.ended, what="the stream ends")
    assert ["ERROR"] == listener.names
    assert "RunNotFound" == json.loads(listener.frames[0].data)["error"]
    release(1)
