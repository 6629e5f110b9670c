"""Each caller sees the tasks of their own, and nobody is let in without a token."""

from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient

from tests.tools.documents import HELLO, document, modify
from tests.tools.http_service import client, events, paths, start
from tests.tools.playing import Stage

#: Each route of a task, and what it answers to the owner, to others, and of an unknown task.
OF_A_TASK = {
    "/get_data/{task_id}": (200, 200, 200),
    "/v2/get_data/{task_id}": (200, 403, 400),  # `EventSource` stops at them
    "/task/{task_id}/stream": (200, 403, 400),
    "/task_status/{task_id}": (200, 403, 400),
    "/task/{task_id}/status": (200, 403, 400),
}
STARTS = ("/send_data", "/v2/send_data", "/task")
CONTENT = "/v2/blocks/{user}/{block}/{version}/{part}"


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {name}!"}


@pytest.fixture
def http(tmp_path: Path) -> TestClient:
    file = tmp_path / "tokens"
    roles = {"ann": "user", "bob": "user", "root": "admin"}
    lines = [f"{sha256(f'{who}!'.encode()).hexdigest()} {who} {roles[who]}" for who in roles]
    file.write_text("\n".join(lines))
    return client(http_auth="tokens", http_tokens_file=file)


def test_the_table_has_every_route() -> None:
    found = {
        path for path, each in paths().items() for one in each.values() if "blocks" in one["tags"]
    }
    assert {*OF_A_TASK, *STARTS, CONTENT, "/v2/schema"} == found


def test_tasks_are_for_their_users(played: Stage, http: TestClient) -> None:
    task_id, unknown = start(http, HELLO, headers=bearer("ann")), str(uuid4())
    for route, (own, others, missing) in OF_A_TASK.items():
        path, none = route.format(task_id=task_id), route.format(task_id=unknown)
        for headers in ({}, bearer("eve")):
            assert {401} == {http.get(each, headers=headers).status_code for each in (path, none)}
        assert (own, own, others, missing) == (
            http.get(path, headers=bearer("ann")).status_code,
            http.get(path, headers=bearer("root")).status_code,
            http.get(path, headers=bearer("bob")).status_code,
            http.get(none, headers=bearer("ann")).status_code,
        ), route
        hidden = http.get(path, headers=bearer("bob")).text
        assert "Hello" not in hidden
        assert f"Unauthorized access to task {task_id}" in hidden
        assert "Hello" in http.get(path, headers=bearer("ann")).text or "status" in route


def test_other_routes_need_a_token_too(played: Stage, http: TestClient) -> None:
    for path in STARTS:
        for headers in ({}, bearer("eve")):
            assert 401 == http.post(path, json=HELLO, headers=headers).status_code
        assert 202 == http.post(path, json=HELLO, headers=bearer("ann")).status_code
    assert (401, 200) == (
        http.get("/v2/schema").status_code,
        http.get("/v2/schema", headers=bearer("ann")).status_code,
    )


def test_contents_are_for_their_users(played: Stage, http: TestClient) -> None:
    copy = modify("copy", {"1": "a"}, {"2": "b"}, content="{{a}}")
    kept: Any = {"type": "text", "storage_class": "external", "data": {"content": ""}}
    task_id = start(http, document({"e": copy}, {"1": "x", "2": kept}), headers=bearer("ann"))
    frame = events(http.get(f"/get_data/{task_id}", headers=bearer("ann")).text)[0]
    key = frame["data"]["data"]["2"]["external_metadata"]["resource_key"]
    path = f"/v2/blocks/{key}/chunk_000000.txt"
    assert [401, 401, 200, 200, 404] == [
        http.get(path, headers=headers).status_code
        for headers in ({}, bearer("eve"), bearer("ann"), bearer("root"), bearer("bob"))
    ]
    sent, asked = (http.request(method, path, headers=bearer("ann")) for method in ("GET", "HEAD"))
    assert (b"x", b"") == (sent.content, asked.content)
    assert ["1", "1"] == [one.headers["Content-Length"] for one in (sent, asked)]
    assert 404 == http.head(path, headers=bearer("bob")).status_code
    unknown = path.replace("chunk_000000", "chunk_000009")
    assert 404 == http.get(unknown, headers=bearer("ann")).status_code
