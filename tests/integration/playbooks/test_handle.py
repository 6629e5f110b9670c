"""Playbooks in Python: built, started, followed by their steps, tested without a server (1.6)."""

import asyncio
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

import flowq
from flowq import bootstrap
from flowq.adapters.records.database import SqlRecords
from flowq.core.errors import InvalidInput, RunNotFound
from flowq.playbooks import TOOLS, Execution, Playbook, PlaybookRun, Step, http, python, tool
from flowq.playbooks.running import program, tools
from flowq.settings import Settings
from flowq.testing.definitions import definitions
from tests.tools.http_service import working
from tests.tools.playbooks.service import JsonHandler, serving
from tests.tools.playing import Stage
from tests.tools.waiting import wait_until

#: Registered before the definitions of a test are forgotten.
PROGRAM = program.playbook
ROWS = [{"price": 3}, {"price": 4}]


def total(rows: list[dict[str, int]]) -> dict[str, int]:
    return {"total": sum(row["price"] for row in rows)}


book = Playbook.new("prices", path="shop/prices", workload={"url": "http://localhost:8123"}).add(
    Step("start", http("GET", "{{ workload.url }}/prices"), next="sum"),
    Step(
        "sum", python(total), args={"rows": "{{ start.rows }}"}, vars={"sum": "{{ result.total }}"}
    ),
)


class Prices(JsonHandler):
    """Answers with two rows."""

    def do_GET(self) -> None:  # noqa: N802 - as the library calls it
        self.answer({"rows": ROWS})


@pytest.fixture
def url() -> Iterator[str]:
    with serving(Prices) as url:
        yield url


@pytest.fixture
def played(records: SqlRecords, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """A thread does all that there is to do."""
    stage = Stage.on(records)
    given = Settings(fetch_hosts="127.0.0.1")
    monkeypatch.setattr(tools, "current_settings", lambda: given)
    monkeypatch.setattr(bootstrap, "engine", lambda: stage.engine)
    with working(stage):
        yield stage
    stage.engine.program_cache.clear()


def test_the_example_of_a_playbook_in_python(played: Stage, url: str) -> None:
    assert Playbook.parse(book.to_yaml()) == book
    run = book.enqueue({"url": url}, user_id="ann")
    assert isinstance(run, flowq.Run)
    assert run.result(timeout=60) == {
        "status": "completed",
        "final_step": "sum",
        "result": {"total": 7},
    }
    assert run.playbook.step("start")["data"] == {"rows": ROWS}
    assert run.playbook.step("sum") == {"total": 7}
    assert run.playbook.ctx == {"sum": 7}
    assert run.playbook.steps == ("start", "sum")
    assert run.playbook.active == ()
    names = [one.event_type for one in run.playbook.events()]
    assert ("playbook.initialized", "playbook.completed") == (names[0], names[-2])
    assert [one.event_id for one in run.playbook.events(after=3)] == [*range(4, len(names) + 1)]


def test_a_playbook_is_tested_without_a_server() -> None:
    def prices(config: Any, **_: Any) -> Any:
        assert "http://localhost:8123/prices" == config["endpoint"]
        return {"status": 200, "status_code": 200, "data": {"rows": [{"price": 5}]}}

    fakes = {TOOLS["http"]: prices}
    done = flowq.testing.run(book.flow, {"payload": {}}, fakes=fakes)

    assert {"total": 5} == done["result"]


def test_an_execution_is_seen_while_it_runs(played: Stage) -> None:
    waiting = Playbook.new("waiting", path=f"tests/{uuid4()}").add(
        Step("start", tool("noop"), args={"a": 1}, vars={"seen": "{{ result.a }}"}, next="ask"),
        Step("ask", tool("external")),
    )
    run = waiting.enqueue()
    wait_until(lambda: run.playbook.active == ("ask",), what="the execution waits for an answer")

    before = run.playbook
    assert before.step("start") == {"a": 1}
    with pytest.raises(InvalidInput, match=r"'ask' of execution .* has no result") as refused:
        before.step("ask")
    assert "steps that have one: start" == refused.value.hint
    run.send_signal("call:2", {"result": "yes"})
    assert "yes" == run.result(timeout=60)["result"]

    # It is of one moment; the next one has what has happened since.
    assert before.steps == ("start",)
    assert PlaybookRun.get(run.id).playbook.step("ask") == "yes"
    assert run.newest == run == PlaybookRun.get(str(run.id))


def test_an_execution_in_async_code(played: Stage) -> None:
    async def follow() -> tuple[Any, Execution]:
        run = await Playbook.new("one").add(Step("start", tool("noop"), args={"a": 1})).aenqueue()
        result = await run.aresult(timeout=60)
        return result["result"], await run.aplaybook()

    result, seen = asyncio.run(follow())
    assert {"a": 1} == result == seen.step("start")


def test_a_run_of_another_flow_is_no_playbook(played: Stage) -> None:
    with definitions():

        @flowq.step
        def one() -> int:
            return 1

        @flowq.flow
        def other() -> int:
            return one()

        run = other.enqueue()
        assert 1 == run.result(timeout=60)
        with pytest.raises(RunNotFound, match="which is no playbook"):
            PlaybookRun.get(run.id)
    with pytest.raises(RunNotFound, match="no run has the id"):
        PlaybookRun.get(uuid4())
