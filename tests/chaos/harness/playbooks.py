"""Playbooks whose every call leaves a line in the effects ledger, and the server of their pages.

What the server answers depends on the call that asks and not on how often it is repeated: so a
killed worker changes nothing of what a playbook sees. The call says its id in a header, which comes
from an environment variable that `traced` sets.
"""

import json
import os
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from flowq import StepCall, StepContext
from flowq.playbooks.building import Playbook, Step, http, python, tool
from tests.chaos.harness.flows import effect

STEP_ID: Final = "CHAOS_STEP"
#: What workers need to run these playbooks.
ENVIRONMENT: Final = {
    "FLOWQ_FETCH_HOSTS": "127.0.0.1",
    "FLOWQ_PLAYBOOK_PYTHON": "inline",
    "FLOWQ_PLAYBOOK_ENV": STEP_ID,
}
#: Every so many-th page fails the first call that asks for it.
FLAKY: Final = 5


async def traced(step: StepCall, context: StepContext, call_next: Any) -> Any:
    """Leave a line for each attempt of a tool; a middleware of workers that run one at a time."""
    if step.name.startswith("flowq.tool."):
        effect()
        os.environ[STEP_ID] = context.idempotency_key
    return await call_next()


class Pages:
    """A server of pages, and how often each call has asked for one.

    Attributes:
        held: A page that is not answered until `release`.
        waiting: Set when somebody waits for it.
    """

    def __init__(self, last: int) -> None:
        self.last = last
        self.held: int | None = None
        self.waiting, self._released = threading.Event(), threading.Event()
        self.asked: Counter[tuple[int, str]] = Counter()
        self._failed: dict[tuple[str, int], str] = {}  # the call that a page has failed, by run
        self._lock = threading.Lock()

    def answer(self, run: str, page: int, step: str) -> tuple[int, Any]:
        """Return the status and the body of an answer."""
        with self._lock:
            self.asked[page, step] += 1
            if page % FLAKY == 0 and self._failed.setdefault((run, page), step) == step:
                return 503, {"error": "not yet"}
        return 200, {"items": [2 * page - 1, 2 * page], "page": page, "more": page < self.last}

    def hold(self) -> None:
        """Keep somebody waiting."""
        self.waiting.set()
        self._released.wait(120)

    def release(self) -> None:
        """Answer every page from now on; those who wait get no answer."""
        self.held = None
        self._released.set()

    @property
    def repeated(self) -> int:
        """Requests beyond one per call."""
        return self.asked.total() - len(self.asked)

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Serve on a port of this machine; give the address."""
        pages = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked = parse_qs(urlsplit(self.path).query)
                page = int(asked["page"][0])
                status, body = pages.answer(asked["run"][0], page, self.headers["x-step"])
                if page == pages.held:
                    pages.hold()
                    return  # whoever has asked was killed
                data = json.dumps(body).encode()
                self.send_response_only(status)  # without the date
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join(60)
            server.server_close()


def _pages(**keys: Any) -> Step:
    """Return a step that collects all pages, and repeats a call that failed."""
    into = {"from": "response.data.items", "into": "orders", "mode": "extend"}
    case = [
        {
            "when": "error is defined and error.status == 503",
            "then": {"retry": {"max_attempts": 3, "initial_delay": 0.1}},
        },
        {
            "when": "event.name == 'call.done' and response.data.more",
            "then": {
                "collect": into,
                "call": {"params": {"page": "{{ response.data.page + 1 }}"}},
            },
        },
        {"when": "event.name == 'call.done'", "then": {"collect": into}},
    ]
    call = http(
        "GET",
        "{{ workload.url }}/orders",
        params={"page": 1, "run": "{{ execution_id }}"},
        headers={"x-step": "{{ secret.CHAOS_STEP }}"},
    )
    return Step("pages", call, case=case, **keys)


#: An item of a loop takes a while, and as long as the file `hold` exists.
_WAIT: Final = """
import pathlib, time

time.sleep(0.02)
while pathlib.Path(hold).exists():
    time.sleep(0.01)
"""


def _loop(name: str, code: str, count: int, *, mode: str, case: Any = (), **keys: Any) -> Step:
    loop = {"in": list(range(count)), "iterator": "n", "mode": mode, "max_concurrency": 4}
    loop["on_error"] = "collect"
    args = {"n": "{{ n }}", "hold": "{{ workload.hold }}"}
    return Step(name, python(_WAIT + code), loop=loop, args=args, case=list(case), **keys)


_SQUARE: Final = "result = n * n"
_SOME_FAIL: Final = "if n % 9 == 0:\n    raise ValueError(n)\nresult = n * n"
#: With entries for its items each of them is a call of the program.
_AGAIN: Final = [
    {"when": "error is defined", "then": {"retry": {"max_attempts": 2, "initial_delay": 0.1}}},
    {
        "when": "event.name == 'call.done' and error is not defined",
        "then": {"collect": {"from": "response", "into": "squares", "mode": "append"}},
    },
]
_TOTAL: Final = "result = [sum(orders), sum(squares), sum(chain)]"
_ARGS: Final = {
    "orders": "{{ ctx.orders }}",
    "squares": "{{ ctx.squares | sort }}",
    "chain": "{{ chain.results }}",
}


def _total(**keys: Any) -> Step:
    return Step("total", python(_TOTAL), args=_ARGS, **keys)


def one_after_the_other(count: int) -> Playbook:
    """Return a playbook in which one call is open at a time: its log has one order."""
    return Playbook.new("chain", path="chaos/chain").add(
        Step("start", tool("noop"), next="pages"),
        _pages(next="squares"),
        _loop("squares", _SOME_FAIL, count, mode="sequential", case=_AGAIN, next="chain"),
        _loop("chain", _SQUARE, count, mode="parallel", next="total"),
        _total(),
    )


def all_at_once(count: int) -> Playbook:
    """Return a playbook of four branches and a join, three of them loops of so many items."""
    return Playbook.new("fan", path="chaos/fan").add(
        Step("start", tool("noop"), next=["pages", "squares", "chain", "cubes"]),
        _pages(next="total"),
        _loop("squares", _SOME_FAIL, count, mode="parallel", case=_AGAIN, next="total"),
        _loop("chain", _SQUARE, count, mode="sequential", next="total"),
        _loop("cubes", "result = n ** 3", count, mode="parallel", next="total"),
        _total(join="all"),
    )


def outcome(pages: int, count: int) -> Mapping[str, Any]:
    """Return what both come to."""
    squares = [n * n for n in range(count)]
    some = sum(square for n, square in enumerate(squares) if n % 9)
    total = [sum(range(2 * pages + 1)), some, sum(squares)]
    return {"status": "completed", "final_step": "total", "result": total}
