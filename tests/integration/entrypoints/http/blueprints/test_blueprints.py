"""Blueprints over HTTP: stored, changed, cloned, and only by those who may."""

from typing import Any
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient

from tests.tools.http_service import client
from tests.tools.playbooks.blueprints import data, node
from tests.tools.playing import Stage

ANN, BOB = {"X-User-Id": "ann", "X-Team-Id": "red"}, {"X-User-Id": "bob", "X-Team-Id": "red"}
EVE = {"X-User-Id": "eve"}
V2 = "/api/v2/blueprints"


@pytest.fixture
def http(played: Stage) -> TestClient:
    return client()


def created(http: TestClient, headers: Any = ANN, **more: Any) -> Any:
    answer = http.post(V2, json={**data("s>a a>e"), **more}, headers=headers)
    assert answer.status_code == 201, answer.text
    assert answer.headers["Location"] == f"{V2}/{answer.json()['id']}"
    return answer.json()


def test_what_is_stored_is_read_again(http: TestClient) -> None:
    given = data("s>a a>e", a=node("a", slug="x", args={"schema": 1}))
    given["nodes"][0]["position"] = {"x": 1, "y": 2}

    made = created(
        http, **{**given, "name": "Triage"}, description="of mail", config={"colour": "red"}
    )

    shown = {
        "name": "Triage",
        "description": "of mail",
        "version": 1,
        "is_template": False,
        "parent_id": None,
        "owner_id": "ann",
        "team_id": None,
        "visibility": "private",
        "node_count": 3,
        "nodes": given["nodes"],
        "edges": given["edges"],
        "config": {"colour": "red"},
    }
    assert shown.items() <= made.items()
    assert http.get(f"{V2}/{made['id']}", headers=ANN).json() == made


def test_a_change_is_a_new_version_and_one_of_an_old_version_is_refused(http: TestClient) -> None:
    first = created(http)

    second = http.put(f"{V2}/{first['id']}", json={"description": "better"}, headers=ANN)

    assert second.status_code == 200, second.text
    assert second.json()["id"] != first["id"]
    assert (second.json()["version"], second.json()["nodes"]) == (2, first["nodes"])
    assert http.get(f"{V2}/{first['id']}", headers=ANN).json()["description"] == ""
    refused = http.put(f"{V2}/{first['id']}", json={"name": "x"}, headers=ANN)
    assert (refused.status_code, refused.json()["error"]) == (409, "BlueprintChanged")
    assert second.json()["id"] in refused.json()["hint"]
    many = http.get(f"{V2}/{first['id']}/versions", headers=ANN).json()["blueprints"]
    assert [one["version"] for one in many] == [2, 1]


def test_templates_are_listed_and_cloned(http: TestClient) -> None:
    made = created(http, is_template=True, visibility="public", name=f"T {uuid4()}")

    listed = http.get("/api/v2/templates", headers=EVE, params={"limit": 500}).json()["blueprints"]
    assert made["id"] in [one["id"] for one in listed]
    clone = http.post(f"{V2}/{made['id']}/clone", json={"name": "mine"}, headers=EVE)
    assert clone.status_code == 201, clone.text
    shown = {"version": 1, "is_template": False, "parent_id": made["id"], "owner_id": "eve"}
    assert {**shown, "name": "mine", "visibility": "private"}.items() <= clone.json().items()
    bare = http.post(f"{V2}/{made['id']}/clone", headers=EVE).json()
    assert bare["name"] == made["name"]


def test_lists_come_in_parts(http: TestClient) -> None:
    owner = {"X-User-Id": f"u{uuid4()}"}
    made = [created(http, owner, name=f"n{number}")["id"] for number in range(3)]

    first = http.get(V2, headers=owner, params={"limit": 2, "template": False}).json()
    second = http.get(V2, headers=owner, params={"limit": 2, "before": first["next"]}).json()

    mine = [one["id"] for one in first["blueprints"] + second["blueprints"]]
    assert mine[:3] == made[::-1]


@pytest.mark.parametrize(
    "visibility, readers", [("private", ""), ("team", "bob"), ("public", "bob eve")]
)
def test_who_may_read_and_change(http: TestClient, visibility: str, readers: str) -> None:
    made = created(http, visibility=visibility)
    at = f"{V2}/{made['id']}"

    for headers in (BOB, EVE):
        is_reader = headers["X-User-Id"] in readers.split()
        assert http.get(at, headers=headers).status_code == (200 if is_reader else 404)
        for change in (
            http.put(at, json={"name": "x"}, headers=headers),
            http.delete(at, headers=headers),
        ):
            assert change.status_code == (403 if is_reader else 404)
    assert http.put(at, json={"name": "x"}).status_code == 200  # the admin
    assert http.delete(at, headers=ANN).json() == {"deleted": 2}
    for headers in (ANN, BOB, EVE, {}):
        assert http.get(at, headers=headers).status_code == 404


def test_all_problems_of_a_blueprint_are_answered(http: TestClient) -> None:
    wrong = data("s>a a>b b>a", a=node("a", args={"x": "{{ 1 +"}))

    answer = http.post(V2, json=wrong, headers=ANN)

    assert (answer.status_code, answer.json()["error"]) == (422, "InvalidBlueprint")
    assert ["edges"] == [one["where"] for one in answer.json()["problems"]]
    shape = http.post(V2, json={"name": "x", "nodes": [{"id": "a", "type": "?"}]}, headers=ANN)
    assert (shape.status_code, shape.json()["error"]) == (422, "InvalidRequest")
    assert shape.json()["problems"][0]["where"] == "body.nodes.0"
    big = http.post(V2, json={"name": "x", "description": "x" * 20_000}, headers=ANN)
    assert big.status_code == 422


def test_a_draft_is_stored_and_says_what_it_lacks(http: TestClient) -> None:
    draft = http.post(V2, json={"name": "rag", "config": {"required_tools": ["web"]}}, headers=ANN)
    assert draft.status_code == 201

    answer = http.post(f"{V2}/{draft.json()['id']}/execute", json={}, headers=ANN)

    assert answer.status_code == 422
    assert "nodes of the type 'tool' for web" in answer.json()["message"]
