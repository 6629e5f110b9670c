"""Lists by what is in a run, in other orders, of runs that need somebody; acting on all of one."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from click.testing import CliRunner
from sqlalchemy import create_engine, text

import flowq
from flowq import flow, step
from flowq.adapters.records.sql.repository import RUNS, STEPS
from flowq.core.ids import LeaseToken, node_id
from flowq.core.states import RunState
from flowq.engine.model.actions import ActionKind
from flowq.engine.queries.lists import RunFilter, RunSort
from flowq.engine.runs.pause import pause
from flowq.engine.runs.submission import submit
from flowq.entrypoints.cli.app import recorded
from flowq.entrypoints.cli.main import main
from flowq.entrypoints.terms import parse_terms
from tests.tools.flower.pages import Pages, pages_of
from tests.tools.playing import Played, Stage


@step
def look_up(order: Any) -> Any:
    return {"known": 1}[order]


@step(queue="nobody")
async def later(number: int) -> int:
    return number


@flow(name="tests.search.tolerant")
def tolerant(order: Any) -> Any:
    return look_up.options(allow_failure=True, key="the lookup")(order)


@flow(name="tests.search.asks")
async def asks(number: int) -> Any:
    return await flowq.signal("say", str)


@flow(name="tests.search.others")
async def also_asks(number: int) -> Any:
    return await flowq.signal("say", str)


@flow(name="tests.search.open")
def stays_open(number: int) -> Any:
    return later(number)


@pytest.fixture
def pages(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pages]:
    with pages_of(stage.engine, monkeypatch) as pages:
        yield pages


def start(stage: Stage, flow: Any, options: dict[str, Any], **inputs: Any) -> Played:
    played = Played(stage, submit(stage.engine, flow.type, inputs, **options), flow)
    stage.dispatcher.run(stage.engine)
    return played


def leave(stage: Stage, number: int) -> Played:
    """Start a run whose step no worker takes."""
    return Played(stage, submit(stage.engine, stays_open.type, {"number": number}), stays_open)


def found(stage: Stage, search: str, **more: Any) -> list[Any]:
    terms = parse_terms(search)
    assert terms.problem is None
    wanted = terms.added_to(RunFilter(**more))
    page = stage.engine.records.autocommit(lambda tx: tx.overview.runs_page(wanted))
    return [run.id for run in page.runs]


def test_runs_are_found_by_what_is_in_them(stage: Stage) -> None:
    acme = dict(metadata={"customer": "acme", "vip": True, "n": 7}, user_id="ada@acme")
    one = start(stage, tolerant, acme, order="unknown")
    two = start(stage, tolerant, dict(metadata={"note": "\0"}), order="known")
    three = start(stage, tolerant, dict(user_id="bob"), order=17)

    assert found(stage, "metadata.customer=acme") == [one.id]
    assert found(stage, "metadata.vip=true metadata.n=7") == [one.id]
    assert found(stage, "metadata.customer=ac") == []
    assert found(stage, "inputs.order=17") == [three.id]
    assert found(stage, "inputs.order=known") == [two.id]
    assert found(stage, "user=ADA") == [one.id]
    assert found(stage, "error=KeyError") == [three.id, one.id]
    assert found(stage, "KeyError") == [three.id, one.id]  # tolerated, so in no run's error
    assert found(stage, "error=ValueError") == []
    assert found(stage, 'step="the lookup" user=bob') == [three.id]
    assert found(stage, "step=nobody") == []


def test_orders(stage: Stage) -> None:
    ended = start(stage, tolerant, dict(), order="known").id
    runs = [leave(stage, number).id for number in range(3)]

    assert found(stage, "", sort=RunSort.OLDEST) == [ended, *runs]
    assert set(found(stage, "", sort=RunSort.STALLED)) == set(runs)
    assert set(found(stage, "", sort=RunSort.COSTLIEST)) == {*runs, ended}
    assert found(stage, "", sort=RunSort.LONGEST, states=frozenset({RunState.RUNNING})) == runs


def sql(stage: Stage, statement: str, **values: Any) -> None:
    engine = create_engine(stage.records.url)
    with engine.begin() as connection:
        connection.execute(text(statement), values)
    engine.dispose()


def test_runs_that_need_somebody(stage: Stage) -> None:
    waiting = start(stage, asks, dict(), number=1).id
    start(stage, tolerant, dict(), order="known")
    held, untaken = leave(stage, 2).id, leave(stage, 3).id
    leave(stage, 4)
    pause(stage.engine, held)
    sql(
        stage,
        "UPDATE flow_step_runs SET resends = 3 WHERE flow_run_id = :run",
        run=str(untaken) if "postgres" in stage.records.url else untaken.hex,
    )

    assert found(stage, "", attention=True) == [untaken, held, waiting]
    counts = stage.engine.records.autocommit(lambda tx: tx.overview.run_counts(RunFilter()))
    assert (counts["attention"], counts["open"], counts["completed"]) == (3, 4, 1)
    assert (counts["paused"], counts["failed"]) == (1, 0)
    sql(stage, "UPDATE flow_step_runs SET resends = 0")


@flow(name="tests.search.parent")
def waits_for_child(number: int) -> Any:
    return stays_open(number)


def write(stage: Stage, statement: Any) -> None:
    with stage.records.engine.begin() as connection:
        connection.execute(statement)


def test_what_waits_in_a_line_needs_nobody(stage: Stage) -> None:
    """However long: what it waits for may need somebody."""
    parent = submit(stage.engine, waits_for_child.type, {"number": 1})
    stage.dispatcher.run(stage.engine, limit=1)  # the child run begins
    in_share, in_limit, untaken = (leave(stage, number).id for number in range(3))
    now, wake_at = datetime.now(UTC), STEPS.c.wake_at
    for run, years in ((in_share, 150.1), (in_limit, 40)):
        of_run = STEPS.update().where(STEPS.c.flow_run_id == run)
        write(stage, of_run.values(wake_at=now + timedelta(days=365.25 * years)))
    write(stage, RUNS.update().values(started_at=now - timedelta(hours=5)))

    shown = found(stage, "", attention=True)

    assert untaken in shown
    assert not {parent, in_share, in_limit} & set(shown)
    assert len(shown) == 2  # the other is the child run, whose step no worker takes
    write(stage, STEPS.update().where(wake_at > now).values(wake_at=now))
    write(stage, RUNS.update().values(started_at=now))


def test_resent_step_needs_nobody_while_others_of_its_name_run(stage: Stage) -> None:
    busy, behind = leave(stage, 1).id, leave(stage, 2).id
    write(stage, STEPS.update().values(resends=3))
    assert set(found(stage, "", attention=True)) == {busy, behind}

    hour, token = timedelta(hours=1), LeaseToken(uuid4())
    step_id = node_id(busy, "later")
    assert stage.records.autocommit(
        lambda tx: tx.steps.claim(step_id, token=token, lease=hour, worker="w")
    )

    assert found(stage, "", attention=True) == []
    write(stage, STEPS.update().values(resends=0))


def test_the_list_shows_counts_and_why_runs_wait(stage: Stage, pages: Pages) -> None:
    start(stage, asks, dict(), number=1)

    shown = pages.text("/flows?state=attention")
    assert "Needs attention 1" in shown
    assert "waits for signal say" in shown
    assert "last step" in shown
    assert "is not a term" in pages.get("/flows?text=size%3D3", status=400)
    assert "no order" in pages.get("/flows?sort=size", status=400)


def test_ticked_runs_and_all_that_match_are_acted_on(stage: Stage, pages: Pages) -> None:
    runs = [start(stage, asks, dict(), number=number) for number in range(3)]
    other = start(stage, also_asks, dict(), number=9)

    asked = pages.text(f"/flows/bulk/pause?id={runs[0].id}&id={runs[1].id}")
    assert "Pause 2 runs?" in asked
    page = f"/flows/bulk/pause?id={runs[0].id}&id={runs[1].id}"
    done = pages.post(page, {"ids": f"{runs[0].id} {runs[1].id}", "reason": "look"}, status=200)
    assert "Pause: 2 runs done" in done
    assert [run.status for run in runs] == ["paused", "paused", "running"]

    all_of_flow = "/flows/bulk/cancel?all=1&flow=tests.search.asks"
    assert "Cancel 3 runs?" in pages.text(all_of_flow)
    late = start(stage, asks, dict(), number=4)
    ids = " ".join(str(run.id) for run in runs)
    assert "3 runs done" in pages.post(all_of_flow, {"ids": ids, "reason": ""}, status=200)
    stage.dispatcher.run(stage.engine)
    assert [run.status for run in runs] == ["cancelled"] * 3
    assert (late.status, other.status) == ("running", "running")  # came later; did not match
    again = pages.post("/flows/bulk/pause?all=1", {"ids": ids, "reason": ""}, status=200)
    assert "0 runs done" in again
    assert "it is cancelled" in again
    actions = stage.engine.records.autocommit(lambda tx: tx.actions.of_run(runs[0].id))
    assert [one.kind for one in actions] == [ActionKind.PAUSE, ActionKind.CANCEL]
    assert "no run" in pages.text("/flows/bulk/resume?all=1")


def test_command_names_the_number_and_asks(
    stage: Stage, pages: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [start(stage, asks, dict(user_id=f"u{n}"), number=n) for n in range(2)]
    monkeypatch.setattr(recorded, "engine", lambda: stage.engine)

    def command(*words: str, answer: str = "") -> Any:
        return CliRunner().invoke(main, ["runs", *words], input=answer)

    refused = command("pause", "--flow", "tests.search.asks", answer="n\n")
    assert "Pause 2 runs? [y/N]" in refused.output
    assert refused.exit_code == 1
    assert command("pause", "--search", "user=u1", "--since", "2h", "--yes").exit_code == 0
    assert [run.status for run in runs] == ["running", "paused"]
    assert command("resume", "--state", "paused", answer="y\n").exit_code == 0
    assert [run.status for run in runs] == ["running", "running"]
    for words in (
        ["cancel"],
        ["cancel", str(runs[0].id), "--flow", "x"],
        ["cancel", "--since", "2"],
    ):
        assert command(*words).exit_code == 2
    assert "--yes" in command("cancel", "--flow", "tests.search.asks").output


@flow(name="tests.search.alone", singleton="queue", singleton_by="customer")
async def alone(customer: str) -> Any:
    return await flowq.signal("say", str)


def test_page_of_a_run_that_waits_for_another_one_leads_there(stage: Stage, pages: Pages) -> None:
    """Without the key, which is an input."""
    first = start(stage, alone, dict(), customer="acme").id
    second = start(stage, alone, dict(), customer="acme").id

    head = pages.get(f"/flows/{second}").partition('class="flowq-about"')[0]

    assert f'<a href="/flows/{first}">Open that run</a>' in head
    assert "acme" not in head
    assert "waits for another run of its key" in pages.text("/flows")
    assert found(stage, "", attention=True) == [first]


def test_steps_of_an_open_run_have_all_that_may_change(stage: Stage, pages: Pages) -> None:
    """Columns that stay empty are left out when it has ended."""
    shown = pages.get(f"/flows/{leave(stage, 1).id}/steps").partition("<tbody>")[2]

    for cell in ("status", "worker", "attempt", "duration", "tokens", "cost"):
        assert f'data-cell="{cell}"' in shown


def test_failed_steps_are_counted_apart(
    stage: Stage, pages: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(stage, tolerant, dict(), order="unknown")
    start(stage, tolerant, dict(), order="known")
    monkeypatch.setattr(recorded, "engine", lambda: stage.engine)

    shown = pages.text("/flows")
    assert shown.count("1 of 1 1 step failed") == 1
    listed = CliRunner().invoke(main, ["runs", "ls"]).output
    assert listed.count("1 of 1, 1 failed") == 1
    data = json.loads(CliRunner().invoke(main, ["runs", "ls", "--json"]).stdout)
    assert [(one["done"], one["failed"]) for one in data] == [(1, 0), (1, 1)]


def test_two_ticked_runs_are_compared(stage: Stage, pages: Pages) -> None:
    first = start(stage, tolerant, dict(), order="known")
    second = start(stage, tolerant, dict(), order={"id": 7})

    shown = pages.text(f"/flows/compare?id={second.id}&id={first.id}")
    assert shown.index(str(first.id)) < shown.index(str(second.id))
    assert 'order "known" { "id": 7 }' in shown
    assert "the lookup differs ✓ completed ✗ failed" in shown
    assert "needs two runs, not 1" in pages.get(f"/flows/compare?id={first.id}", status=400)
