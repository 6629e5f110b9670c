"""The same work as plain Celery canvas, with Celery's defaults for a Redis broker and backend."""

import os
import time
from functools import cache

from celery import Celery, chain, chord, group
from celery.canvas import Signature
from openai import OpenAI

app = Celery("raw", broker=os.environ["BENCH_REDIS"], backend=os.environ["BENCH_REDIS"])
app.conf.broker_connection_retry_on_startup = True
app.conf.task_default_queue = "raw"  # the other side has a worker on the same Valkey


@app.task
def noop(x: int) -> int:
    """Return the input."""
    return x


@app.task
def count(xs: list[int]) -> int:
    """Return how many there are."""
    return len(xs)


@app.task
def nap(x: int) -> int:
    """Wait for a second; gevent lets others run meanwhile."""
    time.sleep(1)
    return x


@cache
def client() -> OpenAI:
    """Return the client of this process, with as many connections as there are calls."""
    return OpenAI(base_url=os.environ["FLOWQ_OPENAI_BASE_URL"], api_key="none", max_retries=0)


@app.task
def ask(text: str) -> str:
    """Ask a model as `Summarise` does, with nothing recorded."""
    said = client().chat.completions.create(
        model="fake-1s", messages=[{"role": "user", "content": f"Summarise this: {text}"}]
    )
    return str(said.choices[0].message.content)


def fan_out(n: int) -> Signature:
    """N → 1."""
    return chord([noop.s(i) for i in range(n)], count.s())


def line(n: int) -> Signature:
    """A chain of n."""
    return chain(noop.s(0), *[noop.s() for _ in range(n - 1)])


def diamond(x: int) -> Signature:
    """1 → 3 → 1."""
    return chain(noop.s(x), group([noop.s(), noop.s(), noop.s()]), count.s())


def naps(n: int) -> Signature:
    """N waits of a second at once."""
    return chord([nap.s(i) for i in range(n)], count.s())


def asks(texts: list[str]) -> Signature:
    """A call of a model for each text, at once."""
    return chord([ask.s(text) for text in texts], count.s())
