"""Flows without end: they go on as new runs, and whoever waits gets the result of the last."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

import flowq
from flowq import flow, step
from flowq.adapters.records.runs.repo import FlowRunRepo
from flowq.core.errors import StepFailed
from flowq.core.ids import RunId
from flowq.core.spec import FlowSpec
from flowq.core.states import RunState, StepState
from flowq.engine.registry.registry import registry
from flowq.engine.runs.cancel import cancel
from flowq.engine.runs.pause import pause, resume
from flowq.engine.runs.signals import newest, send_signal
from tests.tools.playing import Played, Stage


@step
async def add(x: int, y: int) -> int:
    return x + y


@flow
async def counted(left: int, total: int = 0) -> int:
    total = await add(total, left)
    if left > 0:
        flowq.continue_as_new(left=left - 1, total=total)
    return total


@flow
async def parent(n: int) -> int:
    return 1000 + await counted(left=n)


@flow
def graph_parent(n: int) -> int:
    total: int = add(counted(left=n), 1)  # type: ignore[arg-type]  # a Ref to its result
    return total


@flow
async def wrong() -> None:
    flowq.continue_as_new(nothing=1)


@flow
async def mailbox(seen: list[str]) -> list[str]:
    word = str(await flowq.signal("say"))
    if word != "stop":
        flowq.continue_as_new(seen=[*seen, word])
    return seen


def last(played: Played) -> Played:
    return Played(played.stage, newest(played.stage.engine, played.id), played.flow)


def test_loop_continues_in_new_runs(stage: Stage) -> None:
    played = stage.play(counted, left=3)

    assert RunState.COMPLETED is played.status
    assert 6 == last(played).result()
    assert ["counted", "add#1"] == [step.key for step in last(played).view.steps]


def test_each_run_is_linked_with_the_next(stage: Stage) -> None:
    played = stage.play(counted, left=2)

    chain = [played.view]
    while (following := chain[-1].continued_as) is not None:
        chain.append(Played(stage, following, counted).view)
    assert [2, 1, 0] == [view.inputs["left"] for view in chain]
    assert {RunState.COMPLETED} == {view.status for view in chain}


@pytest.mark.parametrize("flow_of_it, expected", [(parent, 1006), (graph_parent, 7)])
def test_parent_waits_for_the_last_run(stage: Stage, flow_of_it: object, expected: int) -> None:
    played = stage.play(flow_of_it, n=3)  # type: ignore[arg-type]  # one of two flows

    assert expected == played.result()


def test_wrong_inputs_of_the_new_run_fail_the_old_one(stage: Stage) -> None:
    played = stage.play(wrong)

    assert RunState.FAILED is played.status
    assert "nothing: unknown input" in played.error


def test_signals_follow(stage: Stage) -> None:
    """Also those that were sent to the first run, before and after it went on."""
    played = stage.submit(mailbox, {"seen": []})
    for word in ("a", "b"):
        send_signal(stage.engine, played.id, "say", word)
    stage.dispatcher.run(stage.engine)
    for word in ("c", "stop"):
        send_signal(stage.engine, played.id, "say", word)
        stage.dispatcher.run(stage.engine)

    assert ["a", "b", "c"] == last(played).result()


def test_signal_finds_a_run_that_continues_at_this_moment(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = stage.play(mailbox, seen=[])
    send_signal(stage.engine, played.id, "say", "a")
    asked = FlowRunRepo.continued_as

    def goes_on(repo: FlowRunRepo, run_id: RunId) -> RunId | None:
        found = asked(repo, run_id)
        monkeypatch.setattr(FlowRunRepo, "continued_as", asked)
        stage.dispatcher.run(stage.engine)
        return found

    monkeypatch.setattr(FlowRunRepo, "continued_as", goes_on)
    send_signal(stage.engine, played.id, "say", "stop")
    stage.dispatcher.run(stage.engine)

    assert last(played).id != played.id
    assert ["a"] == last(played).result()


def test_cancelled_parent_cancels_the_run_that_continues(stage: Stage) -> None:
    @flow(name="tests.parent_of_mailbox")
    async def waits() -> object:
        try:
            return await mailbox(seen=[])
        except StepFailed:
            return None

    played = stage.play(waits)
    child = played.view.steps[1]
    assert StepState.WAITING is child.status
    submission = stage.records.autocommit(
        lambda tx: tx.runs.views(flow_name=mailbox.type.name, limit=1)
    )
    send_signal(stage.engine, submission[0].id, "say", "a")
    stage.dispatcher.run(stage.engine)
    current = Played(stage, newest(stage.engine, RunId(submission[0].id)), mailbox)
    assert current.id != submission[0].id

    cancel(stage.engine, played.id)
    stage.sweep()
    stage.dispatcher.run(stage.engine)

    assert (RunState.CANCELLED, RunState.CANCELLED) == (played.status, current.status)


def test_what_was_said_about_the_run_holds_for_the_next(stage: Stage) -> None:
    from flowq.engine.runs import submission

    run_id = submission.submit(
        stage.engine, counted.type, {"left": 1}, user_id="ann", metadata={"order": 7}
    )
    stage.dispatcher.run(stage.engine)

    with_new = newest(stage.engine, run_id)
    row = stage.records.autocommit(lambda tx: tx.runs.by_id(with_new))
    assert row is not None
    assert ("ann", {"order": 7}) == (row.user_id, row.flow_metadata)


def test_paused_run_continues_when_it_is_resumed(stage: Stage) -> None:
    played = stage.submit(counted, {"left": 1})
    stage.dispatcher.run(stage.engine, limit=1)  # the program
    stage.engine.program_cache.clear()  # so its step does not continue it
    stage.dispatcher.run(stage.engine, limit=1)
    pause(stage.engine, played.id)
    stage.dispatcher.run(stage.engine)
    assert RunState.PAUSED is played.status
    assert played.view.continued_as is None

    resume(stage.engine, played.id)
    stage.dispatcher.run(stage.engine)

    assert 1 == last(played).result()


@flow(name="tests.document")
async def document(name: str, left: int) -> str:
    if left > 0:
        flowq.continue_as_new(name=name, left=left - 1)
    return str(await titled(name))


@step
async def titled(name: str) -> str:
    return name.title()


original = document.type.trace


def named(inputs: Mapping[str, Any]) -> FlowSpec:
    """Return the spec of a run that has its name from its inputs."""
    return original(inputs).model_copy(update={"name": f"documents/{inputs['name']}"})


def test_run_of_a_generic_program_has_the_name_of_its_spec(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    generic = replace(document.type, trace=named)
    monkeypatch.setattr(document, "type", generic)
    monkeypatch.setitem(registry.flows, generic.name, generic)

    played = stage.play(document, name="ada", left=1)

    names = [one.view.flow_name for one in (played, last(played))]
    assert ["documents/ada", "documents/ada"] == names
    assert "Ada" == last(played).result()
