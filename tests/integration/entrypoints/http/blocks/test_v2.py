"""The routes of v2: typed events, and continuing after each of them."""

import json

import httpx2
import pytest

from tests.tools.documents import HELLO, document, modify
from tests.tools.http_service import Listener, client, events, frames, serving, start
from tests.tools.playing import Stage
from tests.tools.waiting import wait_until


def test_answer_says_how_large_the_task_is(played: Stage) -> None:
    found = client().post("/v2/send_data", json=HELLO).json()
    assert (5, 3, 3, "local-user") == tuple(
        found[key] for key in ("blocks_count", "edges_count", "estimated_usage", "user_id")
    )
    assert {"task_id", "created_at"} <= found.keys()


def test_events_are_named_and_typed(played: Stage) -> None:
    http = client()
    task_id = start(http, HELLO, "/v2/send_data")
    found = frames(http.get(f"/v2/get_data/{task_id}").text)

    assert all(one.event == json.loads(one.data)["event_type"] for one in found)
    assert all(json.loads(one.data)["task_id"] == task_id for one in found)
    assert ("WORKFLOW_STARTED", "start") == (found[0].event, found[0].id)
    assert ("WORKFLOW_COMPLETED", "end") == (found[-1].event, found[-1].id)
    ids = [one.id for one in found]
    assert len(set(ids)) == len(ids)
    names = [one.event for one in found]
    for name, count in {
        "EDGE_STARTED": 3,
        "EDGE_COMPLETED": 3,
        "BLOCK_UPDATED": 3,
        "BATCH_COMPLETED": 2,
        "PROGRESS_UPDATE": 2,
    }.items():
        assert (name, count) == (name, names.count(name))


def test_reader_continues_after_any_event(played: Stage) -> None:
    http = client()
    task_id = start(http, HELLO, "/v2/send_data")
    found = frames(http.get(f"/v2/get_data/{task_id}").text)

    for place, one in enumerate(found[:-1], start=1):
        again = http.get(f"/v2/get_data/{task_id}", headers={"Last-Event-ID": str(one.id)})
        assert found[place:] == frames(again.text)
    last = http.get(f"/v2/get_data/{task_id}", headers={"Last-Event-ID": "end"})
    assert 204 == last.status_code


def test_reader_of_a_stream_that_is_gone_gets_everything(played: Stage) -> None:
    http = client()
    task_id = start(http, HELLO, "/v2/send_data")
    found = frames(http.get(f"/v2/get_data/{task_id}").text)
    played.engine.events.forget()  # type: ignore[attr-defined]

    headers = {"Last-Event-ID": str(found[4].id)}
    again = frames(client().get(f"/v2/get_data/{task_id}", headers=headers).text)
    assert ["WORKFLOW_STARTED", "WORKFLOW_COMPLETED"] == [again[0].event, again[-1].event]
    updated = [one.data for one in found if one.event == "BLOCK_UPDATED"]
    assert sorted(map(_content, updated)) == sorted(
        _content(one.data) for one in again if one.event == "BLOCK_UPDATED"
    )


def _content(data: str) -> str:
    found = json.loads(data)
    return json.dumps([found["block_id"], found["content"]])


def test_what_is_no_id_is_refused(played: Stage) -> None:
    http = client()
    task_id = start(http, HELLO)
    answer = http.get(f"/v2/get_data/{task_id}", headers={"Last-Event-ID": "x"})
    assert (400, "InvalidInput") == (answer.status_code, answer.json()["error"])


def test_aliases_name_tasks(played: Stage) -> None:
    http = client()
    task_id = start(http, HELLO, "/task")
    found = events(http.get(f"/task/{task_id}/stream").text)
    assert ["TASK_STARTED", "TASK_COMPLETED"] == [
        found[0]["event_type"],
        found[-1]["event_type"],
    ]
    status = http.get(f"/task/{task_id}/status").json()
    assert ("v2", "COMPLETED") == (status["api_version"], status["status"])
    assert "retrieved_at" in status


@pytest.mark.parametrize("path", ["/v2/get_data/x", "/task/x/stream"])
def test_unknown_task_has_no_stream_that_a_browser_would_open_again(
    played: Stage, path: str
) -> None:
    answer = client().get(path)
    assert (400, "application/json") == (answer.status_code, answer.headers["Content-Type"])
    assert (7303, "Task Not Found") == (answer.json()["code"], answer.json()["error"])


def test_schema_of_a_document_is_there(played: Stage) -> None:
    found = client().get("/v2/schema").json()
    assert {"blocks", "edges"} <= set(found["required"])


@pytest.mark.parametrize("path", ["/send_data", "/v2/send_data", "/task"])
def test_documentation_names_the_routes(path: str) -> None:
    assert path in client().get("/openapi.json").json()["paths"]


def test_documentation_names_the_types_of_events(played: Stage) -> None:
    http = client()
    paths = http.get("/openapi.json").json()["paths"]
    answer = paths["/v2/get_data/{task_id}"]["get"]["responses"]["200"]
    frame = answer["content"]["text/event-stream"]["itemSchema"]
    found = frames(http.get(f"/v2/get_data/{start(http, HELLO)}").text)
    assert {one.event for one in found} <= set(frame["properties"]["event"]["enum"])


def test_reader_that_reconnects_all_the_time_gets_each_event_once(played: Stage) -> None:
    edges = {
        f"e{number}": modify("copy", {str(number): "a"}, {str(number + 1): "b"}, content="{{a}}")
        for number in range(60)
    }
    chain = document(edges, {str(number): "x" for number in range(61)})
    with serving() as url, httpx2.Client(base_url=url) as http:
        task_id = start(http, chain, "/v2/send_data")
        listener = Listener(f"{url}/v2/get_data/{task_id}")
        while "WORKFLOW_COMPLETED" not in listener.names:
            known = len(listener.frames)
            with listener.listening():
                wait_until(
                    lambda: len(listener.frames) > known or listener.ended,  # noqa: B023
                    what="another event comes",
                )

    assert 1 == listener.names.count("WORKFLOW_STARTED")
    ids = [one.id for one in listener.frames]
    assert len(set(ids)) == len(ids)
    completed = [
        json.loads(one.data)["edge_id"] for one in listener.frames if one.event == "EDGE_COMPLETED"
    ]
    assert list(edges) == completed
