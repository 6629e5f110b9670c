"""Random `async def` programs: JSON data that a flow runs, and that plain Python evaluates.

A body is a list of statements, each of which changes one number:

    step    awaits a step, which fails so many times by plan; a caught failure counts 100
    gather  awaits several at once, and collects failures
    tasks   branches in a task group, each a body of its own
    map     maps a step over some numbers
    sleep   waits
    loop    repeats a body
    child   awaits a child run of another program
    race    waits for the first of a few, gives the others up, and forgets the results
    guard   a body with a `finally` that awaits a step
"""

# A `def` step is typed as what it returns; a program awaits it all the same.
# mypy: disable-error-code="misc, no-any-return, call-overload, arg-type, list-item"

import asyncio
import random
from typing import Any, Final

import flowq
from flowq import flow, step
from flowq.authoring.flows import Flow
from flowq.core.errors import StepFailed
from flowq.core.retries import RetryPolicy
from flowq.core.states import RunState
from tests import programs

Program = dict[str, Any]
Statement = dict[str, Any]

CAUGHT: Final = 100


@step
def count(number: int, fails: int) -> int:
    programs.attempt(fails)
    return number + 1


@step
def count_each(item: int, fails: list[int]) -> int:
    index = step.context().index
    assert index is not None
    programs.attempt(programs.planned(fails, index))
    return item + 1


@flow
async def run_body(body: list[Statement], number: int) -> int:
    return await _run(body, number)


def flow_of(_program: Program) -> Flow[..., Any]:
    return run_body


def inputs_of(program: Program) -> dict[str, Any]:
    return {"body": program["body"], "number": 0}


async def _run(body: list[Statement], number: int) -> int:
    for statement in body:
        number = await _KINDS[statement["op"]](statement, number)
    return number


def _called(statement: Statement, number: int) -> Any:
    retry = RetryPolicy(max_attempts=statement["tries"])
    return count.options(retry=retry)(number, statement["fails"])


async def _step(statement: Statement, number: int) -> int:
    try:
        return int(await _called(statement, number))
    except StepFailed:
        if not statement["caught"]:
            raise
        return number + CAUGHT


async def _gather(statement: Statement, number: int) -> int:
    calls = [_called(one, number) for one in statement["members"]]
    got = await asyncio.gather(*calls, return_exceptions=True)
    return sum(CAUGHT if isinstance(one, BaseException) else one for one in got) % 1000


async def _tasks(statement: Statement, number: int) -> int:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_run(body, number)) for body in statement["bodies"]]
    return sum(task.result() for task in tasks) % 1000


async def _map(statement: Statement, number: int) -> int:
    got = await count_each.map(range(statement["size"]), fails=statement["plan"], tolerate="100%")
    return number + sum(one if isinstance(one, int) else CAUGHT for one in got)


async def _sleep(statement: Statement, number: int) -> int:
    await flowq.sleep(statement["seconds"])
    return number + 1


async def _loop(statement: Statement, number: int) -> int:
    for _ in range(statement["times"]):
        number = await _run(statement["body"], number)
    return number


async def _child(statement: Statement, number: int) -> int:
    try:
        return int(await run_body(statement["body"], number))
    except StepFailed:
        return number + CAUGHT


async def _race(statement: Statement, number: int) -> int:
    tasks = [asyncio.ensure_future(_called(one, number)) for one in statement["members"]]
    tasks.append(asyncio.ensure_future(flowq.sleep(5)))
    _, open_ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in open_:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return number + 1


async def _guard(statement: Statement, number: int) -> int:
    try:
        return await _run(statement["body"], number)
    finally:
        await count(number, 0)


_KINDS: Final = {
    "step": _step,
    "gather": _gather,
    "tasks": _tasks,
    "map": _map,
    "sleep": _sleep,
    "loop": _loop,
    "child": _child,
    "race": _race,
    "guard": _guard,
}


# --- plain Python --------------------------------------------------------------------------------


class _Failed(Exception):
    """A failure that nothing catches."""


def evaluate(program: Program) -> tuple[RunState, Any]:
    """Say how a run of a program ends, and with what."""
    try:
        return RunState.COMPLETED, _evaluate(program["body"], 0)
    except _Failed:
        return RunState.FAILED, None


def _evaluate(body: list[Statement], number: int) -> int:
    for one in body:
        number = _evaluate_one(one, number)
    return number


def _evaluate_one(one: Statement, number: int) -> int:  # noqa: C901, PLR0911 - a case for each
    op = one["op"]
    if op == "step":
        if one["fails"] < one["tries"]:
            return number + 1
        if not one["caught"]:
            raise _Failed
        return number + CAUGHT
    if op == "gather":
        return sum(_result(member, number) for member in one["members"]) % 1000
    if op == "tasks":
        return sum(_evaluate(body, number) for body in one["bodies"]) % 1000
    if op == "map":
        plan = [programs.planned(one["plan"], i) for i in range(one["size"])]
        return number + sum(CAUGHT if fails else i + 1 for i, fails in enumerate(plan))
    if op == "loop":
        for _ in range(one["times"]):
            number = _evaluate(one["body"], number)
        return number
    if op == "child":
        try:
            return _evaluate(one["body"], number)
        except _Failed:
            return number + CAUGHT
    if op == "guard":
        return _evaluate(one["body"], number)
    return number + 1  # sleep, race


def _result(member: Statement, number: int) -> int:
    return CAUGHT if member["fails"] >= member["tries"] else number + 1


# --- chance --------------------------------------------------------------------------------------


def random_program(chance: random.Random) -> Program:
    return {"body": _body(chance, chance.randint(1, 4), depth=2)}


def _body(chance: random.Random, size: int, depth: int) -> list[Statement]:
    return [_statement(chance, depth) for _ in range(size)]


def _call(chance: random.Random) -> Statement:
    tries = chance.choice([1, 1, 2])
    fails = chance.randint(1, tries) if chance.random() < 0.2 else 0
    return {"op": "step", "tries": tries, "fails": fails, "caught": chance.random() < 0.8}


def _statement(chance: random.Random, depth: int) -> Statement:
    op = chance.choice(["step", "step", "step", "gather", "gather", "sleep", "race", "map"])
    if depth and chance.random() < 0.4:
        op = chance.choice(["tasks", "loop", "child", "guard"])
    if op == "step":
        return _call(chance)
    if op in {"gather", "race"}:
        return {"op": op, "members": [_call(chance) for _ in range(chance.randint(1, 5))]}
    if op == "tasks":
        bodies = [_body(chance, chance.randint(1, 2), depth - 1) for _ in range(2)]
        return {"op": op, "bodies": bodies}
    if op == "map":
        return {"op": op, "size": chance.choice([0, 1, 3, 9]), "plan": [0, chance.choice([0, 1])]}
    if op == "sleep":
        return {"op": op, "seconds": chance.choice([0.1, 3, 70])}
    size = chance.randint(1, 2)
    return {"op": op, "times": chance.randint(1, 3), "body": _body(chance, size, depth - 1)}
