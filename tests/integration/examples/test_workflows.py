"""`examples/workflows`: the blueprint is cloned and executed over HTTP."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from flowq import bootstrap
from flowq.adapters.records.database import SqlRecords
from flowq.playbooks.running import program
from tests.tools.http_service import client, working
from tests.tools.playing import Stage

FOLDER = Path(__file__).parents[3] / "examples" / "workflows"

#: Registered before the definitions of a test are forgotten.
PROGRAM = program.playbook


@pytest.fixture
def stage(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Stage:
    stage = Stage.on(SqlRecords(sqlite_url))
    monkeypatch.setattr(bootstrap, "engine", lambda: stage.engine)
    return stage


@pytest.fixture(autouse=True)
def steps() -> Any:
    """The step types of the example."""
    spec = importlib.util.spec_from_file_location("support", FOLDER / "support.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "mail, words, urgent, answer",
    [
        ("The shop is down!", 8, True, "Somebody calls you."),
        ("ink", 8, False, "About 'ink': we look into it. we look into it."),
        ("ink", 99, False, "About 'ink': " + " ".join(["we look into it."] * 3)),
    ],
)
def test_support_is_cloned_and_executed(
    stage: Stage, mail: str, words: int, urgent: object, answer: str
) -> None:
    http = client()
    blueprint = json.loads((FOLDER / "support.json").read_text())
    template = http.post("/api/v2/blueprints", json=blueprint)
    assert template.status_code == 201, template.text
    [listed] = http.get("/api/v2/templates").json()["blueprints"]
    clone = http.post(f"/api/v2/blueprints/{listed['id']}/clone", json={"name": "our support"})
    body = {"input_data": {"text": mail, "words": words}, "mode": "sync", "timeout_seconds": 60}

    with working(stage):
        done = http.post(f"/api/v2/blueprints/{clone.json()['id']}/execute", json=body).json()

    assert (done["status"], done["output"]) == ("completed", {"answer": answer, "urgent": urgent})
