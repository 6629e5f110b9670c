"""Whatever a document says: it ends, and the same ends give the same commands."""

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowq.playbooks.control.carrying import argument
from flowq.playbooks.control.commands import Command
from flowq.playbooks.control.control import Control, Limits
from flowq.playbooks.control.events import Event, Failure
from flowq.playbooks.control.facade import ControlFlowEngine, PlaybookRepo, StateStore
from flowq.playbooks.control.state import ExecutionState
from flowq.playbooks.control.stored_state import decoded, encoded
from flowq.playbooks.document.models import Playbook
from tests.tools.controls.driving import NOW, Drive, playbook

STEPS = ["start", "a", "b", "c", "end"]
CONDITIONS = [
    "true",
    "response == 1",
    "error is defined",
    "event.name == 'step.enter'",
    "event.name == 'loop.item'",
    "event.name == 'loop.done'",
    "event.name == 'call.done'",
    "event.name == 'call.done' and error is defined",
    "event.name == 'step.exit' and error is defined",
    "event.page < 3",
    "event.name",
    "nowhere",
]
names = st.sampled_from(STEPS)
transitions = st.lists(
    st.builds(
        lambda step, args: {"step": step, "args": args},
        names,
        st.sampled_from([{}, {"x": "{{ event.name }}"}, {"x": "{{ ctx.all | default([]) }}"}]),
    ),
    min_size=1,
    max_size=2,
)
actions = st.one_of(
    st.sampled_from(
        [
            {"set": {"ctx": {"x": "{{ ctx }}"}}},
            {"set": {"ctx": {"y": "{{ nowhere }}"}}},
            {"collect": {"from": "response", "into": "all", "mode": "extend"}},
            {"collect": {"path": "a"}},
            {"result": {"from": "ctx.all"}},
            {"call": {"params": {"p": "{{ response }}"}}},
            {"retry": {"max_attempts": 3}},
            {"retry": {"params": {}, "max_attempts": 2}},
            {"sink": {"tool": {"kind": "noop"}}},
            {"sink": {"tool": {"kind": "noop"}, "on_error": "ignore"}},
            {"fail": {"message": "no"}},
            {"fail": {"message": "no", "fail_workflow": True}},
            {"skip": {}},
        ]
    ),
    transitions.map(lambda all_: {"next": all_}),
    names.map(lambda step: {"call": {"step": step}}),
)
cases = st.lists(
    st.builds(
        lambda when, then: {"when": when, "then": then},
        st.sampled_from(CONDITIONS),
        st.lists(actions, min_size=1, max_size=3),
    ),
    max_size=3,
)
loops = st.none() | st.builds(
    lambda items, mode, on_error: {
        "in": items,
        "iterator": "n",
        "mode": mode,
        "on_error": on_error,
        "max_concurrency": 2,
    },
    st.sampled_from([[], [1], [1, 2, 3], None, "{{ ctx.all | default(5) }}"]),
    st.sampled_from(["sequential", "parallel"]),
    st.sampled_from(["fail", "collect"]),
)


@st.composite
def playbooks(draw: st.DrawFn) -> Playbook:
    """Documents with every action, loop and join; most make little sense."""
    steps: list[dict[str, Any]] = []
    for name in STEPS:
        step: dict[str, Any] = {"step": name, "case": draw(cases), "loop": draw(loops)}
        if name != "end":
            step["next"] = draw(st.just([]) | transitions)
            step["join"] = draw(st.sampled_from(["each", "all"]))
        steps.append(step)
    return playbook(*steps)


def answer(command: Command) -> object:
    """Fail some calls, always the same ones; a map gets a result for each item."""
    failed = Failure("no", status=503)
    if command.work == "map":
        assert isinstance(command.items, tuple)
        fails = command.on_error == "collect"
        return [failed if fails and index == 1 else index for index in range(len(command.items))]
    return failed if command.id % 3 == 0 else command.id % 2


ANSWERS = dict.fromkeys([*STEPS, *(f"{name}_sink" for name in STEPS)], answer)


@given(playbooks(), st.booleans())
@settings(max_examples=300, deadline=None)
def test_every_playbook_ends(book: Playbook, last_first: bool) -> None:  # noqa: FBT001
    drive = Drive(book, ANSWERS, limits=Limits(pages=5, calls=60), last_first=last_first)

    state = drive.control.state
    assert drive.control.is_done
    if state.workflow_status == "completed":
        assert ({}, {}, {}, []) == (state.activations, state.active, state.open, state.kept)
    assert list(range(1, len(drive.commands) + 1)) == sorted(one.id for one in drive.commands)


def shown(drive: Drive) -> list[tuple[str, str | None, Any]]:
    """Return the log as data: the lists in it that still grow are equal to no other list."""
    return [(one.name, one.step, argument(one.payload)) for one in drive.decisions]


@given(playbooks())
@settings(max_examples=100, deadline=None)
def test_same_ends_give_the_same_commands(book: Playbook) -> None:
    limits = Limits(pages=5, calls=60)
    one, other = (Drive(book, ANSWERS, limits=limits) for _ in range(2))

    assert one.commands == other.commands
    assert shown(one) == shown(other)


class CodedStates(StateStore):
    """Keeps states as text, as a store outside of the process does."""

    def get(self, execution_id: str) -> ExecutionState | None:
        state = super().get(execution_id)
        return state and decoded(encoded(state))


@pytest.mark.parametrize("store", [StateStore, CodedStates])
@given(book=playbooks())
@settings(max_examples=100, deadline=None)
def test_state_can_be_kept_by_the_caller(store: type[StateStore], book: Playbook) -> None:
    """N66: the engine with a store gives the commands of a `Control` that lives on."""
    limits = Limits(pages=5, calls=60)
    drive = Drive(book, ANSWERS, limits=limits)
    repo = PlaybookRepo()
    repo.register(book, "e1")
    engine = ControlFlowEngine(repo, store(), limits)

    def event(name: str, **payload: Any) -> list[Command]:
        return engine.handle_event(Event(execution_id="e1", name=name, payload=payload))

    seen: list[Command] = []
    waiting = event("workflow.start")
    while waiting:
        command = waiting.pop(0)
        seen.append(command)
        result = answer(command)
        end = {"error": result.to_json()} if isinstance(result, Failure) else {"response": result}
        waiting += event("call.done", command_id=command.id, **end)

    assert drive.commands == seen


def test_cost_of_an_event_does_not_depend_on_the_document() -> None:
    """A step reads its own entries and the names that it uses, whatever else there is."""

    class Counting(dict[str, Any]):
        reads = 0

        def __iter__(self) -> Any:
            type(self).reads += 1
            return super().__iter__()

        items = values = keys = __iter__

    steps = [{"step": f"s{n}", "next": [{"step": f"s{n + 1}"}]} for n in range(1000)]
    book = playbook({"step": "start", "next": [{"step": "s0"}]}, *steps, {"step": "s1000"})
    control = Control(book, {}, execution_id="e", now=lambda: NOW, uuid=_no_uuid)
    (command,) = control.start()
    control.state.step_results = Counting(control.state.step_results)
    for _ in range(50):
        (command,) = control.completed(command.id, None)

    assert 0 == Counting.reads
    assert 1 == len(control.state.activations)


def _no_uuid() -> Any:
    raise AssertionError("no template asks for one")


def test_ends_of_commands_that_are_not_open_change_nothing() -> None:
    drive = Drive(playbook({"step": "start", "next": [{"step": "a"}]}, {"step": "a"}))
    before = deepcopy(drive.control.state)

    assert [] == drive.control.completed(1, 5)
    assert [] == drive.control.failed(99, Failure("late"))
    assert before == drive.control.state
