"""The arrows of a playbook: what leads from a step to another one."""

from typing import Any

import pytest

from flowq.playbooks.document.arrows import Arrow, ArrowKind, arrows
from flowq.playbooks.document.models import Playbook

NOOP = {"kind": "noop"}


def playbook(*steps: dict[str, Any]) -> Playbook:
    return Playbook.of(
        {"metadata": {"name": "one"}, "workflow": [{"tool": NOOP, **step} for step in steps]}
    )


@pytest.mark.parametrize(
    "action, arrow",
    [
        ({"next": [{"step": "b"}]}, Arrow("a", "b", ArrowKind.NEXT, "x")),
        ({"call": {"step": "b"}}, Arrow("a", "b", ArrowKind.BRANCH, "x")),
        ({"call": {"params": {"page": 2}}}, Arrow("a", "a", ArrowKind.PAGE, "x")),
        ({"retry": {"params": {"page": 2}}}, Arrow("a", "a", ArrowKind.PAGE, "x")),
        ({"retry": {"max_attempts": 2}}, Arrow("a", "a", ArrowKind.RETRY, "x")),
        ({"sink": {"tool": NOOP}}, Arrow("a", "a_sink", ArrowKind.SINK, "x")),
    ],
)
def test_an_action_leads_on_under_its_condition(action: dict[str, Any], arrow: Arrow) -> None:
    book = playbook({"step": "a", "case": [{"when": "x", "then": [action]}]}, {"step": "b"})

    assert arrows(book) == (arrow,)


@pytest.mark.parametrize("action", [{"set": {"ctx": {}}}, {"fail": {}}, {"skip": {}}])
def test_other_actions_lead_nowhere(action: dict[str, Any]) -> None:
    assert arrows(playbook({"step": "a", "case": [{"when": "x", "then": [action]}]})) == ()


def test_next_has_no_condition_and_the_end_that_is_not_there_no_arrow() -> None:
    following = [{"step": "b"}, {"step": "end"}, {"step": "b", "args": {"n": 1}}]
    book = playbook({"step": "a", "next": following}, {"step": "b", "next": [{"step": "a"}]})

    assert arrows(book) == (Arrow("a", "b"), Arrow("b", "a"))


def test_the_sink_of_a_step_is_a_branch() -> None:
    book = playbook({"step": "a", "sink": {"tool": NOOP}, "next": [{"step": "b"}]}, {"step": "b"})

    assert arrows(book) == (Arrow("a", "a_sink", ArrowKind.SINK), Arrow("a", "b"))
