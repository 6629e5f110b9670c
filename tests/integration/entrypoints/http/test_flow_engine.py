"""The routes whose answers are rows, on both kinds of database."""

from typing import Any
from uuid import uuid4

import pytest

from flowq import bootstrap, flow, step
from flowq.adapters.records.database import SqlRecords
from flowq.engine.runs import submission
from tests.tools.http_service import client
from tests.tools.playing import Stage

ROWS = "/api/v1/flow-engine/runs"


@step
def add(value: int) -> int:
    return value + 1


@flow(name="tests.http.rows")
def plus_two(value: int) -> int:
    return add.options(key="second")(add(value))


@pytest.fixture
def stage(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    records = SqlRecords(database_url)
    stage = Stage.on(records)
    monkeypatch.setattr(bootstrap, "engine", lambda: stage.engine)
    yield stage
    records.close()


def test_rows_are_listed_and_shown(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    http = client()
    ids = [
        str(
            submission.submit(
                stage.engine,
                plus_two.type,
                {"value": number},
                metadata={"unit_id": f"u{number % 2}"},
            )
        )
        for number in range(5)
    ]
    stage.dispatcher.run(stage.engine)

    assert ids[::-1] == [row["id"] for row in http.get(ROWS).json()]
    assert ids[3:1:-1] == [
        row["id"] for row in http.get(ROWS, params={"limit": 2, "offset": 1}).json()
    ]
    assert [ids[3], ids[1]] == [
        row["id"] for row in http.get(ROWS, params={"unit_id": "u1"}).json()
    ]
    assert [ids[2]] == [row["id"] for row in http.get(ROWS, params={"arq_task_id": ids[2]}).json()]
    assert 422 == http.get(ROWS, params={"limit": 501}).status_code

    row = http.get(f"{ROWS}/{ids[0]}").json()
    assert ("completed", 2, 2, 100.0, "async", "0") == (
        *(row[name] for name in ("status", "step_progress", "total_steps", "progress_percentage")),
        *(row[name] for name in ("execution_mode", "total_cost")),
    )
    assert [1, 2] == [each["step_order"] for each in row["steps"]]
    assert {None} == {row["inputs"], *(each["outputs"] for each in row["steps"])}
    monkeypatch.setenv("FLOWQ_SHOW_CONTENT", "1")
    bootstrap.settings.cache_clear()
    try:
        row = http.get(f"{ROWS}/{ids[0]}").json()
        assert ({"value": 0}, 2) == (row["inputs"], row["outputs"])
    finally:
        bootstrap.settings.cache_clear()


def test_missing_row_is_answered_as_other_missing_things(stage: Stage) -> None:
    answer = client().get(f"{ROWS}/{uuid4()}")
    assert (404, {"detail": "Flow run not found"}) == (answer.status_code, answer.json())
