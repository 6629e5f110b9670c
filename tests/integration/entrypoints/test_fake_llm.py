"""What the fake model server counts is counted when its client has the answer."""

import json
import threading
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError

import pytest

from flowq.entrypoints.fake_llm import FakeLlm, server

CHAT = {"messages": [{"role": "user", "content": "why is it so"}]}
IMAGE = {"prompt": "a cat"}


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Hold the server where it has sent an answer, until the test has looked at what it says."""
    looked = threading.Event()
    finish = server._Call.finish

    def finish_and_wait(handler: server._Call, *args: Any) -> Any:
        sent = finish(handler, *args)
        looked.wait(60)
        return sent

    monkeypatch.setattr(server._Call, "finish", finish_and_wait)
    yield looked
    looked.set()


def ask(fake_llm: FakeLlm, path: str, body: dict[str, Any]) -> int:
    """Ask, read the whole answer, and return its status."""
    headers = {"X-Client-Request-Id": "one", "Connection": "close"}
    data = json.dumps(body).encode()
    request = urllib.request.Request(f"{fake_llm.url}/{path}", data, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            if body.get("stream"):
                while response.readline() != b"data: [DONE]\n":
                    pass
            else:
                response.read(int(response.headers["Content-Length"]))
            return int(response.status)
    except HTTPError as error:
        return error.code


@pytest.mark.parametrize(
    "path, body",
    [
        ("chat/completions", {"model": "fake", **CHAT}),
        ("chat/completions", {"model": "fake", "stream": True, **CHAT}),
        ("chat/completions", {"model": "fake-wrong", **CHAT}),
        ("images/generations", {"model": "fake", **IMAGE}),
    ],
    ids=["whole", "streamed", "wrong", "image"],
)
def test_an_answer_is_counted_before_its_client_has_it(
    fake_llm: FakeLlm, looked: threading.Event, path: str, body: dict[str, Any]
) -> None:
    assert ask(fake_llm, path, body) == 200

    stats = fake_llm.stats
    assert (stats.calls, stats.answered, stats.under_way, stats.gone) == (1, 1, 0, 0)
    assert stats.input_tokens > 0
    assert stats.output_tokens > 0
    assert stats.bill == {"one": (stats.input_tokens, stats.output_tokens)}
    looked.set()


@pytest.mark.parametrize("model, status", [("fake-429", 429), ("fake-badjson", 200)])
def test_what_is_not_paid_for_is_over_before_its_client_has_it(
    fake_llm: FakeLlm, looked: threading.Event, model: str, status: int
) -> None:
    assert ask(fake_llm, "chat/completions", {"model": model, **CHAT}) == status

    stats = fake_llm.stats
    assert (stats.calls, stats.answered, stats.under_way) == (1, 0, 0)
    assert stats.faults.total() == 1
    assert stats.bill == {}
    looked.set()
