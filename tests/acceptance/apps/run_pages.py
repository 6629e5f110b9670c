"""Flows whose runs have all that a run's page shows; their text is put into a file of a folder."""

FLOWS = """
import asyncio
import time
from pathlib import Path

from pydantic import BaseModel

import flowq
from flowq import Budget, flow, step
from flowq.core.errors import StepFailed


class Approval(BaseModel):
    approved: bool
    note: str = ""


@step
def numbers(count: int) -> list[int]:
    return list(range(count))


@step(retries=1, retry_delay=0.01)
def picky(number: int) -> int:
    if number % 7 == 3:
        raise ValueError(f"{number} is not for me")
    return number


@step
def total(numbers: list) -> int:
    return len(numbers)


@step(retries=1, retry_delay=0.01)
def shaky(text: str) -> str:
    if step.context().attempt == 1:
        raise ConnectionError("lost once")
    return text.upper()


@step
def fail(message: str) -> None:
    try:
        raise TypeError("not one")
    except TypeError as error:
        raise LookupError(message) from error


@step
def after(value: object) -> object:
    return value


@step
def tell(text: str) -> str:
    with step.context().stream.open() as out:
        out.write(text)
    return text


@step
def hold(file: str) -> str:
    while not Path(file).exists():
        time.sleep(0.02)
    return "held"


@flow
def good(text: str) -> str:
    return shaky(text)


@flow
def mapped(count: int) -> int:
    return total(picky.map(numbers(count), tolerate=1000))


@flow
def bad_map(count: int) -> int:
    return total(picky.map(numbers(count)))


@flow
def inner(message: str) -> None:
    return after(fail(message))


@flow
def outer(message: str) -> None:
    return after(inner(message))


@flow
async def program(message: str) -> None:
    try:
        await fail("this one is caught")
    except StepFailed:
        pass
    await fail(message)


@flow
async def approval(subject: str) -> str:
    loud = await shaky(subject)
    answer = await flowq.signal("approve", Approval)
    return f"{loud}: {answer.approved} {answer.note}"


@flow
async def loop(left: int) -> str:
    await shaky("x")
    if left:
        flowq.continue_as_new(left=left - 1)
    return "end"


@flow(budget=Budget(usd=2, tokens=1000, on_exceeded="pause"))
def held(file: str) -> str:
    return after(hold(file))


@flow
def streaming(text: str) -> str:
    return tell(text)


@flow
def quiet() -> int:
    return 1
"""
