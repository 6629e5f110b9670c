"""N48-N50: transitions, `join: all`, `end` once; a document always ends."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowq.playbooks.control.control import Limits, PlaybookFailed
from flowq.playbooks.control.events import Failure
from tests.tools.controls.driving import Drive, playbook


def to(*names: str) -> list[dict[str, Any]]:
    return [{"step": name} for name in names]


def step(name: str) -> dict[str, Any]:
    return {"step": name}


def test_implicit_end_runs_the_step_end() -> None:
    """N49."""
    book = playbook({"step": "start", "next": to("a", "b")}, *map(step, "ab"), {"step": "end"})

    assert ["start", "a", "b", "end"] == Drive(book).steps()


def test_transition_to_an_end_that_is_no_step_completes() -> None:
    """N48."""
    drive = Drive(playbook({"step": "start", "next": to("end")}), {"start": [5]})

    assert (["start"], "start", 5) == (
        drive.steps(),
        drive.control.outcome().final_step,
        drive.result,
    )


def test_join_gets_the_arguments_of_all_arrivals() -> None:
    """N50: merged in the order of arrival, and each."""
    book = playbook(
        {"step": "start", "next": to("a", "b")},
        {"step": "a", "next": [{"step": "c", "args": {"x": 1, "of": "{{ a }}"}}]},
        {"step": "b", "next": [{"step": "c", "args": {"y": 2, "of": "{{ b }}"}}]},
        {"step": "c", "join": "all"},
    )
    drive = Drive(book, {"a": ["A"], "b": ["B"]})

    arrivals = [{"x": 1, "of": "A"}, {"y": 2, "of": "B"}]
    assert {"x": 1, "y": 2, "of": "B", "_arrivals": arrivals} == drive.commands[-1].args


def test_join_does_not_wait_for_a_branch_that_went_elsewhere() -> None:
    """N50: what is active decides, and whether it can still reach the join."""
    skips = [{"when": "response is defined", "then": [{"next": to("other")}]}]
    book = playbook(
        {"step": "start", "next": to("a", "b")},
        {"step": "a", "next": to("join")},
        {"step": "b", "case": skips, "next": to("join")},
        {"step": "other"},
        {"step": "join", "join": "all"},
    )

    assert ["start", "a", "b", "other", "join"] == Drive(book).steps()


def test_joins_that_wait_for_each_other_go_on_in_order_of_arrival() -> None:
    book = playbook(
        {"step": "start", "next": to("a", "b")},
        {"step": "a", "join": "all", "next": to("b")},
        {"step": "b", "join": "all", "next": to("a")},
    )

    assert ["start", "a", "b", "a", "b"] == Drive(book, limits=Limits(calls=5)).steps()


def test_circle_ends_at_the_limit_of_calls() -> None:
    book = playbook({"step": "start", "next": to("start")})
    drive = Drive(book, limits=Limits(calls=50))

    assert 50 == len(drive.commands)
    with pytest.raises(PlaybookFailed, match="more than 50 steps"):
        drive.control.outcome()


def test_circle_of_steps_without_calls_ends_too() -> None:
    skip = [{"when": "event.name == 'step.enter'", "then": [{"skip": {}}]}]
    drive = Drive(playbook({"step": "start", "case": skip, "next": to("start")}))

    assert "failed" == drive.control.state.workflow_status


def test_unknown_step_fails_the_execution() -> None:
    drive = Drive(playbook({"step": "start", "next": to("nowhere")}))

    with pytest.raises(PlaybookFailed, match="no step 'nowhere'"):
        drive.control.outcome()


def test_failure_cancels_the_other_branches() -> None:
    book = playbook({"step": "start", "next": to("a", "b")}, step("a"), step("b"), step("end"))
    drive = Drive(book, {"a": [Failure("no", type="ValueError")]})

    with pytest.raises(PlaybookFailed, match="'a' failed: ValueError: no") as failed:
        drive.control.outcome()
    assert ("a", 1) == (failed.value.step, failed.value.attempt)
    assert ["start", "a", "b"] == drive.steps()
    assert [3] == list(drive.control.state.open)


@st.composite
def acyclic(draw: st.DrawFn) -> tuple[list[tuple[int, list[int]]], list[int], bool]:
    """Steps that go on with later ones only, those that join, and the order of answers."""
    count = draw(st.integers(2, 9))
    edges = [
        (number, sorted(draw(st.sets(st.integers(number + 1, count), max_size=4))))
        for number in range(count)
    ]
    edges.append((count, []))
    joins = sorted(draw(st.sets(st.integers(1, count))))
    return edges, joins, draw(st.booleans())


def name_of(number: int) -> str:
    return "start" if number == 0 else f"s{number}"


@given(acyclic())
def test_join_runs_once_in_every_acyclic_document(
    drawn: tuple[list[tuple[int, list[int]]], list[int], bool],
) -> None:
    """N50: and only after everything that can reach it."""
    edges, joins, last_first = drawn
    book = playbook(
        *(
            {
                "step": name_of(number),
                "join": "all" if number in joins else "each",
                "next": to(*map(name_of, following)),
            }
            for number, following in edges
        ),
        {"step": "end"},
    )
    reached = {0}
    for number, following in edges:
        if number in reached:
            reached.update(following)

    drive = Drive(book, last_first=last_first)

    steps = drive.steps()
    assert {name_of(number) for number in reached} | {"end"} == set(steps)
    assert [1] * len(reached & set(joins)) == [
        steps.count(name_of(number)) for number in joins if number in reached
    ]
    assert ("end", 1) == (steps[-1], steps.count("end"))


@given(acyclic())
def test_every_join_begins_after_what_reaches_it(
    drawn: tuple[list[tuple[int, list[int]]], list[int], bool],
) -> None:
    edges, _, last_first = drawn
    book = playbook(
        *(
            {"step": name_of(n), "join": "all", "next": to(*map(name_of, following))}
            for n, following in edges
        )
    )
    steps = Drive(book, last_first=last_first).steps()

    for number, following in edges:
        if name_of(number) in steps:
            assert all(steps.index(name_of(n)) > steps.index(name_of(number)) for n in following)
