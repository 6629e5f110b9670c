"""The routes of v1: a document, its frames, its status."""

from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from flowq import bootstrap
from flowq.adapters.records.limits.meters import month_of_meters
from flowq.core.errors import InvalidSetting
from flowq.core.limits.budgets import BudgetSpec
from flowq.core.usage import Usage
from tests.tools.documents import HELLO, HELLO_FRAMES, document, failing, modify
from tests.tools.http_service import client, events, masked, start
from tests.tools.playing import Stage

UNKNOWN = str(uuid4())


def test_whole_exchange_is_as_documented(played: Stage) -> None:
    http = client()
    accepted = http.post("/send_data", json=HELLO)
    task_id = accepted.json()["task_id"]
    answer = http.get(f"/get_data/{task_id}")

    assert (202, '{"task_id":"ID","user_id":"local-user"}') == (
        accepted.status_code,
        masked(accepted.text),
    )
    assert ("text/event-stream; charset=utf-8", "no-cache", "no") == tuple(
        answer.headers[name] for name in ("content-type", "cache-control", "x-accel-buffering")
    )
    assert HELLO_FRAMES == masked(answer.text)


def test_late_reader_gets_the_same_bytes(played: Stage) -> None:
    http = client()
    task_id = start(http, HELLO)
    first = http.get(f"/get_data/{task_id}").content
    played.engine.events.forget()  # type: ignore[attr-defined]

    assert first == http.get(f"/get_data/{task_id}").content
    assert first == client().get(f"/get_data/{task_id}").content, "of another server"


def test_status_is_that_of_the_rows(played: Stage) -> None:
    http = client()
    task_id = start(http, HELLO)
    http.get(f"/get_data/{task_id}")

    found = http.get(f"/task_status/{task_id}").json()
    assert ("COMPLETED", 5, 5, 100.0, None) == tuple(
        found[key]
        for key in (
            "status",
            "total_blocks",
            "processed_blocks",
            "progress_percentage",
            "error_message",
        )
    )
    assert found["start_time"] < found["end_time"]


def test_failed_task_ends_with_its_error(played: Stage) -> None:
    http = client()
    wrong = failing({"1": "a"}, {"2": "b"})
    task_id = start(http, document({"e": wrong}, {"1": "x", "2": ""}))

    (only,) = events(http.get(f"/get_data/{task_id}").text)
    assert only["error"].startswith("[PUPPYENGINE_ERROR_")
    assert ("Task execution failed", True) == (only["message"], only["is_complete"])
    status = http.get(f"/task_status/{task_id}").json()
    assert ("FAILED", only["error"]) == (status["status"], status["error_message"])


@pytest.mark.parametrize(
    "body,code,cause",
    [
        ({"edges": {}}, 6210, "the document lacks 'blocks'"),
        ({"blocks": {}, "edges": {}}, 6211, "no blocks"),
        (
            document({"pick": modify("copy", {"9": "a"}, {"1": "b"}, content="")}, {"1": ""}),
            6213,
            "edge 'pick': inputs names block '9'",
        ),
        (
            document({"e": {"type": "teleport", "data": {"outputs": {"1": "b"}}}}, {"1": ""}),
            6214,
            "teleport",
        ),
        (
            document({"e": {"type": "code", "data": {"outputs": {"1": "b"}}}}, {"1": ""}),
            6214,
            "known and disabled",
        ),
        (
            document(
                {
                    "greet": modify("copy", {"1": "a"}, {"2": "b"}, content="{{a}}"),
                    "pick": modify("copy", {"2": "b"}, {"1": "a"}, content="{{b}}"),
                },
                {"1": "", "2": ""},
            ),
            6212,
            "cycle",
        ),
    ],
)
def test_document_that_cannot_run_is_refused(
    played: Stage, body: Any, code: int, cause: str
) -> None:
    answer = client().post("/send_data", json=body)

    found = answer.json()
    assert (400, code) == (answer.status_code, found["code"])
    assert found["message"].startswith(f"[PUPPYENGINE_ERROR_{code}]: {found['error']}!\nCause: ")
    assert cause in found["message"]
    assert [] == list(played.records.autocommit(lambda tx: tx.runs.views()))


def test_what_is_no_json_is_refused(played: Stage) -> None:
    answer = client().post("/send_data", content=b'{"blocks": ')
    assert (400, 6210) == (answer.status_code, answer.json()["code"])


def test_somebody_elses_task_and_an_unknown_one_are_refused(played: Stage) -> None:
    http = client()
    task_id = start(http, HELLO, headers={"X-User-Id": "ann"})
    bob = {"X-User-Id": "bob"}

    for other, error, status, code in (
        (task_id, f"Unauthorized access to task {task_id}", 403, 7304),
        (UNKNOWN, f"Task {UNKNOWN} not found", 400, 7303),
        ("x", "Task x not found", 400, 7303),
    ):
        answer = http.get(f"/get_data/{other}", headers=bob)
        message = "Access denied or task not found"
        assert [{"error": error, "message": message, "is_complete": True}] == events(answer.text)
        assert 200 == answer.status_code
        answer = http.get(f"/task_status/{other}", headers=bob)
        assert (status, code) == (answer.status_code, answer.json()["code"])
    assert 200 == http.get(f"/task_status/{task_id}", headers={"X-User-Id": "ann"}).status_code


def test_run_of_a_flow_is_no_task(played: Stage) -> None:
    from flowq import flow, step

    @step
    def one() -> int:
        return 1

    @flow
    def plain() -> int:
        return one()

    @flow(name="blocks")
    def misleading() -> int:
        return one()

    for each in (plain, misleading):
        run = played.submit(each, {})
        assert 7303 == client().get(f"/task_status/{run.id}").json()["code"]
        assert f"Task {run.id} not found" in client().get(f"/get_data/{run.id}").text


def test_large_block_is_answered_with_its_place(played: Stage) -> None:
    http = client()
    copy = modify("copy", {"1": "a"}, {"2": "b"}, content="{{a}}")
    small, large = "x" * 1_048_576, "x" * 1_048_577
    (frame, _) = events(
        http.get(f"/get_data/{start(http, document({'e': copy}, {'1': small, '2': ''}))}").text
    )
    assert {"2": small} == frame["data"]["data"]
    (frame, _) = events(
        http.get(f"/get_data/{start(http, document({'e': copy}, {'1': large, '2': ''}))}").text
    )
    value = frame["data"]["data"]["2"]
    metadata = value["external_metadata"]
    assert ("external", "text", "text", True) == (
        value["storage_class"],
        metadata["content_type"],
        metadata["container"],
        metadata["chunked"],
    )
    base = f"/v2/blocks/{metadata['resource_key']}"
    manifest = http.get(f"{base}/manifest.json").json()
    chunks = [http.get(f"{base}/{chunk['name']}").text for chunk in manifest["chunks"]]
    assert (large, [1_048_576, 1]) == ("".join(chunks), [len(chunk) for chunk in chunks])
    bob = {"X-User-Id": "bob"}
    assert 404 == http.get(f"{base}/manifest.json", headers=bob).status_code
    for part in ("chunk_000002.txt", "manifest.json.x", "%2e%2e"):
        assert 404 == http.get(f"{base}/{part}").status_code


def test_content_of_an_earlier_task_is_used_again_by_its_user(played: Stage) -> None:
    http = client()
    ann, bob = {"X-User-Id": "ann"}, {"X-User-Id": "bob"}
    copy = modify("copy", {"1": "a"}, {"2": "b"}, content="{{a}}")
    kept = {"label": "", "type": "text", "storage_class": "external", "data": {"content": ""}}
    task_id = start(http, document({"e": copy}, {"1": ["a", None], "2": kept}), headers=ann)
    frame = events(http.get(f"/get_data/{task_id}", headers=ann).text)[0]
    value = frame["data"]["data"]["2"]
    again = document({"e": copy}, {"1": {"type": "structured", "data": value, **value}, "2": ""})

    task_id = start(http, again, headers=ann)
    frame = events(http.get(f"/get_data/{task_id}", headers=ann).text)[0]
    assert {"2": ["a", None]} == frame["data"]["data"]
    refused = http.post("/send_data", json=again, headers=bob)
    assert (409, 7304) == (refused.status_code, refused.json()["code"])


def test_whole_blocks_are_sent_with_the_setting(played: Stage) -> None:
    http = client(http_v1_blocks=True)
    frame = events(http.get(f"/get_data/{start(http, HELLO)}").text)[1]
    assert "red" == frame["data"]["data"]["5"]
    assert {"label": "first", "type": "text", "data": {"content": "red"}} == frame["data"]["5"]


# --- usage ---------------------------------------------------------------------------------------


def room_for_two(user_id: str, edges: int) -> int | None:
    if user_id == "broken":
        raise RuntimeError("no answer")
    return 2 if user_id == "ann" else None


def test_user_without_room_is_refused(played: Stage) -> None:
    http = client(http_usage=f"{__name__}:room_for_two")

    answer = http.post("/send_data", json=HELLO, headers={"X-User-Id": "ann"})
    assert 429 == answer.status_code
    assert ("USAGE_INSUFFICIENT", 2, 3) == tuple(
        answer.json()[key] for key in ("code", "available", "estimated_required")
    )
    assert "the task counts for 3, the user's quota has 2 left" == answer.json()["message"]
    broken = http.post("/send_data", json=HELLO, headers={"X-User-Id": "broken"})
    assert (503, True) == (broken.status_code, "Retry-After" in broken.headers)
    assert 202 == http.post("/send_data", json=HELLO).status_code


def test_user_who_has_spent_the_months_budget_is_refused(
    played: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    policies = replace(played.engine.policies, user_budget=BudgetSpec(tokens=10))
    engine = replace(played.engine, policies=policies)
    monkeypatch.setattr(bootstrap, "engine", lambda: engine)
    now = month_of_meters()  # it does not end while the test runs
    monkeypatch.setattr("flowq.adapters.records.limits.meters.month_of_meters", lambda: now)
    http, meter = client(), "user:ann"
    spend = {meter: Usage(tokens=10)}

    def answer(user: str) -> Any:
        return http.post("/send_data", json=HELLO, headers={"X-User-Id": user})

    assert 202 == answer("ann").status_code
    played.records.transaction(lambda tx: tx.meters.charge(spend))
    refused = answer("ann")
    assert (429, 0) == (refused.status_code, refused.json()["available"])
    assert 202 == answer("bob").status_code


@pytest.mark.parametrize(
    "setting", ["nowhere:room", f"{__name__}:nothing", "json", f"{__name__}:UNKNOWN"]
)
def test_usage_that_is_no_function_is_refused(setting: str) -> None:
    with pytest.raises(InvalidSetting, match="FLOWQ_HTTP_USAGE"):
        client(http_usage=setting)
