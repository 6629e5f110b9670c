"""Blueprints run as the durable program of playbooks, under a clock that jumps."""

import json
from datetime import timedelta
from typing import Any

import pytest

from flowq import step, testing
from flowq.entrypoints.fake_llm import FakeLlm
from flowq.playbooks.blueprints import compiled
from flowq.playbooks.blueprints.models import read
from flowq.playbooks.running import tools
from flowq.playbooks.running.submitting import as_flow
from flowq.settings import Settings
from flowq.testing.runs import StartedRun
from tests.tools.playbooks.blueprints import blueprint, data, node


@step(name="tests.large")
def large() -> dict[str, Any]:
    return {"text": "x" * 500_000, "few": 1}


@step(name="tests.count")
def count(text: str) -> dict[str, Any]:
    return {"length": len(text)}


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


def test_model_is_asked_with_its_instructions(fake_llm: FakeLlm) -> None:
    def asked(**more: Any) -> tuple[Any, int]:
        model = node("m", "model", prompt="About {{ text }}", max_tokens=50, **more)
        with started(blueprint("s>m m>e", m=model), text="ink") as run:
            return run.result()["result"]["response"], run.view().tokens

    (answer, few), (_, many) = asked(), asked(system="Be short. " * 50)

    assert isinstance(answer, str)
    assert 2 == fake_llm.stats.answered
    assert few + 50 < many


def test_large_results_go_from_node_to_node_by_reference() -> None:
    """Also those that became variables, of which a step gets what it has parameters for."""
    document = blueprint(
        "s>a a>b b>e",
        a=node("a", slug="tests.large"),
        b=node("b", slug="tests.count"),
        e=node("e", "end", output="{{ length }}"),
    )
    with started(document) as run:
        assert 500_000 == run.result()["result"]
        largest = max(len(json.dumps(one.inputs)) for one in run.steps if one.inputs)
    assert largest < 64 * 1024
