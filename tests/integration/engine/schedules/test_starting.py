"""Due schedules on the engine and both databases: runs, skipped ticks, crashes, many workers."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from threading import Barrier
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import func, select

from flowq import Budget, flow, schedule, signal, step
from flowq.adapters.records.database import SqlRecords
from flowq.adapters.records.sql.tables import FlowRun, FlowSchedule, SkippedTick
from flowq.core.errors import BrokerUnavailable, DatabaseUnavailable, InvalidInput
from flowq.core.schedules.decide import Progress
from flowq.core.schedules.spec import ScheduleSpec
from flowq.core.states import RunState
from flowq.engine.model.schedules import StoredSchedule
from flowq.engine.registry.registry import registry
from flowq.engine.schedules import control
from flowq.engine.schedules.declaring import declare_all
from flowq.engine.schedules.starting import start_due
from flowq.engine.sweeper.sweep import Sweeper
from tests.tools.playing import Stage
from tests.tools.waiting import wait_until

HOUR = timedelta(hours=1)


@step
def note(value: int, day: date | None = None) -> str:
    return f"{value} {day}"


@flow
def job(value: int, day: date | None = None) -> str:
    return note(value, day)


@flow
async def waits(value: int) -> Any:
    return await signal("go")


@flow
def broken(value: int) -> int:
    raise RuntimeError(f"no {value} today")


@pytest.fixture
def stage(records: SqlRecords) -> Iterator[Stage]:
    yield Stage.on(records)
    with records.engine.begin() as connection:
        for table in (SkippedTick, FlowSchedule):
            connection.execute(table.__table__.delete())  # type: ignore[attr-defined]
        connection.exec_driver_sql("UPDATE flow_runs SET schedule_name = NULL")


def far_away(timezone: str) -> str:
    """Return a time of day that does not come while a test runs."""
    return "0 14 * * *" if datetime.now(ZoneInfo(timezone)).hour < 8 else "0 2 * * *"


def declared(stage: Stage, name: str = "s", flow_: Any = job, **options: Any) -> ScheduleSpec:
    cron = far_away(options.get("timezone", "UTC"))
    options = {"cron": cron, "inputs": {"value": 7}} | options
    if "every" in options:
        options.pop("cron")
    spec = schedule(name, flow_, **options)
    declare_all(stage.engine)
    return spec


def find(stage: Stage, name: str = "s") -> StoredSchedule:
    return control.find(stage.engine, name)


def make_due(stage: Stage, ago: timedelta = timedelta(0), name: str = "s") -> datetime:
    """Let the next tick of a schedule be that long ago, and return it."""
    found = find(stage, name)
    now = stage.records.autocommit(lambda tx: tx.schedules.now())
    tick = (now - ago).replace(microsecond=0)
    progress = replace(found.progress, next_at=tick)
    assert stage.records.transaction(
        lambda tx: tx.schedules.move(name, progress, tick, version=found.version)
    )
    return tick


def sweep(stage: Stage) -> None:
    stage.sweep()
    stage.dispatcher.run(stage.engine)


def rows(stage: Stage, name: str = "s") -> list[Mapping[str, Any]]:
    query = select(FlowRun.__table__).where(FlowRun.schedule_name == name).order_by(FlowRun.id)
    with stage.records.engine.connect() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def skipped(stage: Stage, name: str = "s") -> list[tuple[str, int, str | None]]:
    query = select(SkippedTick.reason, SkippedTick.ticks, SkippedTick.detail).where(
        SkippedTick.schedule_name == name
    )
    with stage.records.engine.connect() as connection:
        found = connection.execute(query.order_by(SkippedTick.first_at))
        return [(row[0], row[1], row[2]) for row in found]


def test_a_due_tick_becomes_one_run_with_its_inputs_and_options(stage: Stage) -> None:
    declared(
        stage,
        timezone="Asia/Kolkata",
        time_input="day",
        user_id="ann",
        metadata={"team": "x"},
        deadline=HOUR,
        budget=Budget(usd=2),
    )
    tick = make_due(stage)

    for _ in range(3):
        sweep(stage)

    (run,) = rows(stage)
    local = tick.astimezone(find(stage).spec.zone)
    key = f"schedule:s:{tick.isoformat().replace('+00:00', 'Z')}"
    assert ({"value": 7, "day": local.date().isoformat()}, key) == (
        run["inputs"],
        run["idempotency_key"],
    )
    metadata = {"team": "x", "schedule": "s", "scheduled_for": local.isoformat()}
    assert (metadata, "ann", 2) == (run["flow_metadata"], run["user_id"], run["budget_usd"])
    assert (HOUR, "completed") == (run["deadline"] - run["created_at"], run["status"])
    progress = find(stage).progress
    assert tick == progress.last_at
    assert progress.next_at is not None
    assert progress.next_at > tick


def test_workers_at_once_start_one_run_for_each_tick(stage: Stage) -> None:
    declared(stage, every=1, catch_up="all", overlap="allow", catch_up_limit=20)
    make_due(stage, timedelta(seconds=30))
    ready = Barrier(4)

    def work() -> None:
        ready.wait()
        start_due(stage.engine, "s")

    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(copy_context().run, work) for _ in range(4)]:
            future.result()
    start_due(stage.engine, "s")

    keys = [row["idempotency_key"] for row in rows(stage)]
    assert 30 <= len(keys) == len(set(keys))
    assert sorted(keys) == keys


@pytest.mark.parametrize("at", ["insert", "move"])
def test_a_crash_before_the_commit_leaves_the_tick_due(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    from flowq.adapters.records.runs.repo import FlowRunRepo
    from flowq.adapters.records.schedules import SqlSchedules

    declared(stage)
    make_due(stage)
    owner: Any = FlowRunRepo if at == "insert" else SqlSchedules
    whole = getattr(owner, at)

    def cut_off(*args: Any, **options: Any) -> Any:
        whole(*args, **options)
        raise DatabaseUnavailable("it is away")

    with monkeypatch.context() as patched:
        patched.setattr(owner, at, cut_off)
        with pytest.raises(DatabaseUnavailable):
            start_due(stage.engine, "s")
    assert [] == rows(stage)

    start_due(stage.engine, "s")

    assert 1 == len(rows(stage))


def test_a_lost_message_costs_time_and_no_tick(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    declared(stage)
    make_due(stage)

    def refuse(_due: Any) -> None:
        raise BrokerUnavailable("it is away")

    before = datetime.now(UTC)
    with monkeypatch.context() as patched:
        patched.setattr(stage.dispatcher, "send_schedules", refuse)
        sweep(stage)
    assert [] == rows(stage)
    wake_at = find(stage).wake_at
    assert wake_at is not None
    assert wake_at > before  # the sweeper asks again then

    with stage.records.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE flow_schedules SET wake_at = next_at")
    sweep(stage)

    assert 1 == len(rows(stage))


def test_a_schedule_is_left_to_a_worker_that_knows_its_flow(stage: Stage) -> None:
    declared(stage)
    make_due(stage)
    flows = {name: one for name, one in registry.flows.items() if name != job.type.name}
    stranger = replace(stage.engine, registry=replace(registry, flows=flows), worker="w1")

    start_due(stranger, "s")

    assert [] == rows(stage)
    assert f"worker w1 does not know the flow {job.type.name!r}" == find(stage).problem
    start_due(stage.engine, "s")
    assert (1, None) == (len(rows(stage)), find(stage).problem)


@pytest.mark.parametrize(
    "flow_, inputs, words",
    [
        (broken, {"value": 3}, "RuntimeError('no 3 today')"),
        (job, {"wrong": 1}, "wrong: unknown input"),
    ],
)
def test_a_run_that_cannot_be_made_is_recorded_and_the_next_tick_follows(
    stage: Stage, flow_: Any, inputs: dict[str, Any], words: str
) -> None:
    cron = far_away("UTC")
    spec = ScheduleSpec(name="s", flow_name=flow_.type.name, cron=cron, inputs=inputs)
    control.add(stage.engine, spec)
    tick = make_due(stage)

    sweep(stage)

    ((reason, count, detail),) = skipped(stage)
    assert ("refused", 1) == (reason, count)
    assert words in str(detail)
    assert tick == find(stage).progress.last_at
    assert [] == rows(stage)


def test_a_tick_beside_an_open_run_is_skipped_and_recorded(stage: Stage) -> None:
    declared(stage, flow_=waits)
    make_due(stage, HOUR)
    sweep(stage)
    make_due(stage)

    sweep(stage)

    assert ["running"] == [row["status"] for row in rows(stage)]
    assert [("overlap", 1, None)] == skipped(stage)


def test_a_tick_can_cancel_the_open_run(stage: Stage) -> None:
    declared(stage, flow_=waits, overlap="cancel_running")
    make_due(stage, HOUR)
    sweep(stage)
    make_due(stage)

    sweep(stage)
    sweep(stage)  # sends the program that cleans up

    first, second = rows(stage)
    assert ("cancelled", "running") == (first["status"], second["status"])
    assert "schedule 's' starts its run of" in first["error_message"]


def test_a_tick_whose_run_is_refused_cancels_nothing(stage: Stage) -> None:
    declared(stage, flow_=waits, overlap="cancel_running")
    make_due(stage, HOUR)
    sweep(stage)
    with stage.records.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE flow_schedules SET inputs = '{\"wrong\": 1}'")
    make_due(stage)

    sweep(stage)

    assert ["running"] == [row["status"] for row in rows(stage)]
    assert ["refused"] == [reason for reason, *_ in skipped(stage)]


def test_a_queued_tick_starts_when_the_open_run_has_ended(stage: Stage) -> None:
    declared(stage, flow_=waits, overlap="queue", catch_up="none")
    make_due(stage, timedelta(seconds=20))
    sweep(stage)
    tick = make_due(stage)
    sweep(stage)
    assert (1, []) == (len(rows(stage)), skipped(stage))

    from flowq.engine.runs.signals import send_signal

    send_signal(stage.engine, rows(stage)[0]["id"], "go")
    stage.dispatcher.run(stage.engine)
    start_due(stage.engine, "s")

    assert ["completed", "running"] == [row["status"] for row in rows(stage)]
    assert tick.isoformat() == rows(stage)[1]["flow_metadata"]["scheduled_for"]


def test_paused_schedules_start_nothing_but_what_is_requested(stage: Stage) -> None:
    declared(stage)
    make_due(stage)
    paused_at = control.pause(stage.engine, "s").progress.paused_at
    assert paused_at == control.pause(stage.engine, "s").progress.paused_at
    sweep(stage)
    assert [] == rows(stage)

    control.request_run(stage.engine, "s")
    control.request_run(stage.engine, "s")
    sweep(stage)

    (run,) = rows(stage)
    assert run["idempotency_key"].startswith("schedule:s:now:")
    resumed = control.resume(stage.engine, "s").progress
    assert resumed.next_at is not None
    assert resumed.next_at > datetime.now(UTC)
    sweep(stage)
    assert 1 == len(rows(stage))


def test_a_backfill_starts_past_ticks_once(stage: Stage) -> None:
    declared(stage, time_input="day", overlap="queue")
    first, last = datetime(2025, 3, 1, tzinfo=UTC), datetime(2025, 3, 4, tzinfo=UTC)

    for _ in range(2):
        control.backfill(stage.engine, "s", first, last)
        for _ in range(4):
            start_due(stage.engine, "s")
            stage.dispatcher.run(stage.engine)

    days = [row["inputs"]["day"] for row in rows(stage)]
    assert ["2025-03-01", "2025-03-02", "2025-03-03"] == days
    assert find(stage).progress.backfill_at is None


def test_backfills_are_bounded_and_one_at_a_time(stage: Stage) -> None:
    declared(stage)
    begin = datetime(2020, 1, 1, tzinfo=UTC)
    with pytest.raises(InvalidInput, match="more than 1,000 ticks"):
        control.backfill(stage.engine, "s", begin, datetime(2025, 1, 1, tzinfo=UTC))
    with pytest.raises(InvalidInput, match="no past tick"):
        control.backfill(stage.engine, "s", begin, begin + HOUR)
    control.backfill(stage.engine, "s", begin, begin + 48 * HOUR)
    with pytest.raises(InvalidInput, match="is running"):
        control.backfill(stage.engine, "s", begin, begin + 48 * HOUR)

    control.cancel_backfill(stage.engine, "s")

    sweep(stage)
    assert [] == rows(stage)


def test_a_worker_records_schedules_before_the_first_pause_of_its_sweeper(stage: Stage) -> None:
    schedule("s", job, cron=far_away("UTC"), inputs={"value": 7})
    sweeper = Sweeper(stage.engine, 1000 * HOUR)

    sweeper.start()
    try:
        records = stage.records
        wait_until(
            lambda: records.autocommit(lambda tx: tx.schedules.find("s")), what="it is recorded"
        )
    finally:
        sweeper.stop()


def test_a_declaration_is_recorded_once_and_changed_with_the_code(stage: Stage) -> None:
    declared(stage)
    control.pause(stage.engine, "s")
    before = find(stage)

    again = Stage.on(stage.records)  # a worker that starts later
    assert 0 == declare_all(again.engine)
    assert before == find(stage)

    registry.schedules.clear()
    spec = declared(Stage.on(stage.records), cron="0 3 * * *")
    after = find(stage)
    assert (spec, before.progress.paused_at) == (after.spec, after.progress.paused_at)
    assert before.progress.next_at != after.progress.next_at
    assert after.wake_at is None


def test_a_declaration_does_not_replace_a_schedule_that_was_added(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    spec = ScheduleSpec(name="s", flow_name="other", cron="0 1 * * *")
    control.add(stage.engine, spec)
    with pytest.raises(InvalidInput, match="there is a schedule 's'"):
        control.add(stage.engine, spec)

    declared(stage)

    assert spec == find(stage).spec
    assert "was added by a command" in caplog.text


def test_runs_stay_when_their_schedule_is_removed(stage: Stage) -> None:
    declared(stage)
    make_due(stage)
    sweep(stage)

    assert "s" == control.remove(stage.engine, "s").spec.name

    assert 1 == len(rows(stage))
    assert 0 == start_due(stage.engine, "s")
    with stage.records.engine.connect() as connection:
        assert 0 == connection.scalar(select(func.count()).select_from(FlowSchedule))


def test_a_run_that_continues_is_still_the_run_of_its_schedule(stage: Stage) -> None:
    @flow
    async def endless(value: int) -> Any:
        if value < 9:
            from flowq import continue_as_new

            continue_as_new(value=9)
        return await signal("go")

    declared(stage, flow_=endless)
    make_due(stage, HOUR)
    sweep(stage)
    make_due(stage)
    sweep(stage)

    assert [RunState.COMPLETED, RunState.RUNNING] == [row["status"] for row in rows(stage)]
    assert [("overlap", 1, None)] == skipped(stage)


@pytest.mark.parametrize(
    "change, words",
    [
        ("flow_schedules SET wake_at = NULL", "the sweeper never looks at it"),
        ("flow_schedules SET next_at = NULL", "schedule s: it has nothing to start"),
        ("flow_schedules SET backfill_until = next_at", "its backfill is at none"),
        ("flow_schedules SET last_at = next_at", "is not before"),
        ("flow_runs SET idempotency_key = 'x'", "it is a run of schedule s, and its key is x"),
    ],
)
def test_what_breaks_a_schedule_is_found(stage: Stage, change: str, words: str) -> None:
    declared(stage)
    make_due(stage)
    sweep(stage)
    before = stage.records.autocommit(
        lambda tx: tx.invariants.violations(grace=HOUR, max_recoveries=5)
    )
    assert [] == [one for one in before if one.invariant == "schedules"]
    where = "flow_runs WHERE schedule_name = 's'" if "flow_runs" in change else "flow_schedules"
    column = change.split(" ")[2]
    with stage.records.engine.begin() as connection:
        (was,) = connection.exec_driver_sql(f"SELECT {column} FROM {where}").one()
        scope = " WHERE schedule_name = 's'" if "flow_runs" in change else ""
        connection.exec_driver_sql(f"UPDATE {change}{scope}")

    found = stage.records.autocommit(
        lambda tx: tx.invariants.violations(grace=HOUR, max_recoveries=5)
    )

    own = [one for one in found if one.invariant == "schedules"]
    assert 1 == len(own)
    assert words in str(own[0])
    if "flow_runs" in change:
        with stage.records.engine.begin() as connection:
            run = FlowRun.__table__
            statement = run.update().where(run.c.schedule_name == "s")  # type: ignore[attr-defined]
            connection.execute(statement.values(idempotency_key=was))


def test_a_schedule_that_has_ended_is_not_looked_at(stage: Stage) -> None:
    declared(stage, ends_at=datetime.now(UTC) + timedelta(seconds=1))

    assert Progress(None) == find(stage).progress
    assert find(stage).wake_at is None
