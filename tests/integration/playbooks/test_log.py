"""N52, N55, N56: the log of an execution is its program, replayed over its rows."""

import pytest

from flowq.engine.engine import Engine
from flowq.engine.model.rows import Message
from flowq.engine.runs.cancel import cancel
from flowq.engine.runtime.program_cache import ProgramCache
from flowq.playbooks.running.answers import Answers
from flowq.playbooks.running.log import LogEvent, replayed
from flowq.testing.runs import StartedRun
from tests.integration.playbooks.test_program import LOOP, ORDERS, settings, started, url
from tests.tools.playbooks.watching import watched

__all__ = ["settings", "url"]

CHAIN = """
workflow:
  - {step: start, tool: {kind: noop}, args: {a: 1}, next: second}
  - step: second
    tool: {kind: noop}
    case: [{when: "event.name == 'step.exit'", then: {set: {ctx: {seen: true}}}}]
    next: end
  - {step: end, tool: {kind: noop}}
"""
BEGUN = ["playbook.initialized tests/test", "workflow.initialized workflow"]
ENDED = ["workflow.completed workflow", "playbook.completed tests/test"]


def log(run: StartedRun) -> list[LogEvent]:
    engine = run.stage.engine
    return Answers(engine, run.id).events(replayed(engine, run.id).events)


def names(events: list[LogEvent]) -> list[str]:
    return [f"{one.event_type} {one.node_name}" for one in events]


def call(step: str) -> list[str]:
    parts = ["command.claimed", "command.started", "step.enter", "call.done", "step.exit"]
    return [f"{part} {step}" for part in parts]


def test_log_has_every_event_in_order() -> None:
    with started(CHAIN) as run:
        run.finish()
        events, again = log(run), log(run)

    assert events == again
    assert list(range(1, len(events) + 1)) == [one.event_id for one in events]
    assert [
        *BEGUN,
        "command.issued start",
        *call("start"),
        "command.issued second",
        "command.completed start",
        *call("second"),
        "case.evaluated second",
        "command.issued end",
        "command.completed second",
        *call("end"),
        *ENDED,
        "command.completed end",
    ] == names(events)
    assert ["INITIALIZED", "INITIALIZED", "PENDING", "RUNNING", "RUNNING"] == [
        one.status for one in events[:5]
    ]
    # A call begins before what its end leads to; all else comes in the order of its time.
    times = [one.created_at for one in events if not one.event_type.startswith("command.")]
    assert times == sorted(times)


def test_log_of_an_execution_that_waits_is_the_begin_of_its_whole_log() -> None:
    text = """
workflow:
  - {step: start, tool: {kind: noop}, next: wait}
  - {step: wait, tool: {kind: external}, next: end}
  - {step: end, tool: {kind: noop}}
"""
    with started(text) as run:
        first = log(run)
        run.send_signal("call:2", {"result": 1})
        run.finish()
        whole = log(run)

    assert first == whole[: len(first)]
    assert "command.issued wait" in names(first)
    assert ENDED == names(whole)[-3:-1]


def test_branch_that_is_observed_later_is_numbered_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both end at one time, and a reader may see that of `b`; the program observes `a` first."""
    text = """
workflow:
  - {step: start, tool: {kind: noop}, next: [b, a]}
  - {step: a, tool: {kind: noop}, next: end}
  - {step: b, tool: {kind: noop}, next: end}
  - {step: end, tool: {kind: noop}}
"""
    monkeypatch.setattr(ProgramCache, "observed", lambda *_: None)  # it is in another process
    monkeypatch.setattr(ProgramCache, "take", lambda *_: None)
    with watched() as logs, started(text) as run:
        run.finish()
        whole = log(run)

    assert ["call.done start", "call.done a", "call.done b", "call.done end"] == [
        one for one in names(whole) if one.startswith("call.done")
    ]
    assert whole[: len(logs[run.id])] == logs[run.id]


def test_call_that_a_cancel_overtakes_leads_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has ended before the cancel, but the program is cancelled before it observes that."""

    def stop(engine: Engine, message: Message) -> None:
        if message.name == "flowq.tool.noop":
            cancel(engine, message.run_id, "enough")

    monkeypatch.setattr(ProgramCache, "observed", lambda *_: None)  # it is in another process
    monkeypatch.setattr(ProgramCache, "take", lambda *_: None)
    with watched(then=stop) as logs, started(CHAIN) as run:
        assert "cancelled" == run.status
        assert [*BEGUN, "command.issued start"] == names(log(run)) == names(logs[run.id])


def test_log_of_pages_and_retries_and_of_a_failure(url: str) -> None:
    with started(ORDERS, url=url) as run:
        run.finish()
        assert 1 == names(log(run)).count("call.error start")
        assert 1 == names(log(run)).count("step.enter start")
    with started(LOOP, numbers=["a"]) as run:
        run.finish()
        shown = names(log(run))
        assert ["workflow.failed workflow", "playbook.failed tests/test"] == shown[-3:-1]


def test_large_results_are_named_in_the_log(url: str) -> None:
    from tests.integration.playbooks.test_program import Orders

    Orders.text = "x" * 1_000_000
    with started(ORDERS, url=url) as run:
        run.finish()
        [first, *_] = [one for one in log(run) if one.event_type == "call.done"]

    named = first.payload["response"]
    assert ("ref", f"flowq://{run.id}/start#t1.1") == (named["kind"], named["ref"])
    assert named["size"] > 2_000_000


def test_texts_that_a_worker_renders_are_data_in_the_log() -> None:
    text = "{% if args.n %}{{ args.n }}{% endif %}"
    book = f"""
workflow:
  - {{step: start, args: {{n: 1}}, tool: {{kind: noop, args: {{x: "{text}"}}}}}}
"""
    with started(book) as run:
        run.finish()
        [issued] = [one for one in log(run) if one.event_type == "command.issued"]

    given = {"$text": text, "names": {"args": {"n": 1}}}
    assert {"args": {"x": given}} == issued.payload["tool_config"]
