"""Programs that the acceptance tests run on real workers."""

# A `def` step is typed as what it returns; a program awaits it all the same.
# mypy: disable-error-code="misc, no-any-return, call-overload, arg-type"

import asyncio
import os
from pathlib import Path

import flowq
from flowq import flow, step
from flowq.core.errors import StepFailed
from tests.acceptance.apps.worker_flows import double, fail, flaky, hold


@step
def pid(number: int) -> int:
    return os.getpid()


@step
def leave(folder: str, name: str) -> str:
    """Leave a file."""
    Path(folder, name).touch()
    return name


@flow
async def everything(count: int) -> list[int]:
    """A loop, a gather (a chord from 8 on), a map, a sleep, a retry, a failure, a child run."""
    value = 1
    for _ in range(3):
        value = await double(value)
    gathered = await asyncio.gather(*(double(i) for i in range(count)))
    mapped = await double.map(range(count))
    await flowq.sleep(0.3)
    tries = await flaky(1)
    try:
        await fail("no")
    except StepFailed as error:
        caught = len(error.reason)
    child = await quartered(8)
    return [value, sum(gathered), sum(mapped), tries, caught, child]


def everything_result(count: int) -> list[int]:
    twice = sum(2 * i for i in range(count))
    return [8, twice, twice, 2, 2, 2]


@flow
async def quartered(number: int) -> int:
    return number // await double(2)


@flow
async def long_row(count: int, folder: str = "") -> int:
    """Call a step many times; with a folder, hold in the middle until there is `go` in it."""
    seen = set()
    for number in range(count):
        if folder and number == count // 2:
            await hold(folder)
        seen.add(await pid(number))
    return len(seen)


@flow
async def local_row(count: int, folder: str = "") -> list[int]:
    """Two processes at most: the one that begins, and one that continues after a crash.

    With a folder, hold in the middle until there is `go` in it.
    """
    here, seen = pid.options(local=True), []
    for number in range(count):
        if folder and number == count // 2:
            await hold.options(local=True)(folder)
        seen.append(await here(number))
    return list(dict.fromkeys(seen))


@flow
async def local_failure(text: str) -> str:
    try:
        await fail.options(local=True)(text)
    except StepFailed as error:
        return error.reason
    return "never"


@flow
async def tidy(folder: str) -> str:
    """Begin, sleep for an hour, and clean up."""
    await leave(folder, "begun")
    try:
        await flowq.sleep(3600)
    finally:
        await leave(folder, "cleaned")
    return "never"
