"""Flows and steps that are called as the Celery tasks which they also are; and steps that fail."""

import asyncio
from typing import Any

from pydantic import BaseModel

import flowq
from flowq import BaseFlow, errors, flow, step

app = flowq.celery_app()


class Point(BaseModel):
    x: int
    y: int = 0


@step
def add(left: int, right: int = 1) -> int:
    return left + right


@step
def total(numbers: list[int]) -> int:
    return sum(numbers)


@step
def moved(point: Point) -> Point:
    return Point(x=point.x + 1, y=point.y)


@step
async def slow_add(left: int) -> int:
    await asyncio.sleep(0)
    return left + 1


@step
def broken(number: int) -> int:
    raise ValueError(f"{number} is broken")


@step
def odd_breaks(number: int) -> int:
    if number % 2:
        raise ValueError(f"{number} is odd\nand breaks")
    return number


@flow
def sum_of(left: int, right: int = 1) -> int:
    return add(left, right)


@flow
def nothing() -> int:
    return add(1)


@flow
async def program(left: int) -> Any:
    return await slow_add(left)


class Classy(BaseFlow):
    flow_name = "called-classy"

    async def _execute_flow_logic(self, inputs: dict[str, int]) -> dict[str, int]:
        return {"doubled": 2 * inputs["n"]}


@step
def counted(numbers: list[Any]) -> int:
    return len(numbers)


@flow
def tolerant(tolerate: int) -> int:
    return counted(odd_breaks.map(list(range(16)), tolerate=tolerate))


@flow
def lenient() -> int:
    return counted([broken.options(allow_failure=True)(3)])


@flow
async def catching() -> str:
    try:
        await odd_breaks.map([1])
    except errors.StepFailed as error:
        return error.step
    return "nothing"


@flow
def failing() -> int:
    return broken(7)
