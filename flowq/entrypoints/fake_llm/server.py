"""The server: chat completions, images, models and statistics.

A call counts as *answered* when its whole answer was written to a client that was still there: what
`GET /stats` says then was paid for, as a provider would see it. The call is counted just before the
last byte is sent, so a client that has its answer finds it counted. If the byte cannot be sent, the
count is reduced again.
"""

import asyncio
import base64
import json
import threading
from collections import Counter
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

from tornado.httpserver import HTTPServer
from tornado.iostream import StreamClosedError
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from flowq.entrypoints.fake_llm.answers import (
    Answer,
    answer,
    chunks,
    completion,
    conversation,
    tokens,
)
from flowq.entrypoints.fake_llm.faults import Behaviour, Fault, behaviour
from flowq.entrypoints.fake_llm.pictures import png

#: What an image costs in tokens, whatever its size.
_IMAGE_TOKENS = 1000
#: The tokens of an answer: read and written.
_Used = tuple[int, int]


@dataclass
class Stats:
    """What was asked of the server since it began."""

    calls: int = 0  #: Requests that have come in.
    under_way: int = 0
    most_at_once: int = 0  #: The most that were in flight at one moment.
    answered: int = 0  #: Calls whose answer, no error, has reached its client.
    input_tokens: int = 0  #: Of the answered ones.
    output_tokens: int = 0
    models: Counter[str] = field(default_factory=Counter)  #: Calls by model.
    faults: Counter[str] = field(default_factory=Counter)  #: Faults by kind.
    gone: int = 0  #: Calls whose client has left before the answer.
    #: Calls of each conversation with each model.
    earlier: Counter[tuple[str, str]] = field(default_factory=Counter)
    #: Input and output tokens of each answered call, by the id that its request has.
    bill: dict[str, tuple[int, int]] = field(default_factory=dict)

    def reset(self) -> None:
        """Begin again; what is running stays so."""
        fresh = Stats(under_way=self.under_way, most_at_once=self.under_way)
        vars(self).update(vars(fresh))


class _Handler(RequestHandler):
    """What all handlers share."""

    def initialize(self, stats: Stats, latency: float) -> None:
        """Take what the server knows; tornado calls this."""
        self._stats = stats
        self._latency = latency
        self._gone = asyncio.Event()
        self._under_way = False

    def on_connection_close(self) -> None:
        """Remember that the client has left."""
        self._gone.set()

    def set_default_headers(self) -> None:
        """Say JSON; an error says it too."""
        self.set_header("Content-Type", "application/json")

    def write_error(self, status_code: int, **_: Any) -> None:
        """Say errors as the API does."""
        self.finish(_error(status_code, self._reason))


class _Call(_Handler):
    """A call of a model: counted, slowed down and broken as its model's name says."""

    async def post(self) -> None:
        """Answer a call."""
        request = json.loads(self.request.body)
        model = str(request.get("model", ""))
        stats = self._stats
        stats.calls += 1
        stats.models[model] += 1
        stats.under_way += 1
        self._under_way = True
        stats.most_at_once = max(stats.most_at_once, stats.under_way)
        try:
            if not await self._respond(model, request):
                stats.gone += 1
        except StreamClosedError:
            stats.gone += 1
        finally:
            self._over()

    async def _respond(self, model: str, request: dict[str, Any]) -> bool:
        how = behaviour(model)
        place = (model, conversation(request))
        fault = how.fault(self._stats.earlier[place])
        self._stats.earlier[place] += 1
        if fault is not None:
            self._stats.faults[fault.kind] += 1
        if seconds := how.seconds or self._latency:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._gone.wait(), seconds)
        if self._gone.is_set():
            return False
        if fault is not None and fault.status:
            self._refuse(fault.status, how)
            return True
        return await self._send(model, request, how, fault)

    def _refuse(self, status: int, how: Behaviour) -> None:
        if status == 429:
            self.set_header("Retry-After", str(how.retry_after))
        self.set_status(status)
        self._over()
        self.finish(_error(status, "this model is made to fail like this"))

    def _over(self) -> None:
        """Stop counting this call as running, before its client can have the whole answer."""
        if self._under_way:
            self._under_way = False
            self._stats.under_way -= 1

    async def _send(
        self, model: str, request: dict[str, Any], how: Behaviour, fault: Fault | None
    ) -> bool:
        raise NotImplementedError

    async def _body(self, body: str, fault: Fault | None, used: _Used | None) -> None:
        """Write a body, paid for when all of it is sent, or what the fault leaves of it."""
        kind = fault.kind if fault else ""
        if kind == "badjson":
            body = body[: len(body) // 2] + " this is no JSON"
        if kind == "cut":
            self.set_header("Content-Length", len(body.encode()))
            self.write(body[: len(body) // 2])
            await self.flush()
            self._hang_up()
        else:
            await self._last(body, None if kind == "badjson" else used)

    def _hang_up(self) -> None:
        self._over()
        self.detach().close()

    async def _last(self, body: str, paid: _Used | None) -> None:
        """Send the last bytes of an answer, and count it if it is paid for."""
        self._over()
        if paid is None:
            await self.finish(body)
            return
        self._count(1, paid)
        try:
            await self.finish(body)
        except StreamClosedError:
            self._count(-1, paid)
            raise

    def _count(self, sign: int, paid: _Used) -> None:
        read, written = paid
        self._stats.answered += sign
        self._stats.input_tokens += sign * read
        self._stats.output_tokens += sign * written
        request_id = self.request.headers.get("X-Client-Request-Id")
        if request_id and sign > 0:
            self._stats.bill[request_id] = paid
        elif request_id:
            self._stats.bill.pop(request_id, None)


class _Chat(_Call):
    """`POST /v1/chat/completions`."""

    async def _send(
        self, model: str, request: dict[str, Any], how: Behaviour, fault: Fault | None
    ) -> bool:
        kind = fault.kind if fault else ""
        said = answer(
            request,
            wrong=kind == "wrong",
            empty=kind == "empty",
            output=how.output_tokens,
            cached=how.cached_tokens,
        )
        if request.get("stream"):
            return await self._stream(model, request, said, fault)
        used = (said.input_tokens, said.output_tokens)
        await self._body(json.dumps(completion(model, said)), fault, used)
        return True

    async def _stream(
        self, model: str, request: dict[str, Any], said: Answer, fault: Fault | None
    ) -> bool:
        self.set_header("Content-Type", "text/event-stream")
        usage = bool((request.get("stream_options") or {}).get("include_usage"))
        parts = list(chunks(model, said, usage=usage))
        kind = fault.kind if fault else ""
        for number, part in enumerate(parts):
            if number == len(parts) // 2 and kind == "cut":
                self._hang_up()
                return True
            text = "{ this is no JSON" if kind == "badjson" and number == 1 else json.dumps(part)
            self.write(f"data: {text}\n\n")
            await self.flush()
            if self._gone.is_set():
                return False
        used = (said.input_tokens, said.output_tokens)
        await self._last("data: [DONE]\n\n", None if kind == "badjson" else used)
        return True


class _Images(_Call):
    """`POST /v1/images/generations`."""

    async def _send(
        self,
        model: str,  # noqa: ARG002 - as of all calls
        request: dict[str, Any],
        how: Behaviour,
        fault: Fault | None,
    ) -> bool:
        prompt = str(request.get("prompt", ""))
        size = str(request.get("size", "auto"))
        picture = base64.b64encode(png(prompt, size)).decode()
        images = [{"b64_json": picture, "revised_prompt": f"A fake picture of: {prompt}"}]
        read, made = tokens(prompt), how.output_tokens or _IMAGE_TOKENS
        usage = {
            "input_tokens": read,
            "output_tokens": made,
            "total_tokens": read + made,
            "input_tokens_details": {"text_tokens": read, "image_tokens": 0},
        }
        body = json.dumps({"created": 0, "data": images, "usage": usage})
        await self._body(body, fault, (read, made) if fault is None else None)
        return True


class _Models(_Handler):
    """`GET /v1/models`."""

    def get(self) -> None:
        """List one model; any other name is answered too."""
        self.finish({"object": "list", "data": [{"id": "fake", "object": "model"}]})


class _Stats(_Handler):
    """`GET /stats`, and `DELETE /stats` to begin again."""

    def get(self) -> None:
        """Say what was asked so far."""
        private = {"bill", "earlier"}
        self.finish({name: one for name, one in vars(self._stats).items() if name not in private})

    def delete(self) -> None:
        """Forget what was asked so far."""
        self._stats.reset()
        self.finish({})


def _error(status: int, message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "fake", "code": status}}


class FakeLlm:
    """The server, in a thread of this process: `with FakeLlm() as server: server.url`.

    Args:
        port: Where it listens; 0 takes any free port.
        host: On which interface.
        latency: Seconds before each answer, unless the model's name says another number.
    """

    def __init__(self, port: int = 0, *, host: str = "127.0.0.1", latency: float = 0.0) -> None:
        self.stats = Stats()
        given = {"stats": self.stats, "latency": latency}
        routes: list[tuple[str, type[RequestHandler], dict[str, Any]]] = [
            ("/v1/chat/completions", _Chat, given),
            ("/v1/images/generations", _Images, given),
            ("/v1/models", _Models, given),
            ("/stats", _Stats, given),
        ]
        self._application = Application(routes, log_function=lambda _: None)
        self._sockets = bind_sockets(port, host, backlog=1024)
        self.port: int = self._sockets[0].getsockname()[1]
        self.url = f"http://{host}:{self.port}/v1"
        self._stop: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self.run, name="fake-llm", daemon=True)

    def run(self) -> None:
        """Serve in this thread, until `stop` or an interrupt."""
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = HTTPServer(self._application)
        server.add_sockets(self._sockets)
        self._ready.set()
        try:
            await self._stop.wait()
        finally:
            server.stop()
            closing: Awaitable[None] = server.close_all_connections()
            await closing

    def reset(self) -> None:
        """Count again."""
        self.stats.reset()

    def stop(self) -> None:
        """End the server, from any thread."""
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._thread.join(10)
