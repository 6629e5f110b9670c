"""An app of the user's with ordinary tasks, on which flowq was installed."""

import os
import time
from pathlib import Path
from typing import Any

from celery import Celery

import flowq

app = Celery("tests.acceptance.canvas.shop_app", broker=os.environ.get("FLOWQ_REDIS_URL"))
app.conf.worker_send_task_events = True
flowq.install(app)


@app.task
def begin(number: int) -> int:
    return number


@app.task(bind=True, max_retries=5)
def work(self: Any, value: int, index: int, folder: str) -> int:
    """Note that it runs; the odd ones wait for the file `go`, and the first one retries once."""
    place = Path(folder)
    (place / f"{index}-{self.request.retries}-{time.monotonic_ns()}").touch()
    if index == 0 and self.request.retries == 0:
        raise self.retry(countdown=0.1)
    until = time.monotonic() + 120
    while index % 2 and not (place / "go").exists():
        assert time.monotonic() < until
        time.sleep(0.02)
    return value + index


@app.task
def total(values: list[int], folder: str) -> int:
    (Path(folder) / f"total-{time.monotonic_ns()}").touch()
    return sum(values)
