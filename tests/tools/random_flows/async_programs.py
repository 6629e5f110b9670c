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
    signal  waits for a message, or for one that nobody sends until its time is over

A program may go on as a new run once its body has ended, so many times.
"""

# A `def` step is typed as what it returns; a program awaits it all the same.
# mypy: disable-error-code="misc, no-any-return, call-overload, arg-type, list-item"

import asyncio
import random
from collections import Counter
from typing import Any, Final

import flowq
from flowq import flow, step
from flowq.authoring.definitions.flows import Flow
from flowq.core.errors import StepFailed
from flowq.core.retries import RetryPolicy
from flowq.core.states import RunState
from tests.tools.random_flows import programs

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
async def run_body(body: list[Statement], number: int, again: int = 0) -> int:
    number = await _run(body, number)
    if again:
        flowq.continue_as_new(body=body, number=number, again=again - 1)
    return number


def flow_of(_program: Program) -> Flow[..., Any]:
    return run_body


def inputs_of(program: Program) -> dict[str, Any]:
    return {"body": program["body"], "number": 0, "again": program["again"]}


def signals_of(program: Program) -> dict[str, list[int]]:
    """Return what has to be sent for each wait to end: by the signal's name, in this order."""
    sent: dict[str, list[int]] = {}

    def collect(body: list[Statement], times: int) -> None:
        for one in body:
            if one["op"] == "signal" and one["timeout"] is None:
                sent[one["name"]] = [one["first"] + place for place in range(times)]
            repeated = times * one["times"] if one["op"] == "loop" else times
            for inner in one.get("bodies", [one.get("body", [])]):
                collect(inner, repeated)

    collect(program["body"], program["again"] + 1)
    return sent


async def _run(body: list[Statement], number: int) -> int:
    for statement in body:
        number = await _KINDS[statement["op"]](statement, number)
    return number


def _called(statement: Statement, number: int) -> Any:
    retry = RetryPolicy(max_attempts=statement["tries"])
    return count.options(retry=retry)(number, statement["fails"])


def seconds_of(program: Program) -> float:
    """Return how long a program waits by itself, at most."""

    def waited(body: list[Statement]) -> float:
        seconds = 0.0
        for one in body:
            own = one.get("seconds", 0.0) + (one.get("timeout") or 0.0)
            own += sum(map(waited, one.get("bodies", [])))
            own += waited(one.get("body", [])) * (one["times"] if one["op"] == "loop" else 1)
            seconds += own * (one.get("again", 0) + 1)
        return seconds

    return waited(program["body"]) * (program["again"] + 1)


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
    got: list[Any] = await count_each.map(
        range(statement["size"]), fails=statement["plan"], tolerate="100%"
    )
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
        return int(await run_body(statement["body"], number, statement["again"]))
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


async def _signal(statement: Statement, number: int) -> int:
    timeout = statement["timeout"]
    try:
        return _heard(number, await flowq.signal(statement["name"], int, timeout=timeout))
    except TimeoutError:
        return number + CAUGHT


def _heard(number: int, message: int) -> int:
    """Return a number which tells in what order messages have come."""
    return (2 * number + message) % 1000


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
    "signal": _signal,
}


# --- plain Python --------------------------------------------------------------------------------


class _Failed(Exception):
    """A failure that nothing catches."""


def evaluate(program: Program) -> tuple[RunState, Any]:
    """Say how a run of a program ends, and with what."""
    try:
        return RunState.COMPLETED, _evaluate_run(program, 0, Counter())
    except _Failed:
        return RunState.FAILED, None


def _evaluate_run(program: Program, number: int, heard: Counter[str]) -> int:
    """Evaluate a program with all the runs as which it goes on.

    Args:
        program: What it runs, or the statement that calls it.
        number: What it begins with.
        heard: How many messages each wait has got so far.
    """
    for _ in range(program["again"] + 1):
        number = _evaluate(program["body"], number, heard)
    return number


def _evaluate(body: list[Statement], number: int, heard: Counter[str]) -> int:
    for one in body:
        number = _evaluate_one(one, number, heard)
    return number


def _evaluate_one(  # noqa: PLR0911 - a case for each
    one: Statement, number: int, heard: Counter[str]
) -> int:
    op = one["op"]
    if op in {"tasks", "loop", "child", "guard"}:
        return _evaluate_compound(one, number, heard)
    if op == "step":
        if one["fails"] < one["tries"]:
            return number + 1
        if not one["caught"]:
            raise _Failed
        return number + CAUGHT
    if op == "gather":
        return sum(_result(member, number) for member in one["members"]) % 1000
    if op == "map":
        plan = [programs.planned(one["plan"], i) for i in range(one["size"])]
        return number + sum(CAUGHT if fails else i + 1 for i, fails in enumerate(plan))
    if op == "signal":
        if one["timeout"] is not None:
            return number + CAUGHT
        heard[one["name"]] += 1
        return _heard(number, one["first"] + heard[one["name"]] - 1)
    return number + 1  # sleep, race


def _evaluate_compound(one: Statement, number: int, heard: Counter[str]) -> int:
    op = one["op"]
    if op == "tasks":
        return sum(_evaluate(body, number, heard) for body in one["bodies"]) % 1000
    if op == "child":
        try:
            return _evaluate_run(one, number, heard)
        except _Failed:
            return number + CAUGHT
    for _ in range(one["times"] if op == "loop" else 1):  # or a guard
        number = _evaluate(one["body"], number, heard)
    return number


def _result(member: Statement, number: int) -> int:
    return CAUGHT if member["fails"] >= member["tries"] else number + 1


# --- chance --------------------------------------------------------------------------------------


def random_program(chance: random.Random) -> Program:
    body = _body(chance, chance.randint(1, 4), depth=2)
    return {"body": body, "again": chance.choice([0, 0, 1, 2])}


def _body(
    chance: random.Random, size: int, depth: int, *, is_child: bool = False
) -> list[Statement]:
    return [_statement(chance, depth, is_child=is_child) for _ in range(size)]


def _call(chance: random.Random) -> Statement:
    tries = chance.choice([1, 1, 2])
    fails = chance.randint(1, tries) if chance.random() < 0.2 else 0
    return {"op": "step", "tries": tries, "fails": fails, "caught": chance.random() < 0.8}


def _statement(chance: random.Random, depth: int, *, is_child: bool) -> Statement:
    if depth and chance.random() < 0.4:
        return _compound(chance, depth - 1, is_child=is_child)
    simple = ["step", "step", "step", "gather", "gather", "sleep", "race", "map", "signal"]
    op = chance.choice(simple)
    if op == "step":
        return _call(chance)
    if op in {"gather", "race"}:
        return {"op": op, "members": [_call(chance) for _ in range(chance.randint(1, 5))]}
    if op == "map":
        return {"op": op, "size": chance.choice([0, 1, 3, 9]), "plan": [0, chance.choice([0, 1])]}
    if op == "sleep":
        return {"op": op, "seconds": chance.choice([0.1, 3, 70])}
    # Those who send know the run that they have begun, and none of its child runs.
    timeout = chance.choice([3, 70] if is_child else [None, None, None, 3, 70])
    name = f"s{chance.getrandbits(32):x}"
    return {"op": op, "name": name, "first": chance.randint(0, 99), "timeout": timeout}


def _compound(chance: random.Random, depth: int, *, is_child: bool) -> Statement:
    op = chance.choice(["tasks", "loop", "child", "guard"])
    if op == "tasks":
        bodies = [_body(chance, chance.randint(1, 2), depth, is_child=is_child) for _ in range(2)]
        return {"op": op, "bodies": bodies}
    size, is_child = chance.randint(1, 2), is_child or op == "child"
    body = _body(chance, size, depth, is_child=is_child)
    again = chance.choice([0, 0, 1]) if op == "child" else 0
    return {"op": op, "times": chance.randint(1, 3), "again": again, "body": body}
