"""Flows whose every step leaves a line in the effects ledger, and what each flow must return.

The ledger is a file outside any transaction: what stands in it has happened, whatever became of the
attempt that did it.
"""

# A `def` step is typed as what it returns; a program awaits it all the same.
# mypy: disable-error-code="misc, no-any-return, call-overload, arg-type, list-item"

import asyncio
import ctypes
import json
import os
import resource
import time
from pathlib import Path
from typing import Any

import flowq
from flowq import flow, step

LEDGER = "CHAOS_LEDGER"


def effect() -> None:
    """Leave a line in the ledger: one write, which O_APPEND keeps whole."""
    here = step.context()
    line = {"step": here.step_id.hex, "attempt": here.attempt, "pid": os.getpid()}
    line |= {"key": here.key, "index": here.index, "time": time.monotonic()}
    file = os.open(os.environ[LEDGER], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, json.dumps(line).encode() + b"\n")
    finally:
        os.close(file)


@step
def numbers(count: int) -> list[int]:
    effect()
    return list(range(count))


@step
def work(number: int, pause: float = 0.0) -> int:
    effect()
    time.sleep(pause)
    return number * number


@step
def total(values: list[int]) -> int:
    effect()
    return sum(values)


@step
def add(left: int, right: int) -> int:
    effect()
    return left + right


@step(retries=3, retry_delay=0.05)
def flaky(number: int) -> int:
    effect()
    # By the clock of failures, not by the number of the attempt, which recoveries raise too.
    if step.context().attempt == 1:
        raise ConnectionError("not yet")
    return number


@flow
def mixed(count: int, pause: float = 0.0) -> int:
    """A map (a chord from 8 items on), a batch of two, a retry, a join."""
    squares = work.map(numbers(count), pause=pause)
    left = total.options(key="left")(squares)
    right = work.options(key="right")(flaky(count), pause=pause)
    return add(left, right)


def mixed_result(count: int) -> int:
    return sum(n * n for n in range(count)) + count * count


@flow
def chain(length: int, pause: float = 0.0) -> int:
    """One step after the other."""
    value = work.options(key="first")(1, pause=pause)
    for number in range(1, length):
        value = add.options(key=f"add{number}")(value, number)
    return value


def chain_result(length: int) -> int:
    return 1 + sum(range(1, length))


@flow
def nested(count: int) -> int:
    """Two child runs and a join."""
    return add(mixed(count), chain.options(key="other")(count))


def nested_result(count: int) -> int:
    return mixed_result(count) + chain_result(count)


@flow
async def program(count: int, pause: float = 0.0) -> int:
    """Gathered steps (a chord from 8 on), a map, a retry, a child run, a sleep, and a loop."""
    squares = await asyncio.gather(*(work(number, pause) for number in range(count)))
    again, once, child = await asyncio.gather(
        work.map(range(3), pause=pause), flaky(count), mixed(count)
    )
    value = sum(squares) + sum(again) + once + child
    await flowq.sleep(0.2)
    for number in range(count):
        value = await add(value, number)
    return value


def program_result(count: int) -> int:
    squares = sum(n * n for n in range(count))
    return squares + 5 + count + mixed_result(count) + sum(range(count))


@flow(fair_by="tenant")
def fair(tenant: str, count: int, pause: float = 0.0) -> int:
    """A map whose items wait in the line of a tenant."""
    return total(work.map(list(range(count)), pause=pause))


def fair_result(count: int) -> int:
    return sum(n * n for n in range(count))


@flow(singleton="queue", singleton_by="key")
def one_at_a_time(key: str, number: int, pause: float = 0.0) -> int:
    return work(number, pause)


# Long, since the next run has to be submitted within it.
@flow(debounce=10.0, debounce_by="key")
def debounced(key: str, number: int) -> int:
    return work(number)


@step
def hold(folder: str, name: str) -> str:
    """Say that it runs, and wait to be let go."""
    effect()
    place = Path(folder)
    (place / f"{name}.{step.context().attempt}.{os.getpid()}").touch()
    deadline = time.monotonic() + 300
    while not (place / "go").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    return f"held {name}"


@flow
def held(folder: str, names: list[str]) -> list[str]:
    return [hold.options(key=name)(folder, name) for name in names]


@step
def blob(size: int, folder: str = "") -> str:
    """Return a large result; with a folder, when it is let go."""
    effect()
    if folder:
        (Path(folder) / f"blob.{step.context().attempt}.{os.getpid()}").touch()
        while not (Path(folder) / "go").exists():
            time.sleep(0.01)
    return "x" * size


@step
def length(text: str) -> int:
    effect()
    return len(text)


@flow
def large(size: int, folder: str = "") -> int:
    return length(blob(size, folder))


@flow
def many_large(size: int, count: int) -> int:
    return total(length.map(blob.map([size] * count)))


@step
def poison(kind: str) -> int:
    """Take its process down, in one of the ways in which native code does."""
    effect()
    if kind == "exit":
        os._exit(3)
    if kind == "segfault":
        ctypes.string_at(0)
    if kind == "memory":
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (400 * 2**20, hard))
        try:
            return len(bytearray(2**30))
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    return 0


@flow
def poisoned(kind: str, siblings: int) -> Any:
    bad = poison.options(allow_failure=True)(kind)
    return {"bad": bad, "good": total([work.options(key=f"w{n}")(n) for n in range(siblings)])}
