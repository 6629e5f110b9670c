"""What steps log is kept for each attempt: once, where it belongs, and no longer than its run."""

import asyncio
import contextvars
import logging
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, func, select, update

from flowq import RetryPolicy, flow, step
from flowq.adapters.records.database import SqlRecords
from flowq.adapters.records.sql.repository import LOGS
from flowq.adapters.records.sql.types import DbNow
from flowq.core.ids import FIRST_ID, node_id
from flowq.core.states import RunState
from flowq.engine.engine import Policies
from flowq.engine.logs import reading
from flowq.engine.model.logs import LogFilter, LogLine
from flowq.engine.runtime.log_capture import LogCapture, install
from flowq.engine.sweeper.invariants import check
from flowq.engine.sweeper.retention import collect, delete_run
from tests.tools.playing import Played, Stage
from tests.tools.waiting import wait_until

log = logging.getLogger("tests.logs")
NOW = timedelta(0)
POLICIES = Policies(logs_bytes=1024 * 1024, orphans_after=NOW)


@pytest.fixture(autouse=True)
def captured(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Capture the records of one logger, which prints nothing."""
    handler = LogCapture(logging.INFO)
    log.setLevel(logging.DEBUG)
    log.propagate = False
    install(handler, [log, logging.getLogger("celery.redirected")])
    monkeypatch.setattr(sys, "stdout", sys.stdout)  # put back afterwards
    yield
    log.removeHandler(handler)


@pytest.fixture
def stage(records: SqlRecords) -> Iterator[Stage]:
    stage = Stage.on(records, policies=POLICIES)
    yield stage
    stage.engine.program_cache.clear()


def lines(played: Played, **wanted: Any) -> list[LogLine]:
    logs = played.stage.engine.logs
    assert logs is not None
    assert logs.flush(60)
    return list(reading.lines(played.stage.engine, played.id, LogFilter(**wanted)))


def texts(played: Played, **wanted: Any) -> list[str]:
    return [f"{line.where} {line.message}" for line in lines(played, **wanted)]


# --- which attempt a line is of -------------------------------------------------------------------


@step
def says(n: int) -> int:
    log.info("step %d", n)
    log.debug("too low")
    copied = contextvars.copy_context()
    for target in (lambda: copied.run(log.info, "copied"), lambda: log.info("alone")):
        thread = threading.Thread(target=target)
        thread.start()
        thread.join()
    return n


@step
async def says_async(n: int) -> int:
    log.info("first %d", n)
    await asyncio.sleep(0)
    await asyncio.to_thread(log.info, "in a thread %d", n)
    return n


@step(retry=RetryPolicy(max_attempts=2, initial_delay=NOW))
def fails_once(n: int) -> int:
    try:
        assert not {0: 0}[n]
    except KeyError:
        log.exception("attempt %d", step.context().attempt)
    if step.context().attempt == 1:
        raise ValueError
    return n


@step(timeout=30)
def is_timed(n: int) -> int:
    log.warning("timed", stack_info=True)
    return n


@flow
def many(n: int) -> Any:
    return [says(n), says_async.map([1, 2]), fails_once(n), is_timed(n)]


def test_each_line_is_of_its_step_and_attempt(stage: Stage) -> None:
    played = stage.play(many, n=7)
    assert played.status is RunState.COMPLETED

    assert texts(played, step="says") == ["says step 7", "says copied"]
    assert texts(played, step="says_async", index=1) == [
        "says_async[1] first 2",
        "says_async[1] in a thread 2",
    ]
    assert len(lines(played, step="says_async")) == 4
    [one, two] = lines(played, step="fails_once")
    assert (one.attempt, two.attempt) == (1, 2)
    assert one.message.startswith("attempt 1\nTraceback (most recent call last):\n")
    assert one.message.endswith("KeyError: 7")
    assert lines(played, step="fails_once", attempt=2) == [two]
    [timed] = lines(played, level=logging.WARNING, step="is_timed")
    assert timed.message.startswith("timed\nStack (most recent call last):\n")
    assert (timed.level_name, timed.logger) == ("WARNING", "tests.logs")
    whole = lines(played)
    assert len(whole) == 9
    assert [line.at for line in whole] == sorted(line.at for line in whole)


@step(log_prints=True)
def prints(n: int) -> int:
    sys.stdout.write(f"one {n}\ntwo")
    sys.stdout.writelines([" and", " more"])
    logging.getLogger("celery.redirected").warning("Celery's record of it")
    return n


@step
def prints_unkept(n: int) -> int:
    sys.stdout.write(f"not kept {n}\n")
    return n


@flow
def printing(n: int) -> Any:
    kept = prints(n)
    return [kept, prints_unkept(n), prints_unkept.options(key="chosen", log_prints=True)(n)]


def test_printed_lines_are_kept_where_the_step_says_so(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    played = stage.play(printing, n=1)

    assert sorted(texts(played)) == ["chosen not kept 1", "prints one 1", "prints two and more"]
    assert "not kept 1\n" in capsys.readouterr().out, "and they are printed"


# --- programs -------------------------------------------------------------------------------------


@flow
async def program(n: int) -> int:
    log.info("begin %d", n)
    for number in range(2):
        log.info("before %d", number)
        await says_async(n)
    log.info("end %d", n)
    return n


@pytest.mark.parametrize("cached", [True, False])
def test_replay_logs_nothing_again(stage: Stage, cached: object) -> None:
    played = stage.submit(program, {"n": 3})
    while stage.dispatcher.run(stage.engine, limit=1):
        if not cached:
            stage.engine.program_cache.clear()

    assert played.result() == 3
    own = [line.message for line in lines(played, step="program")]
    assert own == ["begin 3", "before 0", "before 1", "end 3"]


# --- size, retention ------------------------------------------------------------------------------


@step
def says_much(n: int) -> int:
    for number in range(n):
        log.info("%d %s", number, "x" * 1_000)
    return n


@flow
def noise(n: int) -> int:
    return says_much(n)


def stored(stage: Stage) -> list[str]:
    objects = stage.engine.results.objects
    return sorted(one.key for page in objects.list("logs") for one in page)


def test_much_is_in_objects_and_cut_in_the_middle(stage: Stage, records: SqlRecords) -> None:
    played = stage.play(noise, n=1_500)
    found = lines(played)

    [gap] = [number for number, line in enumerate(found) if line.missing]
    assert found[gap].message == f"{found[gap].missing:,} lines are missing here"
    assert len(found) - 1 + found[gap].missing == 1_500
    numbers = [line.message.partition(" ")[0] for line in found if not line.missing]
    assert numbers[:gap] == [str(number) for number in range(gap)]
    assert numbers[-1] == "1499"
    assert stored(stage)
    newest, more = reading.newest(stage.engine, played.id, limit=10)
    assert [line.message for line in newest] == [line.message for line in found[-10:]]
    assert more

    delete_run(stage.engine, played.id)
    assert stored(stage) == []


def test_old_lines_are_deleted_before_their_run(records: SqlRecords) -> None:
    policies = Policies(logs_bytes=1024 * 1024, logs_kept=timedelta(days=7), orphans_after=NOW)
    stage = Stage.on(records, policies=policies)
    played = stage.play(noise, n=200)
    assert lines(played)
    collect(stage.engine)
    assert lines(played), "they are new"

    with records.engine.connect() as connection:
        old = DbNow(-8 * 86_400)
        connection.execute(update(LOGS).values(first_at=old, flow_run_id=FIRST_ID))
    collect(stage.engine)

    with records.engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(LOGS)).scalar_one() == 0
    assert stored(stage) == []
    assert played.status is RunState.COMPLETED


def test_objects_that_no_row_names_are_collected(stage: Stage) -> None:
    played = stage.play(noise, n=200)
    assert lines(played)
    kept = stored(stage)
    orphan = f"logs/{played.id}/{node_id(played.id, 'says_much')}/{FIRST_ID}.0"
    stage.engine.results.objects.put(orphan, b"[]")

    collect(stage.engine)

    assert stored(stage) == kept


# --- following ------------------------------------------------------------------------------------


def test_follower_gets_each_line_once(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those that were written out of order, long after they were logged."""
    monkeypatch.setattr(reading, "_PAUSE", 0.01)
    monkeypatch.setattr(reading, "_SETTLING", 600.0)
    played = stage.submit(program, {"n": 1})
    got: list[LogLine] = []

    def follow() -> None:
        got.extend(reading.follow(stage.engine, played.id))

    follower = threading.Thread(target=follow)
    stage.dispatcher.run(stage.engine, limit=1)
    assert len(lines(played)) == 2
    follower.start()
    wait_until(lambda: len(got) == 2, what="the first lines are read")
    with stage.records.engine.connect() as connection:
        old = DbNow(-3600)
        connection.execute(update(LOGS).where(LOGS.c.first_line == 0).values(first_at=old))
    stage.dispatcher.run(stage.engine)
    whole = lines(played)
    monkeypatch.setattr(reading, "_SETTLING", 0.05)  # all lines are written now
    follower.join(60)

    assert not follower.is_alive()
    assert sorted(line.message for line in got) == sorted(line.message for line in whole)


# --- cost -----------------------------------------------------------------------------------------


@step
def silent(n: int) -> int:
    return n


@flow
def quiet(n: int) -> int:
    return silent(n)


def test_step_that_logs_nothing_costs_no_statement(records: SqlRecords) -> None:
    def statements(stage: Stage) -> list[str]:
        seen: list[str] = []
        own = threading.get_ident()  # others renew leases

        def note(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
            if own == threading.get_ident():
                seen.append(statement)

        event.listen(records.engine, "before_cursor_execute", note)
        try:
            played = stage.play(quiet, n=1)
            assert played.result() == 1
        finally:
            event.remove(records.engine, "before_cursor_execute", note)
        return seen

    without = Stage.on(records)
    statements(without)  # what is cached at first use
    assert statements(without) == statements(Stage.on(records, policies=POLICIES))


def test_wrong_bunches_are_found(stage: Stage, records: SqlRecords) -> None:
    played = stage.play(noise, n=3)
    assert len(lines(played)) == 3

    def faults(**values: Any) -> list[str]:
        with records.engine.connect() as connection:
            before = connection.execute(select(LOGS)).mappings().one()
            connection.execute(update(LOGS).values(values))
            found = check(records, grace=NOW)
            connection.execute(update(LOGS).values({name: before[name] for name in values}))
        return [one.invariant for one in found]

    assert faults(line_count=3) == []
    assert faults(lines=None) == ["logs"]
    assert faults(object_key="logs/too") == ["logs"]
    assert faults(flow_run_id=FIRST_ID) == ["logs"]
