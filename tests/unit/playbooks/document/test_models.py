"""The values of a playbook: their canonical plain form, forwards and back."""

from datetime import timedelta

import pytest

from flowq.core.retries import RetryPolicy
from flowq.playbooks import Playbook
from flowq.playbooks.document.models import (
    Branch,
    Call,
    Collect,
    Fail,
    Json,
    Next,
    Page,
    Result,
    Retry,
    Set,
    Sink,
    Skip,
    Tool,
    Transition,
)

NOOP = {"kind": "noop"}


def book(**keys: Json) -> Playbook:
    """Return a playbook of one step with some keys."""
    step = {"step": "start", "tool": NOOP, **keys}
    return Playbook.of({"metadata": {"name": "one"}, "workflow": [step]})


@pytest.mark.parametrize(
    "plain, action",
    [
        ({"set": {"ctx": {"a": 1}}}, Set({"a": 1})),
        ({"set": "{{ result }}"}, Set("{{ result }}")),
        ({"set": {"ctx": {}, "flags": {"b": True}}}, Set({}, {"b": True})),
        (
            {"collect": {"from": "response.data", "into": "all", "mode": "extend"}},
            Collect("response.data", None, "all", "extend"),
        ),
        (
            {"collect": {"path": "items", "strategy": "replace"}},
            Collect(None, "items", None, "replace", is_merging_result=True),
        ),
        ({"result": {"from": "ctx.all"}}, Result(source="ctx.all")),
        ({"result": {"from": "ctx.all", "n": 1}}, Result(literal={"from": "ctx.all", "n": 1})),
        ({"result": None}, Result()),
        ({"call": {"params": {"page": 2}}}, Call({"params": {"page": 2}})),
        ({"call": {"step": "other"}}, Branch("other")),
        (
            {"retry": {"max_attempts": 2, "initial_delay": 1, "backoff_multiplier": 3}},
            Retry(2, 1, 3),
        ),
        (
            {"retry": {"params": {"page": 2}, "max_attempts": 5}},
            Page({"params": {"page": 2}}, 5),
        ),
        ({"sink": {"tool": NOOP, "on_error": "ignore"}}, Sink(Tool("noop"), on_error="ignore")),
        (
            {"next": [{"step": "a"}, {"step": "b", "args": {"n": 1}}]},
            Next((Transition("a"), Transition("b", {"n": 1}))),
        ),
        ({"fail": {"message": "no"}}, Fail("no")),
        ({"skip": {}}, Skip()),
    ],
)
def test_n37_an_action_and_its_plain_form(plain: Json, action: object) -> None:
    read = book(case=[{"when": "yes", "then": [plain]}])

    assert (action,) == read.workflow[0].case[0].then
    assert [plain] == read.to_dict()["workflow"][0]["case"][0]["then"]


def test_every_key_of_a_step_comes_back() -> None:
    keys = {
        "desc": "the first",
        "args": {"a": "{{ b }}"},
        "loop": {"in": [1], "iterator": "n", "mode": "parallel", "on_error": "collect"},
        "next": [{"step": "start"}],
        "vars": {"v": 1},
        "join": "all",
        "retry": {
            "max_attempts": 4,
            "initial_delay": 1.5,
            "backoff_multiplier": 2.0,
            "max_delay": 60.0,
            "jitter": 0.5,
        },
        "timeout": 2.5,
        "queue": "slow",
        "sink": {"tool": NOOP},
        "result": {"from": "response"},
    }

    read = book(**keys)

    assert keys == {k: v for k, v in read.to_dict()["workflow"][0].items() if k in keys}
    assert read == Playbook.of(read.to_dict())
    assert timedelta(seconds=2.5) == read.workflow[0].timeout
    assert (
        RetryPolicy(
            max_attempts=4,
            initial_delay=timedelta(seconds=1.5),
            max_delay=timedelta(minutes=1),
            jitter=0.5,
        )
        == read.workflow[0].retry
    )


def test_an_old_worker_ignores_what_a_newer_sender_writes() -> None:
    read = book(colour="blue", loop={"in": [1], "iterator": "n", "shape": "round"})

    assert read == book(loop={"in": [1], "iterator": "n"})


def test_the_digest_is_that_of_the_meaning() -> None:
    assert book(next=[]).digest == book().digest
    assert book(next=[{"step": "start"}]).digest != book().digest
