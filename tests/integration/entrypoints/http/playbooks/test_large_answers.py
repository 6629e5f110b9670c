"""N70: answers name values over 64 KiB, and the value of a name is sent whole."""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from tests.integration.entrypoints.http.playbooks.test_executions import ANN, event, get
from tests.integration.playbooks.test_program import HEAD, Orders, settings, url
from tests.tools.http_service import client
from tests.tools.playing import Stage
from tests.tools.waiting import wait_until

__all__ = ["settings", "url"]

PAGES = """
workflow:
  - step: start
    tool: {kind: http, endpoint: "URL/orders", params: {page: 1, size: 1}}
    case:
      - when: "{{ event.name == 'call.done' and error is defined }}"
        then: {retry: {max_attempts: 3, initial_delay: 0}}
      - when: "{{ event.name == 'call.done' and response.data.paging.hasMore }}"
        then:
          collect: {from: response.data.items, into: orders, mode: extend}
          call: {params: {page: "{{ response.data.paging.page + 1 }}"}}
      - when: "{{ event.name == 'call.done' }}"
        then: {collect: {from: response.data.items, into: orders, mode: extend}}
    next: [{step: count, args: {orders: "{{ ctx.orders }}", last: "{{ result }}"}}]
  - step: count
    tool: {kind: python, code: "result = [len(orders), len(orders[0]['text']), last['status']]"}
"""
LOOP = """
workflow:
  - step: start
    loop: {in: [100, 20000, 30000, 80000], iterator: n, mode: parallel, on_error: collect}
    tool: {kind: python, code: "result = {'text': 'é' * n, 'a/b': {'0': n}} if n > 100 else 1 / 0"}
    args: {n: "{{ n }}"}
    vars: {all: "{{ result.results }}", one: "{{ result.results[3].text }}"}
"""


@pytest.fixture
def http(played: Stage) -> TestClient:
    return client()


def executed(http: TestClient, text: str) -> str:
    """Start an execution; a thread does its work."""
    execution = f"exec-{uuid4()}"
    sent = {"playbook_yaml": HEAD + text, "execution_id": execution}
    answer = http.post("/api/v2/engine/register-playbook", json=sent, headers=ANN)
    assert answer.is_success, answer.text
    event(http, execution, "workflow.start")
    return execution


def ended(http: TestClient, execution: str) -> str:
    """Wait for the end of an execution, and return it."""

    def is_over() -> bool:
        return bool(get(http, f"executions/{execution}/status")["completed"])

    wait_until(is_over, timeout=60, what="the execution is complete")
    return execution


def followed(http: TestClient, named: Mapping[str, Any]) -> Any:
    """Return the value of a name."""
    run_id, _, place = str(named["ref"]).removeprefix("flowq://").partition("/")
    key, _, path = place.partition("/")
    params = {"path": f"/{path}"} if path else {}
    quoted = key.replace("#", "%23")
    answer = http.get(f"/api/runs/{run_id}/steps/{quoted}/result", params=params, headers=ANN)
    assert answer.status_code == 200, answer.text
    assert (named["size"], named["sha256"]) == (
        len(answer.content),
        sha256(answer.content).hexdigest(),
    )
    assert answer.text.startswith(named["preview"])
    assert len(named["preview"].encode()) in (1023, 1024)
    return answer.json()


def names_in(value: Any) -> list[Mapping[str, Any]]:
    if isinstance(value, dict):
        own = [value] if value.get("kind") == "ref" and "ref" in value else []
        return own + [one for item in value.values() for one in names_in(item)]
    return [one for item in value for one in names_in(item)] if isinstance(value, list) else []


def test_eight_megabytes_in_twenty_pages(http: TestClient, played: Stage, url: str) -> None:
    Orders.last, Orders.text = 20, "x" * 400_000
    execution = ended(http, executed(http, PAGES.replace("URL", url)))

    assert [20, 400_000, 200] == get(http, f"executions/{execution}/steps/count")["result"]
    with played.records.engine.connect() as connection:
        query = "SELECT inputs, spec FROM flow_step_runs WHERE spec IS NOT NULL"
        rows = connection.execute(sa.text(query)).all()
    assert 22 == len(rows)
    # The reference of each of 20 pages, in the list and in the three lists of the result.
    assert max(len(json.dumps([row[0], row[1]])) for row in rows) < 20_000

    log = http.get(f"/api/executions/{execution}/events", headers=ANN)
    assert len(log.content) < 2_000_000
    done = [one for one in log.json()["events"] if one["event_type"] == "call.done"]
    page = followed(http, done[0]["payload"]["response"])
    assert (200, 400_000) == (page["status"], len(page["data"]["items"][0]["text"]))

    orders = get(http, f"vars/{execution}/orders")["value"]
    assert ("refs", 20) == (orders["kind"], len(orders["parts"]))
    assert [20] == [one["id"] for one in followed(http, orders["parts"][-1])]
    variables = get(http, f"executions/{execution}/status")["variables"]
    assert orders == variables["orders"]


def test_values_up_to_the_limit_are_shown(http: TestClient) -> None:
    execution = ended(http, executed(http, LOOP))
    result = get(http, f"executions/{execution}/steps/start")["result"]

    failed, small, second, large = result["results"]
    assert "ZeroDivisionError" == failed["error"]["type"]
    # 40 kB are shown; 60 kB more would be too many in one answer, 160 kB always are.
    assert ("é" * 20_000, {"0": 20_000}) == (small["text"], small["a/b"])
    assert [second, large] == names_in(result)
    assert [30_000, 80_000] == [len(followed(http, one)["text"]) for one in (second, large)]

    text = get(http, f"vars/{execution}/one")["value"]
    assert "é" * 80_000 == followed(http, text)


def test_result_of_a_map_is_the_list_of_its_items(http: TestClient) -> None:
    execution = ended(http, executed(http, LOOP))
    run_id = get(http, f"executions/{execution}/status")["run_id"]
    address = f"/api/runs/{run_id}/steps/start%23t1.1/result"

    whole = http.get(address, headers=ANN).json()
    assert ["ZeroDivisionError", 20_000] == [whole[0]["error"], len(whole[1]["text"])]
    for path, value in [("/1/a~1b", {"0": 20000}), ("1/a~1b/0", 20000), ("-1/a~1b/0", 80000)]:
        assert value == http.get(address, params={"path": path}, headers=ANN).json()


def test_what_cannot_be_sent_is_a_problem(http: TestClient) -> None:
    text = "workflow:\n  - {step: start, tool: {kind: external}}\n"
    execution = executed(http, text)
    run_id = get(http, f"executions/{execution}/status")["run_id"]

    def calls() -> list[str]:
        steps = get(http, f"runs/{run_id}/steps")["steps"]
        return [one["key"] for one in steps if one["key"] != "playbook"]

    wait_until(calls, timeout=60, what="the execution waits")
    waiting = calls()[0].replace("#", "%23")

    def refused(key: str, **params: str) -> tuple[int, str]:
        answer = http.get(f"/api/runs/{run_id}/steps/{key}/result", params=params, headers=ANN)
        return answer.status_code, answer.json()["error"]

    assert (404, "RunNotFound") == refused("nowhere")
    assert (409, "NotCompleted") == refused(waiting)
    event(http, execution, "call.done", step="start", payload={"response": {"a": 1}})
    ended(http, execution)
    assert (404, "RunNotFound") == refused(waiting, path="/b")
    address = f"/api/runs/{run_id}/steps/{waiting}/result"
    assert http.get(address, headers={"X-User-Id": "bob"}).status_code == 404
