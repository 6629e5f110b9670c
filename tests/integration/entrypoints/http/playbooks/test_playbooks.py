"""Playbooks over HTTP: registered, started by events, and only by those who may."""

from typing import Any
from uuid import UUID, uuid4

import jsonschema
import pytest
import yaml
from fastapi.testclient import TestClient
from sqlalchemy import select

from flowq.adapters.records.sql.tables import FlowRun
from flowq.client import Run
from flowq.engine.model.documents import DocumentKind, NewDocument
from tests.tools.http_service import client
from tests.tools.playing import Stage

TEXT = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: orders, path: shop/orders}
workload: {n: 1}
workflow:
  - {step: start, tool: {kind: noop}, args: {n: "{{ workload.n }}"}}
"""
ANN, BOB = {"X-User-Id": "ann"}, {"X-User-Id": "bob"}
REGISTER = "/api/v2/engine/register-playbook"


def registered(http: TestClient, text: str = TEXT, **more: Any) -> Any:
    answer = http.post(REGISTER, json={"playbook_yaml": text, **more}, headers=ANN)
    assert answer.status_code == 200, answer.text
    return answer.json()


def start(http: TestClient, execution_id: str, headers: dict[str, str], **payload: Any) -> Any:
    event = {"execution_id": execution_id, "name": "workflow.start", "payload": payload}
    return http.post("/api/v2/events", json=event, headers=headers)


def runs(http: TestClient, headers: dict[str, str] = ANN) -> list[str]:
    found = http.get("/api/runs", headers=headers, params={"flow": "shop/orders"}).json()["runs"]
    return [one["id"] for one in found]


def test_a_playbook_is_registered_as_json_yaml_or_a_parameter(played: Stage) -> None:
    http = client()
    said = {"status": "registered", "name": "orders", "path": "shop/orders", "version": 1}

    assert registered(http) == said
    sent = http.post(REGISTER, content=TEXT, headers={**ANN, "Content-Type": "text/yaml"})
    assert sent.json() == said
    assert http.post(REGISTER, params={"playbook_yaml": TEXT}, headers=ANN).json() == said
    changed = TEXT.replace("n: 1", "n: 2")
    assert registered(http, changed) == {**said, "version": 2}
    listed = http.get("/api/catalog", headers=ANN).json()["playbooks"]
    assert [(one["path"], one["version"], one["owner"]) for one in listed] == [
        ("shop/orders", 2, "ann")
    ]
    versions = http.get("/api/catalog/shop/orders", headers=ANN).json()["playbooks"]
    assert [one["version"] for one in versions] == [2, 1]


def test_a_wrong_playbook_is_answered_with_all_its_problems(played: Stage) -> None:
    wrong = TEXT.replace("noop", "nope").replace("args", "arsg")

    answer = client().post(REGISTER, json={"playbook_yaml": wrong}, headers=ANN)

    said = answer.json()
    assert answer.status_code == 400
    assert said["detail"].startswith("Invalid playbook: playbook.yaml:6:")
    assert len(said["problems"]) == 2
    assert all({"line", "column", "path", "message"} == one.keys() for one in said["problems"])


def test_an_event_starts_an_execution_once(played: Stage) -> None:
    http = client()
    registered(http, execution_id="exec-1")
    registered(http, TEXT.replace("n: 1", "n: 2"))
    before = runs(http)

    first = start(http, "exec-1", ANN)
    again = start(http, "exec-1", ANN)

    assert (
        first.json()
        == again.json()
        == {
            "status": "processed",
            "commands_generated": 1,
            "commands": [
                {
                    "execution_id": "exec-1",
                    "step": "start",
                    "tool_kind": "noop",
                    "args": {"n": 1},
                    "attempt": 1,
                }
            ],
            "message": "Event processed successfully, 1 command(s) queued",
        }
    )
    [run_id] = set(runs(http)) - set(before)
    assert Run.get(run_id).result(timeout=60)["result"] == {"n": 1}


def test_others_start_nothing(played: Stage) -> None:
    http = client()
    registered(http, execution_id="exec-2")
    nothing = {"status": "processed", "commands_generated": 0, "commands": []}

    assert start(http, "exec-2", BOB).json().items() >= nothing.items()
    assert start(http, "exec-2", BOB, path="shop/orders").status_code == 404
    assert http.get("/api/catalog", headers=BOB).json()["playbooks"] == []
    assert http.get("/api/catalog/shop/orders", headers=BOB).status_code == 404
    refused = http.post(REGISTER, json={"playbook_yaml": TEXT}, headers=BOB)
    assert refused.status_code == 400
    for name in ("step.exit", "workflow.end"):
        event = {"execution_id": "exec-2", "name": name}
        answer = http.post("/api/v2/events", json=event, headers=ANN)
        assert answer.json().items() >= nothing.items()


def test_a_registered_playbook_is_executed(played: Stage) -> None:
    http = client()
    registered(http)

    answer = http.post(
        "/api/execute", json={"path": "shop/orders", "payload": {"n": 7}}, headers=ANN
    )

    said = answer.json()
    assert (said["status"], said["commands_generated"]) == ("started", 1)
    result = Run.get(said["execution_id"]).result(timeout=60)
    assert result == {"status": "completed", "final_step": "start", "result": {"n": 7}}
    unknown = http.post("/api/execute", json={"path": "shop/none"}, headers=ANN)
    assert unknown.status_code == 404
    assert http.post("/api/execute", json={}, headers=ANN).status_code == 422


def test_a_version_is_executed_by_its_id_and_its_runs_are_listed(played: Stage) -> None:
    http = client()
    registered(http)
    registered(http, TEXT.replace("n: 1", "n: 2"))
    found = http.get("/api/catalog/shop/orders", headers=ANN).json()["playbooks"]
    old = next(one["catalog_id"] for one in found if one["version"] == 1)
    sent = {"catalog_id": old, "parent_execution_id": "exec-parent"}

    said = http.post("/api/execute", json=sent, headers=ANN).json()

    run = Run.get(said["execution_id"])
    assert run.result(timeout=60)["result"] == {"n": 1}
    columns = select(FlowRun.document_id, FlowRun.flow_metadata).where(FlowRun.id == run.id)
    row = played.records.transaction(lambda tx: tx.within.execute(columns).one())
    parent = {"parent_execution_id": "exec-parent", "face": "playbooks"}
    assert tuple(row) == (UUID(old), parent)

    def listed(catalog_id: str, headers: dict[str, str] = ANN) -> list[str]:
        params = {"catalog_id": catalog_id}
        answer = http.get("/api/runs", params=params, headers=headers).json()
        return [one["id"] for one in answer["runs"]]

    assert said["execution_id"] in listed(old)
    assert said["execution_id"] not in listed(str(uuid4()))
    assert [] == listed(old, BOB)


def test_a_version_that_cannot_be_named_is_not_executed(played: Stage) -> None:
    http = client()
    registered(http)
    [entry, *_] = http.get("/api/catalog/shop/orders", headers=ANN).json()["playbooks"]
    named, unknown = {"catalog_id": entry["catalog_id"]}, {"catalog_id": str(uuid4())}

    def status(sent: dict[str, Any], headers: dict[str, str] = ANN) -> int:
        return http.post("/api/execute", json=sent, headers=headers).status_code

    assert [404, 404] == [status(unknown), status(named, BOB)]
    for wrong in ({**named, "path": "shop/orders"}, {**named, "version": 1}, {"catalog_id": "x"}):
        assert 422 == status(wrong)
    engine = played.engine
    with_workflow = NewDocument(uuid4(), DocumentKind.WORKFLOW, "a", "{}", {})
    head = engine.records.transaction(lambda tx: tx.documents.register(with_workflow, seen_by=None))
    assert 404 == status({"catalog_id": str(head.id)})
    engine.records.transaction(
        lambda tx: tx.documents.delete(DocumentKind.PLAYBOOK, "shop/orders", seen_by=None)
    )
    assert 404 == status(named)


def test_the_service_is_healthy_and_has_a_schema() -> None:
    http = client()

    healthy = {"status": "healthy", "service": "noetl-v2-event-api", "engine": "ready"}
    assert http.get("/api/v2/health").json() == healthy
    schema = http.get("/api/v2/playbook-schema").json()
    jsonschema.validate(yaml.safe_load(TEXT), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"kind": "Playbook"}, schema)


@pytest.mark.parametrize(
    "sent",
    [
        {"json": {"playbook": TEXT}},
        {"json": {"playbook_yaml": 1}},
        {"content": b"{", "headers": {"Content-Type": "application/json"}},
        {"content": b""},
    ],
)
def test_a_registration_of_another_form_is_refused(sent: dict[str, Any]) -> None:
    answer = client().post(REGISTER, **sent)

    assert answer.status_code == 422
    assert answer.json()["problems"]
