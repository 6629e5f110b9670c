"""Executions over HTTP: where they are, what has happened in them, and answers of people."""

from typing import Any
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient

from flowq.client import Run
from tests.tools.http_service import client
from tests.tools.playing import Stage
from tests.tools.waiting import wait_until

TEXT = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: refund, path: shop/refund}
workload: {amount: 25}
workflow:
  - step: start
    tool: {kind: noop}
    args: {amount: "{{ workload.amount }}"}
    vars: {asked: "{{ result.amount }}"}
    next: ask
  - step: ask
    tool: {kind: external}
    case:
      - when: "{{ event.name == 'call.error' }}"
        then: {next: [{step: pay, args: {paid: 0, why: "{{ error.message }}"}}]}
      - when: "{{ event.name == 'call.done' }}"
        then: {next: [{step: pay, args: {paid: "{{ ctx.asked }}", by: "{{ response.by }}"}}]}
  - {step: pay, tool: {kind: noop}}
"""
ANN, BOB = {"X-User-Id": "ann"}, {"X-User-Id": "bob"}


def event(http: TestClient, execution: str, name: str, **more: Any) -> Any:
    sent = {"execution_id": execution, "name": name, **more}
    answer = http.post("/api/v2/events", json=sent, headers=more.pop("headers", ANN))
    assert answer.status_code == 200, answer.text
    return answer.json()


def get(http: TestClient, path: str) -> Any:
    answer = http.get(f"/api/{path}", headers=ANN)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture
def http(played: Stage) -> TestClient:
    return client()


@pytest.fixture
def execution(http: TestClient) -> str:
    """An execution that waits for an answer."""
    execution = f"exec-{uuid4()}"
    sent = {"playbook_yaml": TEXT, "execution_id": execution}
    assert http.post("/api/v2/engine/register-playbook", json=sent, headers=ANN).is_success
    assert event(http, execution, "workflow.start")["commands_generated"] == 1
    wait_until(
        lambda: get(http, f"executions/{execution}/commands")["commands"],
        what="the execution waits for an answer",
    )
    return execution


def result(http: TestClient, execution: str) -> Any:
    run_id = get(http, f"executions/{execution}/status")["run_id"]
    return Run.get(run_id).result(timeout=60)["result"]


def test_an_execution_is_shown_while_it_waits_and_after_its_end(
    http: TestClient, execution: str
) -> None:
    before = get(http, f"executions/{execution}/status")
    shown = {"execution_id": execution, "failed": False, "variables": {"asked": 25}}
    waits = {"current_step": "ask", "completed_steps": ["start"], "completed": False}
    assert before == {**shown, **waits, "run_id": before["run_id"]}
    by_run = get(http, f"executions/{before['run_id']}/status")
    assert by_run == {**before, "execution_id": before["run_id"]}

    event(http, execution, "call.done", step="ask", payload={"response": {"by": "eve"}})
    assert result(http, execution) == {"paid": 25, "by": "eve"}

    ended = {"current_step": None, "completed_steps": ["start", "ask", "pay"], "completed": True}
    after = get(http, f"executions/{execution}/status")
    assert after == {**shown, **ended, "run_id": before["run_id"]}
    assert get(http, f"executions/{execution}/commands") == {"commands": []}
    assert get(http, f"executions/{execution}/steps/ask")["result"] == {"by": "eve"}
    assert get(http, f"vars/{execution}")["variables"] == {"asked": 25}
    assert get(http, f"vars/{execution}/asked") == {"name": "asked", "value": 25}


def test_the_log_is_numbered_and_only_grows(http: TestClient, execution: str) -> None:
    before = get(http, f"executions/{execution}/events")["events"]
    first = {"event_id": 1, "event_type": "playbook.initialized", "node_name": "shop/refund"}
    assert before[0].items() >= {**first, "status": "INITIALIZED"}.items()

    event(http, execution, "call.done", step="ask", payload={"response": {"by": "eve"}})
    result(http, execution)

    after = get(http, f"executions/{execution}/events")["events"]
    assert after[: len(before)] == before
    assert [one["event_id"] for one in after] == list(range(1, len(after) + 1))
    part = get(http, f"executions/{execution}/events?after=2&limit=3")["events"]
    assert part == after[2:5]


@pytest.mark.parametrize(
    "name, payload, ended",
    [
        ("call.done", {"response": {"by": "eve"}}, {"paid": 25, "by": "eve"}),
        ("call.done", {"result": {"by": "eve"}}, {"paid": 25, "by": "eve"}),
        ("call.done", {"error": {"message": "no"}}, {"paid": 0, "why": "no"}),
        ("call.error", {"error": {"message": "no"}}, {"paid": 0, "why": "no"}),
        ("call.error", {}, {"paid": 0, "why": "the call failed"}),
    ],
)
def test_an_answer_is_taken_once_and_says_what_follows(
    http: TestClient, execution: str, name: str, payload: dict[str, Any], ended: dict[str, Any]
) -> None:
    [waiting] = get(http, f"executions/{execution}/commands")["commands"]
    known = {"execution_id": execution, "step": "ask", "tool_kind": "external", "attempt": 1}
    assert waiting == {**known, "command_id": waiting["command_id"]}
    for wrong in ({"step": "start"}, {"step": "ask", "payload": {**payload, "command_id": 99}}):
        assert event(http, execution, name, **wrong)["commands"] == []

    said = event(http, execution, name, step="ask", payload=payload)

    follows = {"execution_id": execution, "step": "pay", "tool_kind": "noop", "attempt": 1}
    assert said["commands"] == [{**follows, "args": ended}]
    assert result(http, execution) == ended
    again = event(http, execution, name, step="ask", payload=payload)
    assert again["commands_generated"] == 0


def test_an_execution_is_cancelled(http: TestClient, execution: str) -> None:
    check = f"executions/{execution}/cancellation-check"
    running = {"execution_id": execution, "cancelled": False, "status": "running"}
    assert get(http, check) == running

    def cancel() -> Any:
        sent = {"reason": "a mistake"}
        return http.post(f"/api/executions/{execution}/cancel", json=sent, headers=ANN).json()

    assert cancel() == {
        "status": "cancelled",
        "execution_id": execution,
        "cancelled_executions": [execution],
        "message": "1 execution(s) cancelled",
    }
    wait_until(lambda: get(http, check)["status"] == "cancelled", what="it is cancelled")
    assert cancel() == {
        "status": "error",
        "execution_id": execution,
        "cancelled_executions": [],
        "message": "the execution is finished: it is cancelled",
    }
    assert get(http, check) == {**running, "cancelled": True, "status": "cancelled"}
    assert get(http, f"executions/{execution}/status")["failed"] is True


def test_executions_of_others_are_as_if_they_were_not_there(
    http: TestClient, execution: str
) -> None:
    run_id = get(http, f"executions/{execution}/status")["run_id"]
    parts = ["status", "events", "steps/start", "commands", "cancellation-check"]
    for name in (execution, run_id):
        paths = [f"executions/{name}/{part}" for part in parts] + [f"vars/{name}", f"vars/{name}/a"]
        asked = [http.get(f"/api/{path}", headers=BOB) for path in paths]
        asked.append(http.post(f"/api/executions/{name}/cancel", headers=BOB))
        assert {one.status_code for one in asked} == {404}
    assert event(http, execution, "call.done", step="ask", headers=BOB)["commands"] == []
    assert get(http, f"executions/{execution}/cancellation-check")["cancelled"] is False
    for path in (f"executions/{execution}/steps/none", f"vars/{execution}/none"):
        assert http.get(f"/api/{path}", headers=ANN).status_code == 404
    for method in ("POST", "DELETE"):
        assert http.request(method, f"/api/vars/{execution}", headers=ANN).status_code == 405
