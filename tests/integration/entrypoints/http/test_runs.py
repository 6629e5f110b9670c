"""Runs of every flow over HTTP, against the engine in this process."""

import json
from typing import Any
from uuid import UUID, uuid4

import pytest

import flowq
from flowq import bootstrap, flow, step
from tests.tools.http_service import awaited, client
from tests.tools.playing import Stage
from tests.tools.waiting import wait_until


@step
def double(value: int) -> int:
    if value < 0:
        raise ValueError("below zero")
    return 2 * value


@flow(name="tests.http.doubled")
def doubled(value: int) -> int:
    if value > 1000:
        raise ValueError("at most 1000")
    return double(value)


@flow(name="tests.http.mapped")
def mapped(values: list[int]) -> list[int]:
    return double.map(values)


@flow(name="tests.http.approval")
async def approval() -> str:
    return await flowq.signal("say", str)


def start(http: Any, name: str = "tests.http.doubled", **body: Any) -> dict[str, Any]:
    answer = http.post(f"/api/flows/{name}/runs", json=body)
    assert 202 == answer.status_code, answer.text
    found: dict[str, Any] = answer.json()
    return found


def result(http: Any, run_id: str) -> Any:
    return awaited(http, run_id)


def test_run_is_started_and_its_result_read(played: Stage) -> None:
    http = client()
    begun = start(http, inputs={"value": 21}, metadata={"order": 7})

    answer = result(http, begun["id"])
    assert (200, {"result": 42}) == (answer.status_code, answer.json())
    shown = http.get(f"/api/runs/{begun['id']}").json()
    assert ("completed", 1, 1, 100.0) == (
        shown["status"],
        shown["done_steps"],
        shown["total_steps"],
        shown["progress_percentage"],
    )
    assert ["double"] == [each["key"] for each in shown["steps"]]
    assert (None, None, "local-user") == (shown["inputs"], shown["outputs"], shown["user_id"])


@pytest.mark.parametrize("name", ["flowq.playbook", "flowq.pipeline", "flowq.pipeline.nodes"])
def test_programs_of_flowq_itself_are_not_for_clients(played: Stage, name: str) -> None:
    """They trust their inputs: a pipeline imports what these name."""
    http = client()
    popen = {"$made": "subprocess:Popen", "arguments": {"args": ["touch", "/tmp/owned"]}}
    inputs = {"pipeline": {"executor": popen, "middleware": []}, "workflow": {}, "context": {}}

    answer = http.post(f"/api/flows/{name}/runs", json={"inputs": inputs})

    assert 404 == answer.status_code, answer.text
    assert name not in {each["name"] for each in http.get("/api/flows").json()["flows"]}
    assert f"/api/flows/{name}/runs" not in http.get("/openapi.json").json()["paths"]


def test_address_of_the_run_is_in_the_answer(played: Stage) -> None:
    http = client()
    answer = http.post("/api/flows/tests.http.doubled/runs", json={"inputs": {"value": 1}})

    assert 200 == http.get(answer.headers["Location"]).status_code


def test_inputs_and_outputs_are_shown_with_the_setting(
    played: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWQ_SHOW_CONTENT", "1")
    bootstrap.settings.cache_clear()
    try:
        http = client()
        begun = start(http, inputs={"value": 4})
        result(http, begun["id"])
        shown = http.get(f"/api/runs/{begun['id']}").json()
        assert ({"value": 4}, 8) == (shown["inputs"], shown["outputs"])
    finally:
        bootstrap.settings.cache_clear()


def test_failed_run_has_no_result_but_a_reason(played: Stage) -> None:
    http = client()
    begun = start(http, inputs={"value": -1})

    answer = result(http, begun["id"])
    document = answer.json()
    assert (409, "failed", "RunFailed") == (
        answer.status_code,
        document["status"],
        document["error"],
    )
    assert "below zero" in document["message"]
    shown = http.get(f"/api/runs/{begun['id']}").json()
    assert ("below zero" in shown["error"], shown["reason"]) == (True, None)


def test_open_run_is_paused_resumed_and_cancelled(played: Stage) -> None:
    http = client()
    run_id = start(http, "tests.http.approval")["id"]

    assert 202 == http.get(f"/api/runs/{run_id}/result").status_code
    paused = http.post(f"/api/runs/{run_id}/pause", json={"reason": "lunch"})
    assert (200, "paused") == (paused.status_code, paused.json()["status"])
    shown = http.get(f"/api/runs/{run_id}").json()
    assert ("lunch", None) == (shown["reason"], shown["error"])
    assert "running" == http.post(f"/api/runs/{run_id}/resume").json()["status"]
    wait_until(
        lambda: "say" in http.get(f"/api/runs/{run_id}/steps").text,
        what="it waits for the signal, whose type is known then",
    )
    wrong = http.post(f"/api/runs/{run_id}/signals/say", json={"not": "text"})
    assert (400, "InvalidInput") == (wrong.status_code, wrong.json()["error"])
    assert 200 == http.post(f"/api/runs/{run_id}/signals/say", json="yes").status_code
    assert {"result": "yes"} == result(http, run_id).json()
    late = http.post(f"/api/runs/{run_id}/signals/say", json="yes")
    assert (409, "SignalRefused") == (late.status_code, late.json()["error"])


def test_run_is_cancelled_with_a_reason(played: Stage) -> None:
    http = client()
    run_id = start(http, "tests.http.approval")["id"]

    assert 200 == http.post(f"/api/runs/{run_id}/cancel", json={"reason": "enough"}).status_code
    ended = result(http, run_id)
    document = ended.json()
    assert (409, "cancelled", "RunCancelled") == (
        ended.status_code,
        document["status"],
        document["error"],
    )
    assert "enough" in document["message"]
    shown = http.get(f"/api/runs/{run_id}").json()
    assert ("enough" in shown["reason"], shown["error"]) == (True, None)


def test_one_key_is_one_run(played: Stage) -> None:
    http = client()
    first = start(http, inputs={"value": 1}, idempotency_key="order-17")

    assert first["id"] == start(http, inputs={"value": 1}, idempotency_key="order-17")["id"]
    other = http.post(
        "/api/flows/tests.http.doubled/runs",
        json={"inputs": {"value": 1}, "idempotency_key": "order-17"},
        headers={"X-User-Id": "bob"},
    )
    assert (409, "IdempotencyKeyTaken") == (other.status_code, other.json()["error"])
    assert first["id"] not in other.text


def test_runs_are_listed_page_by_page(played: Stage) -> None:
    http = client()
    ids = [start(http, inputs={"value": number})["id"] for number in range(5)]
    start(http, "tests.http.approval")
    found: list[str] = []
    params: dict[str, str | int] = {"flow": "tests.http.doubled", "limit": 2}
    while True:
        page = http.get("/api/runs", params=params).json()
        found += [run["id"] for run in page["runs"]]
        if page["next"] is None:
            break
        params["before"] = page["next"]
    assert ids[::-1] == found
    wait_until(
        lambda: 5 == len(http.get("/api/runs", params={"status": "completed"}).json()["runs"]),
        what="five have completed",
    )
    both = http.get("/api/runs", params={"status": ["running", "completed"]}).json()["runs"]
    assert 6 == len(both)


def test_steps_are_listed_in_parts_and_items_counted(played: Stage) -> None:
    http = client()
    run_id = start(http, "tests.http.mapped", inputs={"values": [1, 2, 3]})["id"]
    result(http, run_id)

    part = http.get(f"/api/runs/{run_id}/steps", params={"limit": 1}).json()
    assert [("double", 3, {"completed": 3})] == [
        (each["key"], each["map_size"], each["counts"]) for each in part["steps"]
    ]
    assert part["next"] is None
    assert 422 == http.get(f"/api/runs/{run_id}/steps", params={"after": 2**70}).status_code


@pytest.mark.parametrize(
    "path, body, status, error",
    [
        ("tests.http.doubled", {"inputs": {"value": "x"}}, 400, "InvalidInput"),
        ("tests.http.doubled", {"inputs": {"wrong": 1}}, 400, "InvalidInput"),
        ("tests.http.doubled", {"inputs": {"value": 1001}}, 400, "InvalidInput"),
        ("tests.http.double", {"inputs": {}}, 404, "FlowNotFound"),
        ("tests.http.doubled", {"inputs": []}, 422, "InvalidRequest"),
        ("tests.http.doubled", {"input": {}}, 422, "InvalidRequest"),
        ("tests.http.doubled", {"inputs": {}, "deadline_seconds": 0}, 422, "InvalidRequest"),
        ("tests.http.doubled", {"inputs": {"value": 1}, "budget": {}}, 400, "InvalidInput"),
        (
            "tests.http.doubled",
            {"inputs": {"value": 1}, "idempotency_key": "a\0"},
            422,
            "InvalidRequest",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_shape(
    played: Stage, path: str, body: dict[str, Any], status: int, error: str
) -> None:
    answer = client().post(f"/api/flows/{path}/runs", json=body)

    assert (status, error) == (answer.status_code, answer.json()["error"]), answer.text
    assert answer.json()["message"]
    assert played.engine.records.autocommit(lambda tx: not tx.overview.has_runs())


def test_inputs_belong_under_inputs(played: Stage) -> None:
    path = "/api/flows/tests.http.doubled/runs"
    said = client().post(path, json={"value": 1}).json()["message"]
    assert 'body: put the inputs of the flow under `inputs`: {"inputs": {"value": …}}' == said


def test_run_has_the_priority_that_is_given(played: Stage) -> None:
    http = client()
    run_id = start(http, inputs={"value": 1}, priority=9)["id"]
    assert 9 == http.get(f"/api/runs/{run_id}").json()["priority"]
    refused = http.post("/api/flows/tests.http.doubled/runs", json={"priority": 10})
    assert (422, 1) == (refused.status_code, len(refused.json()["problems"]))


def test_hints_are_for_clients_of_http(played: Stage) -> None:
    http = client()
    run_id = start(http, inputs={"value": -1})["id"]
    answers = [
        result(http, run_id),
        http.post(f"/api/runs/{run_id}/signals/say", json="yes"),
        http.get(f"/api/runs/{uuid4()}"),
        http.post("/api/flows/unheard-of/runs", json={}),
        http.get("/api/runs?limit=x"),
        http.get("/api/runs/x"),
    ]
    for answer in answers:
        hint = answer.json().get("hint", "")
        assert "flowq " not in hint, hint
        assert "Content-Type" not in hint, hint
    path = "/api/flows/tests.http.doubled/runs"
    no_object = http.post(path, json=[]).json()
    assert "body: it is not a JSON object" == no_object["message"]
    assert "Content-Type" not in no_object["hint"]
    unread = http.post(path, content=b'{"inputs": {}}', headers={"Content-Type": "text/plain"})
    assert "Content-Type: application/json" in unread.json()["hint"]


def test_a_body_that_is_no_json_is_refused(played: Stage) -> None:
    http = client()
    path = "/api/flows/tests.http.doubled/runs"
    for content, kind in [(b"{", "application/json"), (b'{"inputs": {}}', "text/plain")]:
        answer = http.post(path, content=content, headers={"Content-Type": kind})
        assert (422, "InvalidRequest") == (answer.status_code, answer.json()["error"])


@pytest.mark.parametrize(
    "content, status",
    [
        (b"[" * 100_000, 422),
        (b'{"inputs": {"value": "\\ud800"}}', 400),
        (b'{"inputs": {"\\ud800": 1}}', 400),
        (b'{"inputs": {"value": 1e999}}', 400),
        (b'{"metadata": {"\\ud800": 1}, "inputs": {"value": 1}}', 400),
    ],
)
def test_text_that_is_none_is_refused_in_valid_text(
    played: Stage, content: bytes, status: int
) -> None:
    path, headers = "/api/flows/tests.http.doubled/runs", {"Content-Type": "application/json"}
    answer = client().post(path, content=content, headers=headers)
    assert status == answer.status_code, answer.text
    assert answer.json()["message"]


@pytest.mark.parametrize(
    "query", ["flow=a%00", "user=%00", "before=x", "limit=0", "status=done", "limit=501"]
)
def test_queries_that_cannot_be_are_refused(played: Stage, query: str) -> None:
    answer = client().get(f"/api/runs?{query}")
    assert (422, "InvalidRequest") == (answer.status_code, answer.json()["error"])


def test_every_route_refuses_parameters_that_it_does_not_know(played: Stage) -> None:
    http = client()
    said = http.get("/api/runs?staus=running").json()["problems"]
    known = "before, catalog_id, children, flow, limit, status, user"
    message = f"no such parameter; did you mean status? known are: {known}"
    assert [{"where": "query.staus", "message": message}] == said
    paths = http.get("/openapi.json").json()["paths"]
    for path, operations in paths.items():
        for method in operations:
            answer = http.request(method, f"{path}?staus=running", json={})
            document = {one["where"] for one in answer.json().get("problems", [])}
            assert (422, {"query.staus"}) == (answer.status_code, document), path


@pytest.mark.parametrize(
    "path, content, key",
    [
        ("flows/tests.http.doubled/runs", b'{"inputs": {"value": 1}, "inputs": {}}', "inputs"),
        ("flows/tests.http.doubled/runs", b'{"inputs": {"value": 1, "value": 2}}', "value"),
        (f"runs/{UUID(int=1)}/cancel", b'{"reason": "a", "reason": "b"}', "reason"),
    ],
)
def test_key_that_is_there_twice_is_refused(
    played: Stage, path: str, content: bytes, key: str
) -> None:
    headers = {"Content-Type": "application/json"}
    answer = client().post(f"/api/{path}", content=content, headers=headers)
    said = f"it is not JSON: the key {key!r} is there more than once in one object"
    assert (422, [{"where": "body", "message": said}]) == (
        answer.status_code,
        answer.json()["problems"],
    )


@pytest.mark.parametrize(
    "content, why",
    [
        (b"[" * 100_000, "it nests too deep"),
        (b'{"inputs": "\xff"}', "it is not UTF-8, from byte 12 on"),
        (b'{"inputs": ' + b"9" * 5000 + b"}", "it has an integer with too many digits"),
    ],
)
def test_json_that_cannot_be_read_is_refused_with_the_reason(
    played: Stage, content: bytes, why: str
) -> None:
    headers = {"Content-Type": "application/json"}
    path = "/api/flows/tests.http.doubled/runs"
    answer = client().post(path, content=content, headers=headers)
    assert (422, f"body: it is not JSON: {why}") == (answer.status_code, answer.json()["message"])


def test_error_of_truncated_json_has_its_place(played: Stage) -> None:
    headers = {"Content-Type": "application/json"}
    path = "/api/flows/tests.http.doubled/runs"
    answer = client().post(path, content=b'{"inputs": }', headers=headers)
    said = "it is not JSON: Expecting value at character 11"
    assert [{"where": "body", "message": said}] == answer.json()["problems"]


def test_large_and_compressed_bodies_are_refused(played: Stage) -> None:
    http = client(http_body_bytes=1_000)
    path = "/api/flows/tests.http.doubled/runs"
    large = http.post(path, content=json.dumps({"inputs": {"value": "x" * 2_000}}))
    assert (413, "ContentTooLarge") == (large.status_code, large.json()["error"])
    pieces = http.post(path, content=iter([b"x" * 600] * 2))  # nobody says how many there are
    assert (413, "ContentTooLarge") == (pieces.status_code, pieces.json()["error"])
    packed = http.post(path, content=b"x", headers={"Content-Encoding": "gzip"})
    assert (415, "UnsupportedMediaType") == (packed.status_code, packed.json()["error"])


def test_unknown_run_and_unknown_address_are_404(played: Stage) -> None:
    http = client()
    gone = http.get(f"/api/runs/{uuid4()}")
    assert (404, "RunNotFound") == (gone.status_code, gone.json()["error"])
    nothing = http.get("/api/nothing")
    assert (404, "NotFound") == (nothing.status_code, nothing.json()["error"])
    assert 405 == http.put("/api/runs").status_code
    assert 422 == http.get("/api/runs/x").status_code
