"""Instances over HTTP: executed, awaited, streamed, cancelled and summed up."""

import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient

from flowq import step
from flowq.client import Run
from tests.tools.http_service import client, serving
from tests.tools.playbooks.blueprints import data, node
from tests.tools.playing import Stage
from tests.tools.waiting import wait_until

ANN, BOB = {"X-User-Id": "ann"}, {"X-User-Id": "bob"}
V2 = "/api/v2/blueprints"


@step(name="tests.http.classify")
def classify(text: str) -> dict[str, Any]:
    if text == "bad":
        raise ValueError("no such text")
    return {"urgent": text == "fire"}


TRIAGE = data(
    "s>c c>q q>e:true q>w:false w>e",
    c=node("c", slug="tests.http.classify"),
    q=node("q", "conditional", condition="variable urgent equals true"),
    w={"id": "w", "type": "tool", "config": {"tool": {"kind": "external"}}},
    e=node("e", "end", output={"urgent": "{{ urgent }}"}),
)


@pytest.fixture
def http_(played: Stage) -> Iterator[TestClient]:
    with client() as found:
        yield found


def created(api: TestClient, headers: Any = ANN, **more: Any) -> str:
    answer = api.post(V2, json={**TRIAGE, **more}, headers=headers)
    assert answer.status_code == 201, answer.text
    found: str = answer.json()["id"]
    return found


def execute(api: TestClient, blueprint: str, text: str, headers: Any = ANN, **more: Any) -> Any:
    body = {"input_data": {"text": text}, **more}
    return api.post(f"{V2}/{blueprint}/execute", json=body, headers=headers)


def listed(api: TestClient, headers: Any = ANN, **params: Any) -> list[str]:
    answer = api.get("/api/v2/instances", headers=headers, params=params)
    assert answer.status_code == 200, answer.text
    return [one["id"] for one in answer.json()["instances"]]


def test_sync_answers_with_the_output(http_: TestClient) -> None:
    blueprint = created(http_, name="Triage")

    answer = execute(
        http_, blueprint, "fire", mode="sync", timeout_seconds=60, conversation_id="talk-1"
    )

    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert (said["status"], said["output"]) == ("completed", {"urgent": True})
    assert {"execution_time_ms", "tokens_used", "cost"} == said["metrics"].keys()
    shown = http_.get(f"/api/v2/instances/{said['instance_id']}", headers=ANN).json()
    assert {
        "blueprint_id": blueprint,
        "blueprint_name": "Triage",
        "blueprint_version": 1,
        "status": "completed",
        "input_data": {"text": "fire"},
        "output_data": {"urgent": True},
        "error_message": None,
        "user_id": "ann",
        "conversation_id": "talk-1",
    }.items() <= shown.items()
    lines = http_.get(f"/api/v2/instances/{said['instance_id']}/logs", headers=ANN).json()["lines"]
    assert any("call.done c COMPLETED" in line or "call.done c" in line for line in lines)
    part = http_.get(
        f"/api/v2/instances/{said['instance_id']}/logs",
        headers=ANN,
        params={"after": 2, "limit": 3},
    )
    assert part.json()["lines"] == lines[2:5]


def test_sync_answers_with_the_failure(http_: TestClient) -> None:
    answer = execute(http_, created(http_), "bad", mode="sync", timeout_seconds=60)

    assert (answer.status_code, answer.json()["status"]) == (200, "failed")
    assert "no such text" in answer.json()["error_message"]


def test_async_goes_on_and_can_be_cancelled(http_: TestClient) -> None:
    blueprint = created(http_)
    late = execute(http_, blueprint, "water", mode="sync", timeout_seconds=0.2)
    started = execute(http_, blueprint, "water")

    assert (late.status_code, late.json()["status"]) == (202, "running")
    assert (started.status_code, started.json()["status"]) == (202, "started")
    instance = started.json()["instance_id"]
    at = f"/api/v2/instances/{instance}"
    assert started.headers["Location"] == at
    assert http_.get(at, headers=ANN).json()["output_data"] is None
    assert listed(http_, blueprint_id=blueprint) == [instance, late.json()["instance_id"]]
    assert http_.post(f"{at}/cancel", headers=ANN).status_code == 200
    run = Run.get(instance)
    assert run.wait(timeout=60) == "cancelled"
    assert listed(http_, blueprint_id=blueprint, status="cancelled") == [instance]


def test_instances_of_others_do_not_exist(http_: TestClient) -> None:
    """Also those of a blueprint that both may read."""
    blueprint = created(http_, visibility="public")
    ours = execute(http_, blueprint, "fire").json()["instance_id"]
    theirs = execute(http_, blueprint, "fire", BOB).json()["instance_id"]

    assert listed(http_, BOB, blueprint_id=blueprint) == [theirs]
    assert listed(http_, {}, blueprint_id=blueprint) == [theirs, ours]
    assert listed(http_, {}, blueprint_id=blueprint, user="ann") == [ours]
    for path in (ours, f"{ours}/logs"):
        assert http_.get(f"/api/v2/instances/{path}", headers=BOB).status_code == 404
    foreign = http_.post(f"/api/v2/instances/{ours}/cancel", headers=BOB)
    assert foreign.status_code == 404
    assert foreign.json()["hint"] == "GET /api/v2/instances lists yours"


def test_runs_that_are_no_instances_are_not_listed(http_: TestClient) -> None:
    text = (
        "apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {name: other}\n"
        "workflow:\n  - {step: start, tool: {kind: noop}}\n"
    )
    http_.post("/api/v2/engine/register-playbook", json={"playbook_yaml": text}, headers=ANN)
    run = http_.post("/api/execute", json={"path": "other"}, headers=ANN).json()["execution_id"]

    assert run not in listed(http_, limit=500)
    assert http_.get(f"/api/v2/instances/{run}", headers=ANN).status_code == 404


def test_instances_of_all_versions_are_listed_in_parts(http_: TestClient) -> None:
    first = created(http_)
    runs = [execute(http_, first, "fire").json()["instance_id"]]
    second = http_.put(f"{V2}/{first}", json={"name": "b"}, headers=ANN).json()["id"]
    runs += [execute(http_, one, "fire").json()["instance_id"] for one in (second, first)]

    params: dict[str, str | int] = {"blueprint_id": first, "limit": 2}
    one = http_.get("/api/v2/instances", headers=ANN, params=params).json()
    two = http_.get("/api/v2/instances", headers=ANN, params={**params, "before": one["next"]})

    both = one["instances"] + two.json()["instances"]
    assert [each["id"] for each in both] == runs[::-1]
    assert [each["blueprint_version"] for each in both] == [1, 2, 1]
    assert two.json()["next"] is None


def test_deleted_blueprints_are_not_executed_and_their_instances_stay(http_: TestClient) -> None:
    blueprint = created(http_)
    instance = execute(http_, blueprint, "fire").json()["instance_id"]

    http_.delete(f"{V2}/{blueprint}", headers=ANN)

    assert execute(http_, blueprint, "fire").status_code == 404
    assert http_.get(f"/api/v2/instances/{instance}", headers=ANN).status_code == 200


def test_stream_has_a_line_for_each_event_and_ends(http_: TestClient) -> None:
    sent = {"input_data": {"text": "fire"}}

    answer = http_.post(f"{V2}/{created(http_)}/stream", json=sent, headers=ANN)

    assert answer.headers["Content-Type"].startswith("application/x-ndjson")
    events = [json.loads(line) for line in answer.text.splitlines() if line]
    names = [one["event_type"] for one in events]
    assert (names[0], names[-1]) == ("workflow_started", "workflow_completed")
    assert "c#t2.1" in [one["step"] for one in events if one["event_type"] == "step_completed"]
    [instance] = {one["instance_id"] for one in events}
    assert answer.headers["Location"] == f"/api/v2/instances/{instance}"
    failed = http_.post(
        f"{V2}/{created(http_)}/stream", json={"input_data": {"text": "bad"}}, headers=ANN
    )
    last = json.loads(failed.text.splitlines()[-1])
    assert last["event_type"] == "workflow_failed"
    assert "no such text" in last["error_message"]


def test_instance_goes_on_when_the_client_hangs_up(http_: TestClient) -> None:
    blueprint = created(http_)
    with serving() as url:
        line = http.client.HTTPConnection(str(urlsplit(url).netloc), timeout=60)
        body = json.dumps({"input_data": {"text": "water"}})
        headers = {**ANN, "Content-Type": "application/json"}
        line.request("POST", f"{V2}/{blueprint}/stream", body, headers)
        first = json.loads(line.getresponse().readline())
        line.close()

    run = Run.get(first["instance_id"])
    wait_until(lambda: [one for one in run.view().steps if "call:" in one.key], what="it waits")
    run.send_signal("call:4", {"result": {}})
    assert run.result(timeout=60)["result"] == {"urgent": False}


def test_no_instance_is_started_when_too_many_streams_are_open(http_: TestClient) -> None:
    few = client(http_streams=1)
    few.app.state.streams.count = 1  # type: ignore[attr-defined]
    blueprint = created(http_)

    answer = few.post(f"{V2}/{blueprint}/stream", headers=ANN)

    assert answer.status_code == 503
    assert listed(http_, blueprint_id=blueprint) == []


def test_analytics_sum_up_the_instances(http_: TestClient) -> None:
    owner = {"X-User-Id": f"u{uuid4()}"}
    blueprint = created(http_, owner, name="Summed", visibility="public")
    for text in ("fire", "fire", "bad"):
        execute(http_, blueprint, text, owner, mode="sync", timeout_seconds=60)
    execute(http_, blueprint, "fire", BOB, mode="sync", timeout_seconds=60)

    own = http_.get(f"{V2}/{blueprint}/analytics", headers=owner).json()
    assert own["by_status"] == {"completed": 3, "failed": 1}
    assert (own["instances"], own["success_rate"], own["name"]) == (4, 0.75, "Summed")
    assert own["average_time_ms"] > 0
    bobs = http_.get(f"{V2}/{blueprint}/analytics", headers=BOB, params={"days": 1}).json()
    assert bobs["by_status"] == {"completed": 1}
    used = http_.get("/api/v2/analytics/usage", headers=owner).json()
    assert (used["instances"], used["tokens_used"], used["days"]) == (3, 0, 30)
    assert [one["name"] for one in used["blueprints"]] == ["Summed"]
    nobody = http_.get("/api/v2/analytics/usage", headers={"X-User-Id": "nobody"}).json()
    assert (nobody["instances"], nobody["success_rate"], nobody["blueprints"]) == (0, None, [])
