"""The tables of states: what they must have whatever stands in them."""

import pytest

from flowq.core.states import (
    ACTIVE_STEP_STATES,
    TERMINAL_RUN_STATES,
    TERMINAL_STEP_STATES,
    RunState,
    StepState,
    run_sources,
    step_sources,
)

RUN_TARGETS = {state: {to for to in RunState if state in run_sources(to)} for state in RunState}
STEP_TARGETS = {state: {to for to in StepState if state in step_sources(to)} for state in StepState}


def test_terminal_states_are_those_of_the_glossary() -> None:
    """A run or step that has ended stays as it is."""
    assert {RunState.COMPLETED, RunState.FAILED, RunState.CANCELLED} == TERMINAL_RUN_STATES
    assert {
        StepState.COMPLETED,
        StepState.FAILED,
        StepState.SKIPPED,
        StepState.CANCELLED,
    } == TERMINAL_STEP_STATES
    assert set(StepState) == ACTIVE_STEP_STATES | TERMINAL_STEP_STATES


@pytest.mark.parametrize("state", sorted(TERMINAL_RUN_STATES))
def test_run_that_has_ended_goes_nowhere(state: RunState) -> None:
    """No way out, not even to itself."""
    assert set() == RUN_TARGETS[state]


@pytest.mark.parametrize("state", sorted(TERMINAL_STEP_STATES))
def test_step_that_has_ended_goes_nowhere(state: StepState) -> None:
    """No way out, not even to itself."""
    assert set() == STEP_TARGETS[state]


def test_every_state_can_be_reached() -> None:
    """No state is only a word."""
    for targets, first in ((RUN_TARGETS, RunState.PENDING), (STEP_TARGETS, StepState.PENDING)):
        reached, new = {first}, {first}
        while new:
            new = {to for state in new for to in targets[state]} - reached  # type: ignore[index]
            reached |= new
        assert set(targets) == reached


def test_every_state_leads_to_an_end() -> None:
    """Nothing can be stuck by the tables."""
    for targets, ends in (
        (RUN_TARGETS, TERMINAL_RUN_STATES),
        (STEP_TARGETS, TERMINAL_STEP_STATES),
    ):
        good = set(ends)
        while more := {state for state in targets if targets[state] & good} - good:  # type: ignore[index]
            good |= more
        assert set(targets) == good
