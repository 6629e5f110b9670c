"""The rule table: which entry of `case` fires on which event, and how often.

It is a contract with authors of documents. A scenario is one step and what its calls return; a row
is a condition and the events on which it fires in each scenario.
"""

from collections.abc import Mapping
from typing import Any, Final

import pytest

from flowq.playbooks.control.events import Failure
from tests.tools.controls.driving import Answer, Drive, playbook

BROKEN: Final = Failure("no", type="HTTPError", status=503)
ITEMS: Final = {"in": [1, 2], "iterator": "n"}
PAGING: Final = {
    "when": "event.name == 'call.done' and response.more",
    "then": [{"call": {"params": {"page": "{{ response.page }}"}}}],
}
RETRYING: Final = {
    "when": "event.name == 'call.error' and error is defined",
    "then": [{"retry": {"max_attempts": 3}}],
}

#: The fields of a step; what its calls return. The entry that is tested comes after the step's own.
Scenario = tuple[Mapping[str, Any], Answer]
SCENARIOS: Final[Mapping[str, Scenario]] = {
    "one call": ({}, [{"value": 1}]),
    "one failed call": ({}, [BROKEN]),
    "two items": ({"loop": ITEMS}, [{"value": 1}]),
    "two items at once": ({"loop": {**ITEMS, "mode": "parallel"}}, [{"value": 1}]),
    "no items": ({"loop": {**ITEMS, "in": []}}, []),
    "a failed item": ({"loop": {**ITEMS, "on_error": "collect"}}, [BROKEN, {"value": 1}]),
    "two pages": ({"case": [PAGING]}, [{"more": True, "page": 2}, {"more": False}]),
    "two attempts": ({"case": [RETRYING]}, [BROKEN, {"value": 1}]),
}

DONE, ERROR, ENTER, EXIT = "call.done", "call.error", "step.enter", "step.exit"
ITEM, LOOPED = "loop.item", "loop.done"
#: When a condition without `event` is true of every call: once for each that succeeds.
PER_CALL: Final = {
    "one call": [DONE],
    "one failed call": [],
    "two items": [DONE, DONE],
    "two items at once": [DONE, DONE],
    "no items": [],
    "a failed item": [DONE],
    "two pages": [DONE],  # the first page is the other entry's
    "two attempts": [DONE],
}


def at(*events: str) -> dict[str, list[str]]:
    """Return the row of a condition that is true of some events, except of failures."""
    happens = {
        "one call": [ENTER, DONE, EXIT],
        "one failed call": [ENTER],
        "two items": [ENTER, ITEM, DONE, ITEM, DONE, LOOPED, EXIT],
        "two items at once": [ENTER, ITEM, ITEM, DONE, DONE, LOOPED, EXIT],
        "no items": [ENTER, LOOPED, EXIT],
        "a failed item": [ENTER, ITEM, ITEM, DONE, LOOPED, EXIT],
        "two pages": [ENTER, DONE, EXIT],
        "two attempts": [ENTER, DONE, EXIT],
    }
    return {name: [one for one in all_ if one in events] for name, all_ in happens.items()}


def failures(event: str, *, step: str | None = None) -> dict[str, list[str]]:
    """Return the row of a condition that is true of failures only.

    Args:
        event: As which a failed call is handled.
        step: As which the step's own failure is handled, when the call's was not.
    """
    calls = {"one failed call": [event], "a failed item": [event]}
    if step:
        calls = {"one failed call": [step]}
    return {name: calls.get(name, []) for name in SCENARIOS}


EVERY: Final = at(ENTER, ITEM, DONE, LOOPED, EXIT)
ROWS: Final[Mapping[str, Mapping[str, list[str]]]] = {
    # 2. an entry that does not name `event` is about calls that have ended
    "true": PER_CALL,
    "response is defined": PER_CALL,
    "result is defined": PER_CALL,
    "{{ result is defined }}": PER_CALL,
    "workload is defined": PER_CALL,
    # 2. one that names it is tried on every event
    "event": EVERY,
    "event.name": EVERY,
    "event.attempt >= 1": EVERY,
    "event.name == 'step.enter'": at(ENTER),
    "event.name == 'loop.item'": at(ITEM),
    "event.name == 'call.done'": at(DONE),
    "{{ event.name == 'call.done' }}": at(DONE),
    "event.name == 'loop.done'": at(LOOPED),
    "event.name == 'step.exit'": at(EXIT),
    "event.name in ['step.enter', 'step.exit']": at(ENTER, EXIT),
    "event.name == 'step.enter' or event.name == 'call.done'": at(ENTER, DONE),
    "event.name != 'call.done'": at(ENTER, ITEM, LOOPED, EXIT),
    "event.name and response is defined": at(DONE, EXIT),
    "event.name and result is defined": at(DONE, LOOPED, EXIT),
    # 3. a failure is never taken for a success
    "error is defined": failures(ERROR),
    "error.status == 503": failures(ERROR),
    "error": failures(ERROR),
    "event.name == 'call.error'": failures(ERROR),
    "event.name == 'call.error' and error.status == 503": failures(ERROR),
    "event.name == 'call.done' and error is defined": failures(DONE),
    "event.name and error is defined": failures(ERROR),
    "event.name == 'step.exit' and error is defined": failures("", step=EXIT),
    "error is not defined": PER_CALL,
    "event.name == 'call.done' and error is not defined": at(DONE),
    # 4. an error in a condition is false, and so are some texts
    "nowhere": {},
    "nowhere.deeper == 1": {},
    "response.value / 0 == 1": {},
    "event.name == 'call.done' and nowhere": {},
    "''": {},
    "'False'": {},
    "'0'": {},
    "'No'": {},
    "'none'": {},
    "'yes'": PER_CALL,
    "0": {},
    "[]": {},
    "none": {},
}


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("when", ROWS)
def test_entry_fires(when: str, scenario: str) -> None:
    fields, answers = SCENARIOS[scenario]
    own = list(fields.get("case", ()))
    probe = {"when": when, "then": [{"set": {"ctx": {"fired": True}}}]}
    drive = Drive(playbook({"step": "start", **fields, "case": [*own, probe]}), {"start": answers})

    assert ROWS[when].get(scenario, []) == drive.fired(entry=len(own))


def test_first_entry_that_matches_fires_alone() -> None:
    case = [
        {"when": "event.name == 'nothing'", "then": [{"set": {"ctx": {"a": 1}}}]},
        {"when": "response.value == 1", "then": [{"set": {"ctx": {"b": 1}}}]},
        {"when": "response.value == 1", "then": [{"set": {"ctx": {"c": 1}}}]},
    ]
    drive = Drive(playbook({"step": "start", "case": case}), {"start": [{"value": 1}]})

    assert {"b": 1} == drive.ctx


def test_exhausted_retry_does_not_match() -> None:
    """5. A later entry may catch the failure."""
    case = [
        {"when": "error is defined", "then": [{"retry": {"max_attempts": 2}}]},
        {"when": "error is defined", "then": [{"result": "caught"}]},
    ]
    drive = Drive(playbook({"step": "start", "case": case}), {"start": [BROKEN]})

    assert [1, 2] == [command.attempt for command in drive.commands]
    assert [["call.error"], ["call.error"]] == [drive.fired(entry=0), drive.fired(entry=1)]
    assert "caught" == drive.result


def test_unhandled_failure_fails_the_execution() -> None:
    """6. The step fails, then the execution; `end` does not run."""
    case = [{"when": "response is defined", "then": [{"set": {"ctx": {"a": 1}}}]}]
    book = playbook({"step": "start", "case": case}, {"step": "end"})
    drive = Drive(book, {"start": [BROKEN]})

    assert ["start"] == drive.steps()
    assert "failed" == drive.control.state.workflow_status
    assert [] == drive.fired()


def test_failure_is_offered_to_the_end_of_the_step() -> None:
    """6. `step.exit` may handle what no entry handled before."""
    then = [{"next": [{"step": "mend", "args": {"why": "{{ error.message }}"}}]}]
    case = [{"when": "event.name == 'step.exit' and error is defined", "then": then}]
    book = playbook({"step": "start", "case": case, "next": [{"step": "other"}]}, {"step": "mend"})
    drive = Drive(book, {"start": [BROKEN], "mend": ["well"]})

    assert ["start", "mend"] == drive.steps()
    assert {"why": "no"} == drive.commands[1].args
    assert "well" == drive.result
