"""What servers say that a call has used: believed where it can be so, and else unknown, never 0."""

import asyncio
import json
import threading
from collections.abc import Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from flowq import bootstrap
from flowq.adapters.records.database import SqlRecords
from flowq.core.usage import CostStatus
from flowq.engine.model.model_calls import CostBy
from flowq.llm import caller
from tests.tools.llm_steps import Ask, Stream

LEFT_OUT = object()


class Server:
    """Answers chat completions with a usage that a test chooses."""

    usage: Any = LEFT_OUT

    def body(self, *, stream: bool) -> bytes:
        head = {"id": "1", "created": 1, "model": "mine"}
        said = {"role": "assistant", "content": "hello"}
        usage = {} if self.usage is LEFT_OUT else {"usage": self.usage}
        if not stream:
            choice = {"index": 0, "finish_reason": "stop", "message": said}
            whole = {**head, "object": "chat.completion", "choices": [choice], **usage}
            return json.dumps(whole).encode()
        head["object"] = "chat.completion.chunk"
        chunks: list[Any] = [
            {**head, "choices": [{"index": 0, "delta": said, "finish_reason": None}]},
            {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
            *([{**head, "choices": [], **usage}] if usage else []),
        ]
        lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
        return "".join([*lines, "data: [DONE]\n\n"]).encode()


@pytest.fixture
def server(sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    served = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            stream = bool(asked.get("stream"))
            body = served.body(stream=stream)
            self.send_response(200)
            kind = "text/event-stream" if stream else "application/json"
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    prices = {"openai:mine": {"input": 1000, "output": 2000}}
    for name, value in {
        "FLOWQ_HOME": str(tmp_path),
        "FLOWQ_DATABASE_URL": sqlite_url,
        "FLOWQ_MODEL": "openai:mine",
        "FLOWQ_OPENAI_BASE_URL": f"http://127.0.0.1:{http.server_port}/v1",
        "FLOWQ_PRICES": json.dumps(prices),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(bootstrap, "_process", bootstrap._ProcessState())
    bootstrap.settings.cache_clear()
    caller._has_records.cache_clear()
    yield served
    caller._has_records.cache_clear()
    http.shutdown()
    http.server_close()
    thread.join()
    records = bootstrap.engine().records
    assert isinstance(records, SqlRecords)
    records.close()
    bootstrap.settings.cache_clear()


def counts(read: Any, written: Any, **more: Any) -> dict[str, Any]:
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": 1, **more}


UNKNOWN = {
    "left out": LEFT_OUT,
    "null": None,
    "empty": {},
    "zeros": counts(0, 0),
    "input alone": {"prompt_tokens": 10},
    "no output": counts(10, 0),
    "no input": counts(0, 10),
    "nulls": counts(None, None),
    "negative": counts(-5, -1),
    "more than a column holds": counts(10**15, 10**15),
    "more than a number holds": counts(10**40, 5),
    "texts": counts("ten", "5"),
    "parts": counts(10.5, 5),
    "more cached than read": counts(10, 5, prompt_tokens_details={"cached_tokens": 50}),
}


@pytest.mark.filterwarnings("ignore")  # the libraries say what is wrong with it, too
@pytest.mark.parametrize("usage", UNKNOWN.values(), ids=UNKNOWN)
@pytest.mark.parametrize("step", [Ask, Stream], ids=["whole", "stream"])
def test_the_answer_counts_and_its_cost_is_unknown(
    server: Server, usage: Any, step: type[Ask]
) -> None:
    server.usage = usage

    result = asyncio.run(step().execute({"question": "why"}))

    assert "hello" == result.output_content
    facts = result.metadata
    assert (None, CostStatus.UNKNOWN) == (facts.cost_estimate, facts.cost_status)
    assert 0 <= facts.tokens_used < 2**31
    [line] = bootstrap.engine().records.autocommit(lambda tx: tx.llm_requests.costs(CostBy.MODEL))
    assert (1, 1, 0, Decimal(0)) == (line.calls, line.unknown, line.failed, line.cost)


@pytest.mark.parametrize("step", [Ask, Stream], ids=["whole", "stream"])
def test_the_cost_is_known_when_all_counts_are(server: Server, step: type[Ask]) -> None:
    server.usage = counts(10, 5, prompt_tokens_details=None)

    facts = asyncio.run(step().execute({"question": "why"})).metadata

    assert (15, 0.02, CostStatus.KNOWN) == (
        facts.tokens_used,
        facts.cost_estimate,
        facts.cost_status,
    )
