"""A flow whose steps end one after the other, each when it is let go."""

import time
from pathlib import Path
from typing import Any

import flowq
from flowq import flow, step

app = flowq.celery_app()


@step
def hold(before: Any, file: str) -> str:
    deadline = time.monotonic() + 600
    while not Path(file).exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    return file


@flow(name="tests.relay")
def relay(folder: str, count: int) -> Any:
    last: Any = None
    for number in range(count):
        last = hold.options(key=f"s{number}")(last, f"{folder}/{number}")
    return last
