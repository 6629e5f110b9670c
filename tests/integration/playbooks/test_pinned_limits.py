"""The limits of an execution are those of its submission, whatever the worker's settings are."""

import pytest

from flowq import testing
from flowq.engine.runs.submission import submit
from flowq.playbooks.parser import read_playbook
from flowq.playbooks.running import program
from flowq.playbooks.running.log import replayed
from flowq.playbooks.running.stored import find
from flowq.settings import Settings
from flowq.testing.runs import StartedRun

HEAD = "apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {name: test, path: tests/test}\n"
#: Each page waits for somebody, so a test can change the settings between two of them.
PAGES = """
workflow:
  - step: start
    tool: {kind: external}
    case: [{when: "event.name == 'call.done'", then: {call: {more: true}}}]
"""
CIRCLE = """
workflow:
  - {step: start, tool: {kind: external}, next: start}
"""
PARENT = """
workflow:
  - step: start
    tool: {kind: external}
    next: child
  - {step: child, tool: {kind: playbook, path: tests/child}}
"""
CHILD = HEAD.replace("tests/test", "tests/child") + (
    """
workflow:
  - step: start
    tool: {kind: noop}
    args: {page: "{{ event.page }}"}
    case:
      - when: "event.name == 'call.done'"
        then: {collect: {path: page, into: pages}, call: {}}
  - {step: end, tool: {kind: noop}, args: {pages: "{{ ctx.pages }}"}}
"""
)


def use(monkeypatch: pytest.MonkeyPatch, **given: int) -> None:
    settings = Settings(**given)  # type: ignore[arg-type]
    monkeypatch.setattr(program, "current_settings", lambda: settings)


def restarted(run: StartedRun) -> None:
    """Go on as a process that has never seen the run: it replays it."""
    run.stage.engine.program_cache.clear()


@pytest.mark.parametrize("later", [1, 2, 9])
def test_pages_are_those_of_the_setting_at_the_begin(
    monkeypatch: pytest.MonkeyPatch, later: int
) -> None:
    use(monkeypatch, playbook_pages=3)
    with testing.start(read_playbook(HEAD + PAGES).flow, {"payload": {}}) as run:
        use(monkeypatch, playbook_pages=later)
        for number in (1, 2, 3):
            restarted(run)
            run.send_signal(f"call:{number}", {"result": number})
        assert 3 == run.result()["result"]
        [capped] = [
            event
            for event in replayed(run.stage.engine, run.id).events
            if event.event_type == "pagination.capped"
        ]
        assert {"pages": 3, "limit": 3} == capped.payload


@pytest.mark.parametrize("later", [1, 9])
def test_calls_are_those_of_the_setting_at_the_begin(
    monkeypatch: pytest.MonkeyPatch, later: int
) -> None:
    use(monkeypatch, program_calls=2)
    with testing.start(read_playbook(HEAD + CIRCLE).flow, {"payload": {}}) as run:
        use(monkeypatch, program_calls=later)
        for number in (1, 2):
            restarted(run)
            run.send_signal(f"call:{number}", {"result": number})
        run.finish()
        assert "more than 2 steps (FLOWQ_PROGRAM_CALLS)" in (run.view().error or "")


def test_child_has_the_limits_of_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    child = read_playbook(CHILD).to_dict()
    use(monkeypatch, playbook_pages=3)
    fakes = {find: lambda path, version=None: child}
    with testing.start(read_playbook(HEAD + PARENT).flow, {"payload": {}}, fakes=fakes) as run:
        use(monkeypatch, playbook_pages=5)
        run.send_signal("call:1", {"result": None})
        assert 3 == len(run.result()["result"]["pages"])


def test_execution_id_again_is_the_same_execution_also_under_another_setting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use(monkeypatch, playbook_pages=3)
    flow, inputs = read_playbook(HEAD + PAGES).flow, {"payload": {"a": 1}}
    with testing.start(flow.options(idempotency_key="exec-1"), inputs) as run:
        use(monkeypatch, playbook_pages=5)
        assert run.id == submit(run.stage.engine, flow.type, inputs, idempotency_key="exec-1")


def test_playbook_that_calls_itself_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch)
    book = read_playbook(
        HEAD + "workflow: [{step: start, tool: {kind: playbook, path: tests/test}}]"
    )
    fakes = {find: lambda path, version=None: book.to_dict()}
    with testing.start(book.flow, {"payload": {}}, fakes=fakes) as run:
        run.finish()
        assert "playbooks call each other 16 deep" in (run.view().error or "")
