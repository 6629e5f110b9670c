"""N28, N52, N54, N55: what is logged, in which order, and with what."""

from itertools import pairwise
from typing import Any

from flowq.playbooks.control.events import Failure
from tests.tools.controls.driving import Drive, playbook

ONE_CALL = ["step.enter", "call.done", "step.exit"]


def numbered(drive: Drive) -> list[str]:
    """Return what was logged as text: `command.issued 1`, `step.exit start`."""
    return [f"{one.name} {one.payload.get('command_id') or one.step}" for one in drive.decisions]


def test_order_of_three_steps() -> None:
    """N55. The log adds `command.claimed` and `command.started` before each end of a command."""
    book = playbook({"step": "start", "next": [{"step": "a"}]}, {"step": "a"}, {"step": "end"})

    assert [
        "playbook.initialized test",
        "workflow.initialized workflow",
        "command.issued 1",
        "step.enter start",
        "call.done start",
        "step.exit start",
        "command.issued 2",
        "command.completed 1",
        "step.enter a",
        "call.done a",
        "step.exit a",
        "command.issued 3",
        "command.completed 2",
        "step.enter end",
        "call.done end",
        "step.exit end",
        "workflow.completed workflow",
        "playbook.completed test",
        "command.completed 3",
    ] == numbered(Drive(book))


def test_order_of_a_failure() -> None:
    assert [
        "command.issued 1",
        "step.enter start",
        "call.error start",
        "step.exit start",
        "workflow.failed workflow",
        "playbook.failed test",
        "command.failed 1",
    ] == numbered(Drive(playbook({"step": "start"}), {"start": [Failure("no")]}))[2:]


def test_step_enters_and_exits_once_over_pages_attempts_and_items() -> None:
    """N29."""
    case = [
        {"when": "error is defined", "then": [{"retry": {}}]},
        {
            "when": "event.name == 'call.done' and event.page == 1",
            "then": [{"call": {"params": {}}}],
        },
    ]
    book = playbook({"step": "start", "loop": {"in": [1, 2], "iterator": "n"}, "case": case})
    names = Drive(book, {"start": [Failure("no"), 1]}).names()

    counts = {name: names.count(name) for name in (*ONE_CALL, "call.error", "loop.item")}
    assert {
        "step.enter": 1,
        "call.done": 4,
        "call.error": 1,
        "loop.item": 2,
        "step.exit": 1,
    } == counts
    assert names.index("step.enter") < names.index("loop.item") < names.index("call.error")
    assert names.index("loop.done") == names.index("step.exit") - 1


def test_entry_that_fires_is_told_after_its_event() -> None:
    case = [{"when": "event.name", "then": [{"set": {"ctx": {"a": 1}}}]}]
    decisions = Drive(playbook({"step": "start", "case": case})).decisions

    before = [
        (str(first.name), second.payload["event"])
        for first, second in pairwise(decisions)
        if second.name == "case.evaluated"
    ]
    assert [(name, name) for name in ONE_CALL] == before


def test_payloads() -> None:
    """N54."""
    book = playbook(
        {"step": "start", "args": {"a": 1}, "loop": {"in": [7], "iterator": "n"}},
        workload={"w": 1},
    )
    decisions: dict[str, Any] = {
        one.name: one.payload for one in Drive(book, {"start": [5]}).decisions
    }

    assert {"args": {"a": 1}} == decisions["step.enter"]
    assert {"item": 7, "index": 0, "iterator": "n"} == decisions["loop.item"]
    assert {"response": 5} == decisions["call.done"]
    assert {"iterations": 1, "results": [5]} == decisions["loop.done"]
    whole = {"results": [5], "stats": {"total": 1, "success": 1, "failed": 0}}
    assert {"status": "completed", "result": whole} == decisions["step.exit"]
    lifecycle = {"status": "completed", "final_step": "start", "result": whole}
    assert lifecycle == decisions["workflow.completed"] == decisions["playbook.completed"]
    assert {
        "command_id": 1,
        "step": "start",
        "tool_kind": "noop",
        "tool_config": {},
        "args": {"a": 1},
        "attempt": 1,
        "page": 1,
        "priority": 0,
    } == decisions["command.issued"]


def test_errors_of_vars_are_told_only() -> None:
    """N51."""
    variables = {"a": "{{ result.x }}", "b": "{{ nowhere }}", "c": "{{ vars.a + 1 }}"}
    drive = Drive(playbook({"step": "start", "vars": variables}), {"start": [{"x": 1}]})

    assert {"a": 1, "c": 2} == drive.ctx
    assert ["b"] == [one.payload["name"] for one in drive.decisions if one.name == "vars.failed"]
