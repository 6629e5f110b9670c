"""What the steps of a run have logged, over HTTP."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import uuid_utils.compat as uuids

from flowq import bootstrap
from flowq.core.ids import LeaseToken, node_id
from flowq.engine.logs.reading import lines
from flowq.engine.model.logs import LogBunch, StoredLine
from flowq.engine.model.rows import Claim
from flowq.engine.runtime.logs.attempt_log import AttemptLog
from tests.integration.entrypoints.http.test_runs import mapped
from tests.tools.http_service import client
from tests.tools.playing import Played, Stage


@pytest.fixture
def content(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("FLOWQ_SHOW_CONTENT", "1")
    bootstrap.settings.cache_clear()
    yield
    bootstrap.settings.cache_clear()


class _Nowhere:
    def put(self, log: AttemptLog, line: StoredLine) -> None:
        raise AssertionError


def logged(stage: Stage) -> Played:
    """A run whose step `double` has logged twelve lines, every third of them a warning."""
    played = stage.submit(mapped, {"values": [1]})
    claim = Claim(
        node_id(played.id, "double"), played.id, "double", None, 1, 0, LeaseToken(uuids.uuid7()), {}
    )
    at = int(datetime.now(UTC).timestamp() * 1e6)
    said = [
        StoredLine(at + n, 20 if n % 3 else 30, "app", f"<b>{n}</b> \x1b[2J") for n in range(12)
    ]
    bunches: list[LogBunch] = AttemptLog(claim, _Nowhere(), 1_000_000).bunches(said)[0]
    stage.records.transaction(lambda tx: tx.logs.write(bunches))
    return played


@pytest.mark.usefixtures("content")
def test_lines_come_in_parts_and_by_filter(played: Stage) -> None:
    run = logged(played)
    http = client()

    def get(**query: Any) -> dict[str, Any]:
        answer = http.get(f"/api/runs/{run.id}/logs", params=query)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    whole = get()
    assert [line["message"] for line in whole["lines"]] == [
        f"<b>{n}</b> \x1b[2J" for n in range(12)
    ]
    assert whole["next"] is None
    first = whole["lines"][0]
    [line, *_] = lines(played.engine, run.id)
    assert datetime.fromisoformat(first.pop("at")) == line.at
    assert first == {
        "level": "WARNING",
        "logger": "app",
        "message": "<b>0</b> \x1b[2J",
        "step": "double",
        "index": None,
        "attempt": 1,
        "missing": 0,
    }
    parts = [get(limit=5), get(limit=5, skip=5), get(limit=5, skip=10)]
    assert [part["next"] for part in parts] == [5, 10, None]
    assert [one for part in parts for one in part["lines"]][1:] == whole["lines"][1:]
    assert len(get(level="warning")["lines"]) == 4
    assert len(get(step="double", attempt=1)["lines"]) == 12
    assert get(step="other") == get(index=0) == get(attempt=2) == {"lines": [], "next": None}
    assert http.get(f"/api/runs/{run.id}/logs?level=loud").status_code == 422


def test_lines_are_contents(played: Stage) -> None:
    answer = client().get(f"/api/runs/{logged(played).id}/logs")

    assert (answer.status_code, answer.json()["error"]) == (403, "ContentHidden")
