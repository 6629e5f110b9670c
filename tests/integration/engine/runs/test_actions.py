"""Who did what to a run: recorded with what is done, and nothing else is."""

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

import flowq
from flowq import Budget, flow, step
from flowq.core.errors import InvalidInput
from flowq.core.states import RunState, StopKind
from flowq.engine.attempts.budgets import raise_budget
from flowq.engine.engine import Engine
from flowq.engine.model.actions import ActionView, Face
from flowq.engine.runs.actors import acting
from flowq.engine.runs.cancel import cancel
from flowq.engine.runs.pause import pause, resume
from flowq.engine.runs.signals import send_signal
from flowq.entrypoints.cli.app import actions as listed
from flowq.entrypoints.cli.display.events import action_json, action_line
from tests.tools.flower.pages import pages_of
from tests.tools.playing import Played, Stage


@step
async def note(text: str) -> str:
    return text


@flow(budget=Budget(usd=1, on_exceeded="pause"))
async def approved() -> Any:
    return await note(await flowq.signal("approve", str))


def actions(played: Played) -> list[ActionView]:
    return played.stage.engine.records.autocommit(lambda tx: tx.actions.of_run(played.id))


def do_all(engine: Engine, played: Played) -> None:
    with acting(Face.CLI, "ada"):
        pause(engine, played.id, "lunch")
        pause(engine, played.id, "again")
        resume(engine, played.id)
        resume(engine, played.id)
    with acting(Face.HTTP, "bob\0"):
        raise_budget(engine, played.id, usd=Decimal(2), tokens=None)
        send_signal(engine, played.id, "approve", "yes")
    cancel(engine, played.id)
    cancel(engine, played.id, "again")


def test_each_change_is_recorded_once_with_who_made_it(stage: Stage) -> None:
    played = stage.play(approved)
    do_all(stage.engine, played)

    found = actions(played)
    assert [(one.kind, str(one.actor), one.details) for one in found] == [
        ("pause", "ada (cli)", {"reason": "lunch"}),
        ("resume", "ada (cli)", {}),
        ("raise_budget", "bob␀ (http)", {"usd": "2"}),
        ("signal", "bob␀ (http)", {"name": "approve"}),
        ("cancel", "test (python)", {"reason": "no reason was given"}),
    ]
    assert [one.payload for one in found] == [None, None, None, "yes", None]
    assert sorted(found, key=lambda one: one.at) == found


def test_what_flowq_does_itself_and_what_is_refused_are_no_actions(stage: Stage) -> None:
    played = stage.play(approved)
    pause(stage.engine, played.id, "spent", StopKind.BUDGET)
    assert raise_budget(stage.engine, played.id, usd=3) is RunState.RUNNING
    refused: list[Callable[[], object]] = [
        lambda: raise_budget(stage.engine, played.id, usd=1),
        lambda: send_signal(stage.engine, played.id, "approve", 7),
    ]
    for do in refused:
        with pytest.raises(InvalidInput):
            do()

    assert [one.kind for one in actions(played)] == ["raise_budget"]


def test_pages_and_terminal_show_actions_between_events(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = stage.play(approved)
    do_all(stage.engine, played)

    with pages_of(stage.engine, monkeypatch) as pages:
        shown = pages.text(f"/flows/{played.id}/events")
        assert 'signal bob␀ (http) approve: "yes"' in shown
        assert shown.index("raise_budget") < shown.index("WORKFLOW_STARTED")  # newest first
        oldest = pages.text(f"/flows/{played.id}/events?kind=actions&order=oldest")
        assert "WORKFLOW_" not in oldest.partition("Time (UTC)")[2]
        assert oldest.index("lunch") < oldest.index("to 2 USD") < oldest.rindex("no reason")
        assert "lunch" not in pages.text(f"/flows/{played.id}/events?kind=failures")

        reader = listed.Actions(played.id, since_start=True)
        first = actions(played)[0]
        # SQLite counts milliseconds: what was done in the same one comes with the first.
        until = reader.before(first.at)
        assert {one.at for one in until} == {first.at}
        rest = reader.before(None)
        assert all(one.at > first.at for one in rest)
        done = [*until, *rest]
        assert [one.kind for one in done] == ["pause", "resume", "raise_budget", "signal", "cancel"]
        assert reader.before(None) == []
    assert "ada (cli)  lunch" in action_line(first).plain
    assert json.loads(json.dumps(action_json(done[3])))["details"] == {"name": "approve"}
    with pages_of(stage.engine, monkeypatch, show_content=False) as pages:
        assert '"yes"' not in pages.get(f"/flows/{played.id}/events")


def test_actions_in_flower_and_in_code_are_those_of_who_did_them(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = stage.play(approved)
    with pages_of(stage.engine, monkeypatch) as pages:
        pages.post(f"/flows/{played.id}/pause", {"reason": "look"})
        with flowq.acting("carol"):
            flowq.Run(played.id, "approved").resume()

    assert [(one.kind, str(one.actor)) for one in actions(played)] == [
        ("pause", "flower"),
        ("resume", "carol (python)"),
    ]
