"""Reruns over HTTP: previewed, started, with other inputs, and linked with the earlier run."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from flowq import bootstrap, flow, step
from flowq.core.ids import RunId
from tests.tools.http_service import awaited, client
from tests.tools.playing import Stage

BROKEN: set[int] = set()


@step
def double(value: int) -> int:
    if value in BROKEN:
        raise ValueError(f"{value} is broken")
    return 2 * value


@step
def add(one: int, other: int) -> int:
    return one + other


@flow(name="tests.http.reruns")
def added(value: int, more: int = 1) -> int:
    return add(double(value), double.options(key="more")(more))


@pytest.fixture
def _shown(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Contents are shown."""
    monkeypatch.setenv("FLOWQ_SHOW_CONTENT", "1")
    bootstrap.settings.cache_clear()
    yield
    bootstrap.settings.cache_clear()


@pytest.mark.usefixtures("_shown")
def test_failed_run_is_previewed_and_rerun_with_other_inputs(played: Stage) -> None:
    http = client()
    BROKEN.add(9)
    body = {"inputs": {"value": 1, "more": 9}}
    old = http.post("/api/flows/tests.http.reruns/runs", json=body).json()["id"]
    assert 409 == awaited(http, old).status_code

    def seen(answer: Any) -> dict[str, Any]:
        assert 200 == answer.status_code, answer.text
        found: dict[str, Any] = answer.json()
        return found

    shown = seen(http.post(f"/api/runs/{old}/rerun/preview"))
    assert [(one["key"], one["why"]) for one in shown["steps"]] == [
        ("double", None),
        ("more", "open"),
        ("add", "depends"),
    ]
    change = {"inputs": {"more": 3}, "from_step": "more"}
    shown = seen(http.post(f"/api/runs/{old}/rerun/preview", json=change))
    assert [one["why"] for one in shown["steps"]] == [None, "fork", "depends"]

    answer = http.post(f"/api/runs/{old}/rerun", json=change)

    assert 202 == answer.status_code, answer.text
    new = answer.json()["id"]
    assert answer.headers["Location"] == f"/api/runs/{new}"
    assert {"result": 8} == seen(awaited(http, new))
    details = seen(http.get(f"/api/runs/{new}"))
    assert (details["rerun_of"], details["inputs"]) == (old, {"value": 1, "more": 3})
    assert [one["attempts"] for one in details["steps"]] == [0, 1, 1]
    assert seen(http.get(f"/api/runs/{old}"))["rerun_of"] is None
    [action] = played.engine.records.autocommit(lambda tx: tx.actions.of_run(RunId(UUID(new))))
    assert ("rerun", "http", "local-user") == (action.kind, action.actor.face, action.actor.name)
    wrong = http.post(f"/api/runs/{old}/rerun", json={"inputs": {"nothing": 3}})
    assert (400, "nothing" in wrong.text) == (wrong.status_code, True), wrong.text
