"""A step of a playbook costs what an awaited step of a program in Python costs, and no more."""

from typing import Any

import pytest

from flowq import flow
from flowq.adapters.records.database import SqlRecords
from flowq.playbooks.parser import read_playbook
from flowq.playbooks.running.program import playbook
from flowq.playbooks.running.tools import TOOLS
from tests.integration.playbooks.test_program import HEAD, settings
from tests.tools.controls.costs import counted
from tests.tools.playing import Stage

__all__ = ["settings"]

NOOP: Any = TOOLS["noop"]
PYTHON: Any = TOOLS["python"]
MAKE = "result = ['x' * size]"
CHAIN = """
workflow:
  - {step: start, tool: {kind: noop}, args: {n: 1}, next: second}
  - {step: second, tool: {kind: noop}, args: {n: 2}, next: third}
  - {step: third, tool: {kind: noop}, args: {n: 3}}
"""
PASSED = """
workflow:
  - step: start
    tool: {kind: python, code: "result = ['x' * size]"}
    args: {size: SIZE}
    next: second
  - {step: second, tool: {kind: noop}, args: {text: "{{ start }}"}}
"""
LOOP = """
workflow:
  - step: start
    loop: {in: [1, 2, 3], iterator: n, mode: parallel}
    tool: {kind: noop}
    args: {n: "{{ n }}"}
"""


@flow
async def chain() -> None:
    for n in (1, 2, 3):
        await NOOP(config={}, args={"n": n})


@flow
async def passed(size: int, lazy: bool) -> None:  # noqa: FBT001
    make = PYTHON.options(lazy=lazy)
    made = await make(config={"code": MAKE}, args={"size": size})
    await NOOP(config={}, args={"text": made})


@flow
async def loop() -> None:
    await NOOP.map([1, 2, 3], config={}, args={"n": 1}, context={}, iterator="n")


def costs(
    records: SqlRecords, monkeypatch: pytest.MonkeyPatch, each: Any, inputs: Any
) -> list[tuple[int, int, int]]:
    """Return what each delivery has cost, in order."""
    stage = Stage.on(records)
    played = stage.submit(each, inputs)
    found = []
    while stage.dispatcher.due_now:
        with counted(monkeypatch, stage) as cost:
            stage.dispatcher.run(stage.engine, limit=1)
        found.append((cost.statements, cost.units, cost.sent))
    played.result()
    return found


def of_playbook(records: SqlRecords, monkeypatch: pytest.MonkeyPatch, text: str) -> Any:
    document = read_playbook(HEAD + text).to_dict()
    return costs(records, monkeypatch, playbook, {"document": document, "payload": {}})


@pytest.mark.parametrize(
    "text, program, deliveries", [(CHAIN, chain, 4), (LOOP, loop, 5)], ids=["chain", "loop"]
)
def test_steps_cost_what_awaited_steps_cost(
    records: SqlRecords, monkeypatch: pytest.MonkeyPatch, text: str, program: Any, deliveries: int
) -> None:
    wanted = costs(records, monkeypatch, program, {})

    assert len(wanted) == deliveries
    assert wanted == of_playbook(records, monkeypatch, text)


@pytest.mark.parametrize("size", [20, 500, 2000, 100_000])
def test_result_that_is_passed_on_costs_what_a_lazy_one_costs(
    records: SqlRecords, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    lazy = costs(records, monkeypatch, passed, {"size": size, "lazy": True})
    eager = costs(records, monkeypatch, passed, {"size": size, "lazy": False})

    assert lazy == of_playbook(records, monkeypatch, PASSED.replace("SIZE", str(size)))
    # Only who gets a reference reads one row more.
    more = [(one[0] - other[0], one[1] - other[1]) for one, other in zip(lazy, eager, strict=True)]
    referenced = (1, 1) if size > 1024 else (0, 0)
    assert [(0, 0), (0, 0), referenced] == more
