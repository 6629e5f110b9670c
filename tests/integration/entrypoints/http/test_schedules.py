"""Schedules over HTTP, against the engine in this process."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

from flowq import flow, schedule, step
from flowq.adapters.records.sql.tables import FlowSchedule, SkippedTick
from flowq.engine.engine import Engine
from flowq.engine.registry.registry import registry
from flowq.engine.schedules import control
from flowq.engine.schedules.declaring import declare_all
from tests.tools.http_service import client
from tests.tools.playing import Stage
from tests.tools.waiting import wait_until

AT = "/api/schedules/eu/nightly"
NIGHTLY = {"flow_name": "tests.http.report", "cron": "0 2 * * *", "timezone": "Europe/Berlin"}
ANN, BOB = {"X-User-Id": "ann"}, {"X-User-Id": "bob"}


@step
def load(day: str, region: str) -> str:
    return f"{day} {region}"


@flow(name="tests.http.report")
def report(day: str, region: str = "eu") -> str:
    return load(day, region)


@pytest.fixture
def http(played: Stage) -> Iterator[TestClient]:
    yield client()
    with played.records.engine.begin() as connection:
        for table in (SkippedTick, FlowSchedule):
            connection.execute(table.__table__.delete())  # type: ignore[attr-defined]


def added(http: TestClient, at: str = AT, **more: Any) -> dict[str, Any]:
    answer = http.put(at, json={**NIGHTLY, "time_input": "day", **more})
    assert answer.status_code in (200, 201), answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_schedule_is_added_shown_replaced_and_removed(http: TestClient) -> None:
    budget = {"usd": 1.5, "tokens": None, "on_exceeded": "pause", "warn_at": 0.5}
    rules = {"time_input": "day", "metadata": {"team": "a"}, "budget": budget, "priority": 3}
    new = http.put(AT, json={**NIGHTLY, **rules})
    assert (201, "eu/nightly", "active") == (
        new.status_code,
        new.json()["name"],
        new.json()["state"],
    )

    shown = http.get(AT).json()
    assert shown == new.json()
    assert {name: shown[name] for name in rules} == rules
    assert ("tests.http.report", "local-user", None) == (
        shown["flow_name"],
        shown["user_id"],
        shown["inputs"],
    )
    assert shown["coming"][0] == shown["next_at"]
    again = http.put(AT, json={**NIGHTLY, "cron": None, "every_seconds": 60, "time_input": "day"})
    assert (200, None, 60.0, {}) == (
        again.status_code,
        again.json()["cron"],
        again.json()["every_seconds"],
        again.json()["metadata"],
    )
    assert [each["name"] for each in http.get("/api/schedules").json()["schedules"]] == [
        "eu/nightly"
    ]
    assert 200 == http.delete(AT).status_code
    assert (404, "ScheduleNotFound") == ((gone := http.get(AT)).status_code, gone.json()["error"])


def test_ticks_are_in_the_time_zone(http: TestClient) -> None:
    added(http, starts_at="2099-03-28T00:00:00Z")

    ticks = http.get(f"{AT}/ticks", params={"count": 2}).json()["ticks"]

    assert ticks == ["2099-03-28T02:00:00+01:00", "2099-03-29T03:00:00+02:00"]


def test_schedule_is_paused_resumed_and_run(http: TestClient, played: Stage) -> None:
    added(http)
    assert "paused" == http.post(f"{AT}/pause").json()["state"]
    assert "active" == http.post(f"{AT}/resume").json()["state"]

    answer = http.post(f"{AT}/run")
    assert 202 == answer.status_code, answer.text

    def ended() -> Any:
        runs = http.get(AT).json()["runs"]
        return runs and runs[0]["status"] == "completed" and runs

    [run] = wait_until(ended, what="the run has completed")
    shown = http.get(f"/api/runs/{run['id']}").json()
    assert ("tests.http.report", "local-user") == (shown["flow_name"], shown["user_id"])


def test_past_ticks_are_started_once(http: TestClient) -> None:
    added(http, cron=None, every_seconds=3600, overlap="allow", starts_at="2030-01-01T00:00:00Z")
    refused = http.post(f"{AT}/backfill", json={"from": "2020-01-01T00:00:00Z"})
    assert (400, "InvalidInput") == (refused.status_code, refused.json()["error"])
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    begin = hour - timedelta(hours=2)
    added(http, cron=None, every_seconds=3600, overlap="allow", starts_at=begin.isoformat())

    span = {"from": begin.isoformat(), "to": (hour - timedelta(hours=1)).isoformat()}
    answer = http.post(f"{AT}/backfill", json=span)

    assert (202, 2) == (answer.status_code, answer.json()["ticks"])
    wait_until(lambda: len(http.get(AT).json()["runs"]) == 2, what="two runs")
    runs = http.get(AT).json()["runs"]
    assert len({run["scheduled_for"] for run in runs}) == 2
    assert http.delete(f"{AT}/backfill").json()["backfill_at"] is None


def test_schedules_of_others_are_as_if_they_were_not_there(http: TestClient) -> None:
    body = {**NIGHTLY, "time_input": "day"}
    assert 201 == http.put(AT, json=body, headers=ANN).status_code

    assert "ann" == http.get(AT, headers=ANN).json()["user_id"]
    assert [] == http.get("/api/schedules", headers=BOB).json()["schedules"]
    assert 1 == len(http.get("/api/schedules", headers=ANN).json()["schedules"])
    for method, path in (
        ("GET", AT),
        ("GET", f"{AT}/ticks"),
        ("POST", f"{AT}/pause"),
        ("POST", f"{AT}/run"),
        ("DELETE", AT),
    ):
        unknown = http.request(method, path.replace("nightly", "other"), headers=BOB)
        hidden = http.request(method, path, headers=BOB)
        assert (404, unknown.text.replace("other", "nightly")) == (hidden.status_code, hidden.text)
    taken = http.put(AT, json=body, headers=BOB)
    assert (409, "NameTaken") == (taken.status_code, taken.json()["error"])
    # An admin changes it, and it stays that of its user.
    assert "ann" == added(http, priority=3)["user_id"]


def test_schedule_that_is_deleted_meanwhile_is_replaced_by_one_of_the_caller(
    http: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    body, put = {**NIGHTLY, "time_input": "day"}, control.put
    assert 201 == http.put(AT, json=body, headers=ANN).status_code

    def put_later(engine: Engine, *given: Any) -> bool:
        control.remove(engine, "eu/nightly")
        return put(engine, *given)

    monkeypatch.setattr(control, "put", put_later)
    answer = http.put(AT, json=body, headers=BOB)

    assert (201, "bob") == (answer.status_code, answer.json().get("user_id"))
    assert 404 == http.get(AT, headers=ANN).status_code


def test_declared_schedule_is_changed_by_code_alone(
    http: TestClient, played: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "schedules", {})
    schedule("declared", report, every=3600, time_input="day")
    declare_all(played.engine)

    assert http.get("/api/schedules/declared").json()["is_declared"]
    refused = http.put("/api/schedules/declared", json={**NIGHTLY, "time_input": "day"})
    assert (409, "ScheduleDeclared") == (refused.status_code, refused.json()["error"])
    assert "paused" == http.post("/api/schedules/declared/pause").json()["state"]
    assert 404 == http.get("/api/schedules/declared", headers=ANN).status_code


@pytest.mark.parametrize(
    "change, says",
    [
        ({"cron": "0 25 * * *"}, "cron expression"),
        ({"every_seconds": 60}, "both cron and every"),
        ({"timezone": "Mars/Olympus"}, "not known here"),
        ({"time_input": "hour"}, "hour"),
        ({"inputs": {"region": 7}}, "region"),
        ({"flow_name": "tests.http.reprot"}, "knows no flow"),
        ({"flow_name": "flowq.playbook"}, "runs documents"),
        ({"catch_up": "all"}, "catch_up='all'"),
    ],
)
def test_schedule_that_cannot_work_is_refused(
    http: TestClient, change: dict[str, Any], says: str
) -> None:
    answer = http.put(AT, json={**NIGHTLY, "time_input": "day", **change})

    assert (400, "InvalidInput") == (answer.status_code, answer.json()["error"])
    assert says in answer.json()["message"]
    assert 404 == http.get(AT).status_code
