"""Playbooks run as durable programs, under a clock that jumps; the server is a real one."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest

from flowq import errors, step, testing
from flowq.core.spec import StepKind
from flowq.core.states import RunState, StepState
from flowq.playbooks.document.models import Playbook
from flowq.playbooks.parser import read_playbook
from flowq.playbooks.running import tools
from flowq.playbooks.running.perform import Performer
from flowq.playbooks.running.program import playbook
from flowq.playbooks.running.stored import find
from flowq.playbooks.running.submitting import as_flow
from flowq.settings import Settings
from flowq.testing.runs import StartedRun
from tests.tools.playbooks.service import JsonHandler, serving

HEAD = "apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {name: test, path: tests/test}\n"

ORDERS = """
workload: {url: "http://localhost:8123"}
workflow:
  - step: start
    tool:
      kind: http
      endpoint: "{{ workload.url }}/orders"
      params: {page: 1, size: 2}
    case:
      - when: "{{ event.name == 'call.done' and error is defined and error.status in [502, 503] }}"
        then: {retry: {max_attempts: 3, initial_delay: 0.5, backoff_multiplier: 2}}
      - when: "{{ event.name == 'call.done' and response.data.paging.hasMore }}"
        then:
          collect: {from: response.data.items, into: orders, mode: extend}
          call: {params: {page: "{{ response.data.paging.page + 1 }}"}}
      - when: "{{ event.name == 'call.done' }}"
        then:
          collect: {from: response.data.items, into: orders, mode: extend}
          result: {from: ctx.orders}
          next: [{step: count, args: {orders: "{{ ctx.orders }}"}}]
  - step: count
    tool:
      kind: python
      code: |
        def main(orders):
            return {"count": len(orders), "first": orders[0]["id"]}
"""
LOOP = """
workload: {numbers: [1, 2, 3]}
workflow:
  - step: start
    loop: {in: "{{ workload.numbers }}", iterator: n, mode: parallel, max_concurrency: 20}
    tool: {kind: python, code: "result = {'n': n, 'square': n * n, 'at': loop_index}"}
    args: {n: "{{ n }}", loop_index: "{{ loop_index }}"}
    next: sum
  - step: sum
    tool: {kind: python, code: "result = sum(one['square'] for one in loop_results['results'])"}
"""
JOIN = """
workflow:
  - {step: start, tool: {kind: noop}, next: [a, b]}
  - {step: a, tool: {kind: noop}, next: join}
  - {step: b, tool: {kind: noop}, next: join}
  - {step: join, join: all, tool: {kind: noop}, next: end}
  - {step: end, tool: {kind: noop}}
"""


class Orders(JsonHandler):
    """Pages of orders; the second one fails once. A page has orders of a given size."""

    pages: ClassVar[list[tuple[int, int, str]]] = []  #: Page, size and status of each request.
    last: ClassVar[int] = 3
    text: ClassVar[str] = ""

    def do_GET(self) -> None:  # noqa: N802 - as the library calls it
        query = parse_qs(urlsplit(self.path).query)
        page, size = int(query["page"][0]), int(query["size"][0])
        has_failed = any(one[0] == page == 2 for one in Orders.pages)
        status = 200 if page != 2 or has_failed else 503
        Orders.pages.append((page, size, str(status)))
        rows = [{"id": (page - 1) * size + one + 1} for one in range(size)]
        for row in rows:
            if Orders.text:
                row["text"] = Orders.text  # type: ignore[assignment]
        paging = {"page": page, "hasMore": page < Orders.last}
        self.answer({"items": rows, "paging": paging}, status)


@pytest.fixture
def url() -> Iterator[str]:
    Orders.pages, Orders.last, Orders.text = [], 3, ""
    with serving(Orders) as url:
        yield url


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch) -> None:
    given = Settings(fetch_hosts="127.0.0.1", playbook_python="inline")
    monkeypatch.setattr(tools, "current_settings", lambda: given)


def started(text: str, fakes: Any = None, **payload: Any) -> StartedRun:
    return testing.start(read_playbook(HEAD + text).flow, {"payload": payload}, fakes=fakes)


def result(text: str, **payload: Any) -> Any:
    with started(text, **payload) as run:
        return run.result()["result"]


def calls(run: StartedRun) -> list[tuple[str, str]]:
    """Return the calls of the program: the key and the state of each."""
    return [(one.key, str(one.status)) for one in run.steps if one.key != "playbook"]


def test_pages_with_a_retry(url: str) -> None:
    with started(ORDERS, url=url) as run:
        wanted = {"status": "completed", "final_step": "count"}
        assert wanted | {"result": {"count": 6, "first": 1}} == run.result()
        assert "tests/test" == run.view().flow_name
        assert [
            ("start#t1.1", "completed"),
            ("start#t2.1", "failed"),
            ("sleep#t3.1", "completed"),
            ("start#t3.2", "completed"),
            ("start#t4.1", "completed"),
            ("count#t5.1", "completed"),
        ] == calls(run)

    assert [(1, 2, "200"), (2, 2, "503"), (2, 2, "200"), (3, 2, "200")] == Orders.pages


def test_parallel_loop_is_one_row_with_items() -> None:
    with started(LOOP) as run:
        assert 14 == run.result()["result"]
        assert ["start#t1.1", "sum#t2.1"] == [key for key, _ in calls(run)]
        [looped] = [one for one in run.steps if one.key == "start#t1.1"]
        assert 3 == looped.map_size
    assert 0 == result(LOOP, numbers=[])


def test_branches_join_once() -> None:
    with started(JOIN) as run:
        assert "end" == run.result()["final_step"]
        assert ["start", "a", "b", "join", "end"] == [key.split("#")[0] for key, _ in calls(run)]


def test_unhandled_failure_fails_the_run_and_says_which_step() -> None:
    text = "workflow:\n  - step: start\n    tool: {kind: python, code: 'raise ValueError(1)'}\n"
    with started(text) as run:
        assert RunState.FAILED is run.finish()
        assert "step 'start' failed: ValueError: 1" in (run.view().error or "")
        with pytest.raises(errors.RunFailed):
            run.result()


def test_failure_of_one_branch_cancels_the_others() -> None:
    text = """
workflow:
  - {step: start, tool: {kind: noop}, next: [slow, bad]}
  - {step: slow, tool: {kind: external}}
  - {step: bad, tool: {kind: python, code: "raise ValueError('no')"}}
"""
    with started(text) as run:
        assert RunState.FAILED is run.finish()
        assert {StepState.CANCELLED} == {s.status for s in run.steps if s.key.startswith("call:")}


@pytest.mark.parametrize(
    "message, wanted",
    [
        ({"result": {"ok": True}}, {"approved": {"ok": True}}),
        ({"error": {"message": "no", "type": "Refused"}}, {"refused": "Refused: no"}),
    ],
)
def test_external_step_waits_for_somebody(message: Any, wanted: Any) -> None:
    text = """
workflow:
  - step: start
    tool: {kind: external}
    case:
      - when: error is defined
        then: {result: {refused: "{{ error.type }}: {{ error.message }}"}}
      - when: response is defined
        then: {result: {approved: "{{ response }}"}}
"""
    with started(text) as run:
        assert RunState.RUNNING is run.status
        with pytest.raises(errors.InvalidInput, match="approved"):  # it is below `result`
            run.send_signal("call:1", {"approved": True})
        run.send_signal("call:1", message)
        assert wanted == run.result()["result"]


def test_delay_is_a_timer_and_holds_no_worker() -> None:
    text = """
workload: {minutes: 90}
workflow:
  - {step: start, tool: {kind: delay, seconds: "{{ workload.minutes * 60 }}"}, next: after}
  - {step: after, tool: {kind: noop}}
"""
    with started(text) as run:
        assert "after" == run.result()["final_step"]
        assert ["start#t1.1", "after#t2.1"] == [key for key, _ in calls(run)]
        delay, after = run.steps[-2:]
        assert StepKind.TIMER is delay.called
        assert after.started_at is not None
        began = run.view().started_at
        assert began is not None
        assert began + timedelta(minutes=90) <= after.started_at
    with started(text, minutes=-1) as run, pytest.raises(errors.RunFailed, match="seconds: must"):
        run.result()


@step(name="tests.shout")
def shout(text: str, times: int = 1) -> str:
    return f"{text}!" * times


def test_step_is_filled_with_the_parameters_that_it_has() -> None:
    """Also at a join, whose arguments have one more key."""
    text = """
workload: {text: no, times: 2, other: 1}
workflow:
  - {step: start, tool: {kind: noop}, next: [a, b]}
  - {step: a, tool: {kind: noop}, next: [{step: shout, args: {text: ho}}]}
  - {step: b, tool: {kind: noop}, next: shout}
  - {step: shout, join: all, tool: {kind: step, name: tests.shout, fill: "{{ workload }}"}}
"""
    assert "ho!ho!" == result(text)


CHILD = (
    HEAD.replace("test}", "child}").replace("tests/test", "tests/child")
    + """
workflow:
  - {step: start, tool: {kind: noop}, args: {doubled: "{{ workload.number * 2 }}"}, next: after}
  - {step: after, tool: {kind: noop}, args: {other: 1}}
"""
)
PARENT = """
workflow:
  - step: start
    tool: {kind: playbook, path: tests/child, return_step: start}
    args: {number: "{{ workload.n }}"}
    case:
      - when: error is defined
        then: {result: "caught {{ error.type }}"}
"""


def test_playbook_calls_another_one_and_gets_the_result_of_a_step() -> None:
    known = {"tests/child": read_playbook(CHILD).to_dict()}
    fakes = {find: lambda path, version=None: known.get(path)}

    with started(PARENT, fakes, n=4) as run:
        assert {"doubled": 8} == run.result()["result"]
    broken = "workflow: [{step: start, tool: {kind: python, code: 'raise ValueError(1)'}}]"
    known["tests/child"] = read_playbook(HEAD + broken).to_dict()
    with started(PARENT, fakes, n=4) as run:
        assert "caught PlaybookFailed" == run.result()["result"]
    known.clear()
    with started(PARENT, fakes, n=4) as run:
        assert "caught PlaybookNotFound" == run.result()["result"]


def test_large_pages_are_copied_into_no_row(url: str) -> None:
    """Each page has 2 MB; the rows of the calls name them."""
    Orders.text = "x" * 1_000_000

    with started(ORDERS, url=url) as run:
        assert {"count": 6, "first": 1} == run.result()["result"]
        largest = max(len(json.dumps(one.inputs)) for one in run.steps if one.inputs)

    assert largest < 64 * 1024


def test_tool_that_the_worker_does_not_know_fails_its_call() -> None:
    """N13: a sender of a newer version may have more tools."""
    case = {"when": "error is defined", "then": [{"result": "{{ error.message }}"}]}
    step = {"step": "start", "tool": {"kind": "teleport"}, "case": [case]}
    book = Playbook.of({"metadata": {"name": "n", "path": "p"}, "workflow": [step]})
    with testing.start(as_flow(book), {"payload": {}}) as run:
        assert "Unsupported tool kind 'teleport'" in run.result()["result"]


def test_error_of_the_program_itself_fails_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise KeyError("a slip")

    monkeypatch.setattr(Performer, "perform", broken)
    with started(JOIN) as run:
        assert RunState.FAILED is run.finish()
        assert "'a slip'" in (run.view().error or "")


def test_programs_of_other_semantics_wait_for_their_workers() -> None:
    document = read_playbook(HEAD + JOIN).to_dict()
    with testing.start(playbook, {"document": document, "payload": {}, "semantics": 2}) as run:
        assert RunState.PAUSED is run.status
        assert "semantics 2" in (run.view().error or "")
