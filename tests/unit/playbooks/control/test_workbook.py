"""N5, N20: a task of the workbook takes the place of its call."""

from typing import Any

import pytest

from flowq.playbooks.control.control import PlaybookFailed
from tests.tools.controls.driving import Drive, playbook

TASK: dict[str, Any] = {
    "name": "load",
    "tool": {
        "kind": "http",
        "endpoint": "{{ workload.base }}/{{ args.what }}",
        "args": {"what": None, "size": 5},
    },
    "assert": {"expects": ["what"], "returns": ["rows"]},
    "sink": {"tool": {"kind": "sqlite"}, "args": {"rows": "{{ result }}"}},
}


def called(tool: dict[str, Any], **step: Any) -> Drive:
    book = playbook(
        {"step": "start", "tool": {"kind": "workbook", **tool}, **step},
        workbook=[TASK],
        workload={"base": "http://x", "task": "load"},
    )
    return Drive(book, {"start": [7]})


@pytest.mark.parametrize(
    "tool",
    [
        {"task": "load", "args": {"what": "a"}},
        {"task": "{{ task }}", "args": {"what": "{{ 'a' }}"}},
    ],
)
def test_arguments_of_the_call_go_over_those_of_the_task(tool: dict[str, Any]) -> None:
    command = called(tool).commands[0]

    assert ("http", {"endpoint": "http://x/a"}) == (command.tool.kind, command.tool.config)
    assert {"what": "a", "size": 5} == command.args
    assert (("what",), ("rows",)) == (command.expects, command.returns)


def test_arguments_of_the_step_go_over_those_of_the_task() -> None:
    command = called({"task": "load"}, args={"what": "b"}).commands[0]

    assert {"what": "b", "size": 5} == command.args
    assert "http://x/b" == command.tool.config["endpoint"]


def test_task_stores_what_it_has_made() -> None:
    drive = called({"task": "load", "args": {"what": "a"}})

    assert ["start", "start_sink"] == drive.steps()
    assert {"rows": 7} == drive.commands[1].args


def test_unknown_task_fails_the_step() -> None:
    with pytest.raises(PlaybookFailed, match="no task 'other'"):
        called({"task": "other"}).control.outcome()
