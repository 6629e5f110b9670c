"""Blueprints run as the durable program of playbooks, under a clock that jumps."""

from datetime import timedelta
from typing import Any

import pytest

from flowq import step, testing
from flowq.playbooks.blueprints import compiled
from flowq.playbooks.blueprints.models import read
from flowq.playbooks.running import tools
from flowq.playbooks.running.submitting import as_flow
from flowq.settings import Settings
from flowq.testing.runs import StartedRun
from tests.tools.playbooks.blueprints import blueprint, data, node


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "current_settings", Settings)


@step(name="tests.classify")
def classify(text: str) -> dict[str, Any]:
    return {"urgent": "fire" in text, "length": len(text)}


@step(name="tests.poll")
def poll(ready_after: int, iteration: int) -> dict[str, Any]:
    return {"ready": iteration >= ready_after}


def started(document: Any, **inputs: Any) -> StartedRun:
    return testing.start(as_flow(compiled(document)), {"payload": inputs})


TRIAGE = data(
    "s>c c>q q>e:true q>w:false w>e",
    c=node("c", slug="tests.classify"),
    q=node("q", "conditional", condition="variable urgent equals true"),
    w=node("w", "delay", seconds=3_600),
)


@pytest.mark.parametrize("text, waits", [("fire", 0), ("a question", 1)])
def test_condition_and_delay(text: str, waits: int) -> None:
    with started(read(TRIAGE), text=text) as run:
        output = {"text": text, "urgent": not waits, "length": len(text)}
        assert output == run.result()["result"]
        view = run.view()
        assert "blueprints/test" == view.flow_name
        assert view.started_at is not None
        assert view.completed_at is not None
        assert (view.completed_at - view.started_at >= timedelta(hours=1)) == bool(waits)


@pytest.mark.parametrize("after, rounds", [(2, 2), (99, 10)])
def test_loop_with_a_counter(after: int, rounds: int) -> None:
    document = blueprint(
        "s>l l>p p>w w>l l>e",
        l=node("l", "loop", condition="variable ready not equals true"),
        p=node("p", slug="tests.poll"),
        w=node("w", "delay", seconds=5),
    )

    with started(document, ready_after=after) as run:
        output = run.result()["result"]
        called = [one for one in run.steps if one.key.startswith("p#")]

    assert {"ready_after": after, "ready": after == rounds, "iteration": rounds} == {
        key: output[key] for key in ("ready_after", "ready", "iteration")
    }
    assert rounds == len(called)
