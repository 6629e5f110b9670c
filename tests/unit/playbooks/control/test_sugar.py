"""Sugar that needs rules to mean something: pages of a loop, retries with conditions (N31, N71)."""

from typing import Any

from flowq.playbooks.control.commands import Command
from flowq.playbooks.control.events import Failure
from flowq.playbooks.parser import playbook_of
from tests.tools.controls.driving import Drive


def drive(answers: Any, **step: Any) -> Drive:
    """Run a document of one step `start`."""
    return Drive(
        playbook_of(
            {
                "apiVersion": "noetl.io/v2",
                "kind": "Playbook",
                "metadata": {"name": "one"},
                "workflow": [{"step": "start", "tool": {"kind": "http", "url": "x"}, **step}],
            }
        ),
        {"start": answers},
    )


def answer(body: Any) -> dict[str, Any]:
    """Return the response of a request."""
    facts = {"status": 200, "status_code": 200, "headers": {}, "url": "x", "elapsed_ms": 1}
    return {**facts, "data": body}


def page(command: Command) -> dict[str, Any]:
    """Return a page of two numbers; there are three pages for each city."""
    params = command.tool.config.get("params", {})
    number, seen = params.get("page", 1), params.get("seen", 0)
    return answer({"items": [number, -number], "more": number < 3, "seen": seen})


def test_n31_each_item_of_a_loop_asks_for_its_own_pages() -> None:
    done = drive(
        page,
        loop={
            "in": ["Bern", "Genf"],
            "iterator": "city",
            "mode": "parallel",
            "pagination": {
                "continue_while": "{{ response.data.more }}",
                "next_page": {
                    "params": {
                        "page": "{{ iteration + 2 }}",
                        "seen": "{{ accumulated | length }}",
                    }
                },
                "merge_strategy": "extend",
                "merge_path": "items",
            },
        },
    )

    results: Any = done.result
    assert [[1, -1, 2, -2, 3, -3]] * 2 == [one["data"] for one in results["results"]]
    assert 6 == len(done.commands)
    assert [None, 2, 4] == [
        one.tool.config.get("params", {}).get("seen") for one in done.commands if one.item == 0
    ]


def test_n31_pages_end_at_max_iterations() -> None:
    done = drive(
        lambda _: answer({"items": [1], "more": True}),
        loop={
            "in": [0],
            "iterator": "n",
            "pagination": {
                "continue_while": "response.data.more",
                "next_page": {"params": {"page": "{{ iteration }}"}},
                "merge_path": "items",
                "max_iterations": 4,
            },
        },
    )

    assert 4 == len(done.commands)


def test_n31_a_page_that_fails_is_asked_for_again() -> None:
    pages = [Failure("down", status=503), answer({"items": [1], "more": False})]
    done = drive(
        pages,
        loop={
            "in": [0],
            "iterator": "n",
            "pagination": {
                "continue_while": "response.data.more",
                "next_page": {"params": {"page": 2}},
                "merge_path": "items",
                "retry": {"max_attempts": 2, "delay": 3},
            },
        },
    )

    assert [None, 3] == [one.backoff for one in done.commands]


def test_n71_a_step_is_retried_while_its_condition_holds() -> None:
    down, gone = Failure("down", status=503), Failure("gone", status=404)
    retry = {"retry_when": "{{ error.status >= 400 }}", "stop_when": "error.status == 404"}

    done = drive([down, {"data": 1}], retry=retry)

    assert [None, 1] == [one.backoff for one in done.commands]
    assert 1 == len(
        drive([gone], retry=retry, case=[{"when": "error", "then": {"fail": "x"}}]).commands
    )


def test_n71_a_list_of_retries_asks_for_pages() -> None:
    rule = {
        "when": "{{ response.data.more and _retry.index < 9 }}",
        "then": {
            "next_call": {"params": {"page": "{{ _retry.index + 1 }}"}},
            "collect": {"path": "items", "strategy": "extend", "into": "all"},
        },
    }

    done = drive(page, retry=[rule])

    assert [1, 2, 3] == [
        one.tool.config.get("params", {"page": 1})["page"] for one in done.commands
    ]
    assert [1, -1, 2, -2] == done.ctx["all"]
