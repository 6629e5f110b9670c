"""Workflows over HTTP: forms, checks, runs, and whose they are."""

from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

from fastapi.testclient import TestClient

from flowq.workflows import RuntimeContext, step_type
from tests.tools.http_service import client
from tests.tools.playing import Stage
from tests.tools.waiting import wait_until
from tests.tools.workflows.samples import define_text

WORDS: dict[str, Any] = {
    "name": "words",
    "steps": [
        {"id": "split", "type_slug": "tokenize"},
        {"id": "count", "type_slug": "count_words", "config": {"top": 2}},
    ],
}


def ended(http: TestClient, address: str) -> Any:
    """Wait for the end of a run; return what is known of it."""

    def has_ended() -> bool:
        answer = http.get(address).json()
        return answer["status"] in ("completed", "failed", "cancelled")

    wait_until(has_ended, what=f"{address} has ended")
    return http.get(address, params={"previews": True}).json()


def test_a_front_end_offers_steps_checks_and_runs_them(played: Stage) -> None:
    define_text()
    http = client()
    kinds = http.get("/api/v2/step-types").json()
    assert ["count_words", "tokenize"] == [one["slug"] for one in kinds]
    assert {"lower"} == kinds[1]["parameters"]["properties"].keys()

    checked = http.post("/api/v2/workflows/validate", json=WORDS)
    assert (200, {"valid": True, "problems": []}) == (checked.status_code, checked.json())

    new = {"workflow": WORDS, "inputs": {"text": "To be or not to be"}}
    started = http.post("/api/v2/workflows/runs", json=new)
    assert 202 == started.status_code, started.text
    found = ended(http, started.headers["Location"])
    assert ("completed", ["completed", "completed"]) == (
        found["status"],
        [one["status"] for one in found["steps"]],
    )
    assert '{"be": 2, "to": 2}' == found["steps"][1]["preview"]
    assert f"flowq://{found['run_id']}/count" == found["outputs"]["count"]
    result = http.get(f"/api/runs/{found['run_id']}/result").json()
    assert {"count": {"be": 2, "to": 2}} == result["result"]


def test_a_wrong_workflow_is_answered_with_all_its_problems(played: Stage) -> None:
    define_text()
    http = client()
    wrong = {**WORDS, "steps": [{"id": "split", "type_slug": "tokenize", "config": {"lowr": 1}}]}
    problem = {
        "step": "split",
        "place": 1,
        "where": "config.lowr",
        "message": "no such parameter; did you mean lower?",
    }
    checked = http.post("/api/v2/workflows/validate", json=wrong)
    assert (200, {"valid": False, "problems": [problem]}) == (checked.status_code, checked.json())
    refused = http.post("/api/v2/workflows/runs", json={"workflow": wrong, "inputs": {"text": "x"}})
    assert (400, "InvalidWorkflow") == (refused.status_code, refused.json()["error"])
    assert [problem] == refused.json()["problems"]
    bodies: list[Any] = [None, [], 7, "x"]
    for body in bodies:
        assert 422 == http.post("/api/v2/workflows/validate", json=body).status_code
    assert 400 == http.post("/api/v2/workflows/runs", json={"workflow": {}}).status_code
    assert 404 == http.get(f"/api/v2/workflows/runs/{uuid4()}").status_code


def test_a_failed_step_is_shown(played: Stage) -> None:
    @step_type("fail", inputs=[])
    def fail() -> int:
        raise ValueError("no")

    http = client()
    new = {"workflow": {"name": "x", "steps": [{"id": "fail", "type_slug": "fail"}]}}
    found = ended(http, http.post("/api/v2/workflows/runs", json=new).headers["Location"])
    assert ("failed", "ValueError: no") == (found["status"], found["steps"][0]["error"])
    assert 'raise ValueError("no")' in found["steps"][0]["traceback"]


def test_runs_and_values_are_their_users(played: Stage, tmp_path: Path) -> None:
    define_text()
    file = tmp_path / "tokens"
    lines = [f"{sha256(f'{name}!'.encode()).hexdigest()} {name} user" for name in ("ann", "bob")]
    file.write_text("\n".join(lines))
    http = client(http_auth="tokens", http_tokens_file=file)
    ann, bob = ({"Authorization": f"Bearer {name}!"} for name in ("ann", "bob"))
    text = RuntimeContext(engine=played.engine, user_id="ann").put("a b")
    new = {"workflow": WORDS, "inputs": {"text": text}, "idempotency_key": "once"}

    address = http.post("/api/v2/workflows/runs", json=new, headers=ann).headers["Location"]
    assert 200 == http.get(address, headers=ann).status_code
    assert 404 == http.get(address, headers=bob).status_code
    assert address == http.post("/api/v2/workflows/runs", json=new, headers=ann).headers["Location"]
    refused = http.post("/api/v2/workflows/runs", json=new, headers=bob)
    assert (400, True) == (refused.status_code, "no value is stored under" in refused.text)
    own = new | {"inputs": {"text": "x"}}
    taken = http.post("/api/v2/workflows/runs", json=own, headers=bob)
    assert taken.status_code in (400, 409), taken.text
