"""N53, N57, N58, N66: events in, commands out; the state is kept by the caller."""

import json
from typing import Any

import pytest

from flowq.playbooks import (
    Command,
    ControlFlowEngine,
    Event,
    PlaybookRepo,
    StateStore,
    ToolCall,
)
from flowq.playbooks.control.facade import StateConflict
from flowq.playbooks.document.models import Playbook
from tests.tools.controls.driving import playbook

HTTP = {"kind": "http", "endpoint": "{{ workload.url }}/items", "params": {"page": 1, "size": 2}}


def engine_of(book: Playbook, *others: Playbook) -> ControlFlowEngine:
    repo = PlaybookRepo()
    repo.register(book, "exec-123")
    for number, other in enumerate(others):
        repo.register(other, f"other-{number}")
    return ControlFlowEngine(repo, StateStore())


def event(name: str, step: str | None = None, **payload: Any) -> Event:
    return Event(execution_id="exec-123", name=name, step=step, payload=payload)


def test_start_makes_one_command_and_loads_the_workload() -> None:
    """N63, N66."""
    engine = engine_of(playbook({"step": "start", "tool": HTTP}, workload={"url": "u", "a": 1}))

    (command,) = engine.handle_event(event("workflow.start", workload={"url": "v"}))

    assert ("start", "http", 1) == (command.step, command.tool.kind, command.attempt)
    assert "v/items" == command.tool.config["endpoint"]
    state = engine.state_store.get("exec-123")
    assert state is not None
    assert ("running", {"url": "v", "a": 1}) == (state.workflow_status, dict(state.workload))
    assert [] == engine.handle_event(event("workflow.start"))


def test_queue_record_has_the_columns_of_the_seed() -> None:
    """N57."""
    retry = {
        "max_attempts": 4,
        "initial_delay": 1,
        "max_delay": 60,
        "backoff_multiplier": 2,
        "jitter": 0,
    }
    engine = engine_of(playbook({"step": "start", "args": {"a": [1]}, "retry": retry}))
    (command,) = engine.handle_event(event("workflow.start"))

    record = command.to_queue_record()
    assert {
        "execution_id": "exec-123",
        "step": "start",
        "tool_kind": "noop",
        "tool_config": {},
        "args": {"a": [1]},
        "attempt": 1,
        "priority": 0,
        "backoff": None,
        "max_attempts": 4,
        "metadata": {"command_id": 1},
        "status": "pending",
    } == json.loads(json.dumps(record))


def test_command_that_is_made_by_hand_has_the_fields_of_the_seed() -> None:
    """N57."""
    command = Command(
        execution_id="exec-123",
        step="fetch",
        tool=ToolCall(kind="http", config={"endpoint": "x"}),
        args={"a": 1},
        attempt=2,
        priority=5,
        backoff=1.5,
        max_attempts=3,
        metadata={"worker": "w"},
    )
    assert {
        "execution_id": "exec-123",
        "step": "fetch",
        "tool_kind": "http",
        "tool_config": {"endpoint": "x"},
        "args": {"a": 1},
        "attempt": 2,
        "priority": 5,
        "backoff": 1.5,
        "max_attempts": 3,
        "metadata": {"worker": "w"},
        "status": "pending",
    } == command.to_queue_record()


def test_retry_makes_the_next_attempt_with_its_delay() -> None:
    """N39, N66: the seed's retry."""
    retry = {"retry": {"max_attempts": 3, "initial_delay": 0.5, "backoff_multiplier": 2.0}}
    case = [{"when": "{{ event.name == 'call.done' and error is defined }}", "then": [retry]}]
    engine = engine_of(playbook({"step": "start", "case": case}))
    engine.handle_event(event("workflow.start"))
    error = {"message": "busy", "type": "HTTPError", "status": 503}

    made = [engine.handle_event(event("call.done", "start", error=error)) for _ in range(3)]

    retries = [(one.attempt, one.backoff) for commands in made for one in commands]
    assert [(2, 0.5), (3, 1.0)] == retries
    state = engine.state_store.get("exec-123")
    assert state is not None
    assert ("failed", {"start": 3}) == (state.workflow_status, state.step_attempts)


def test_collect_and_next_page_in_one_mapping() -> None:
    """N38, N41, N66: the seed's pagination; parameters merge."""
    then = [
        {"collect": {"from": "response.data.items", "into": "all", "mode": "extend"}},
        {"call": {"params": {"page": "{{ response.data.page + 1 }}"}}},
    ]
    case = [{"when": "{{ event.name == 'call.done' and response.data.more }}", "then": then}]
    engine = engine_of(
        playbook({"step": "start", "tool": HTTP, "case": case}, workload={"url": ""})
    )
    engine.handle_event(event("workflow.start"))
    response = {"status": 200, "data": {"items": [1, 2], "page": 1, "more": True}}

    (command,) = engine.handle_event(event("call.done", "start", response=response))

    assert {"page": 2, "size": 2} == command.tool.config["params"]
    state = engine.state_store.get("exec-123")
    assert state is not None
    assert [1, 2] == state.context["all"]


def test_next_renders_its_arguments() -> None:
    """N44, N66: the seed's conditional arguments."""
    then = [{"next": [{"step": "big", "args": {"n": "{{ response.n }}"}}]}]
    case = [
        {"when": "event.name == 'call.done' and response.n > 10", "then": then},
        {"when": "event.name == 'call.done'", "then": [{"next": [{"step": "small"}]}]},
    ]
    book = playbook({"step": "start", "case": case}, {"step": "big"}, {"step": "small"})

    def follows(number: int) -> tuple[str, object]:
        engine = engine_of(book)
        engine.handle_event(event("workflow.start"))
        (command,) = engine.handle_event(event("call.done", "start", result={"n": number}))
        return command.step, command.args

    assert ("big", {"n": 11}) == follows(11)
    assert ("small", {}) == follows(10)


def test_document_is_that_of_the_execution() -> None:
    """N66: the seed returned the first one, whatever the id."""
    first, second = playbook({"step": "start"}), playbook({"step": "start", "args": {"b": 2}})
    engine = engine_of(first, second)

    assert second is engine.playbook_repo.get_by_execution("other-0")
    (command,) = engine.handle_event(Event(execution_id="other-0", name="workflow.start"))
    assert {"b": 2} == command.args


@pytest.mark.parametrize("name", ["call.done", "step.exit", "worker.done", "something.else"])
def test_unknown_events_change_nothing(name: str) -> None:
    """N62."""
    engine = engine_of(playbook({"step": "start"}))
    assert [] == engine.handle_event(Event(execution_id="nobody", name=name, step="start"))
    assert [] == engine.handle_event(event(name, "start"))
    engine.handle_event(event("workflow.start"))
    assert [] == engine.handle_event(event(name, "nowhere"))
    assert [] == engine.handle_event(event(name))
    state = engine.state_store.get("exec-123")
    assert state is not None
    assert "running" == state.workflow_status


def test_end_of_the_workflow_completes_it() -> None:
    """N63."""
    engine = engine_of(playbook({"step": "start"}))
    engine.handle_event(event("workflow.start"))

    assert [] == engine.handle_event(event("workflow.end"))
    state = engine.state_store.get("exec-123")
    assert state is not None
    assert "completed" == state.workflow_status


def test_event_keeps_fields_that_it_does_not_know() -> None:
    """N53."""
    made = Event.model_validate({"execution_id": "e", "name": "call.done", "trace": "t"})

    assert ({"trace": "t"}, 1, {}) == (made.model_extra, made.attempt, made.payload)


def test_state_that_was_changed_meanwhile_is_not_overwritten() -> None:
    engine = engine_of(playbook({"step": "start"}))
    engine.handle_event(event("workflow.start"))
    stale, fresh = (engine.state_store.get("exec-123") for _ in range(2))
    assert stale is not None
    assert fresh is not None
    engine.state_store.save(fresh)

    with pytest.raises(StateConflict, match="has changed"):
        engine.state_store.save(stale)
    engine.state_store.delete("exec-123")
    assert engine.state_store.get("exec-123") is None
