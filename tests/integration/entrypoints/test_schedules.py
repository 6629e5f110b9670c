"""`flowq schedules` on a real database."""

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from flowq import bootstrap
from flowq.adapters.records.database import SqlRecords
from flowq.entrypoints.cli.app import environment, recorded
from flowq.entrypoints.cli.main import main
from tests.tools.playing import Stage

FLOWS = """\
from flowq import flow, step


@step
def load(day: str, region: str) -> str:
    return f"{day} {region}"


@flow
def report(day: str, region: str = "eu") -> str:
    return load(day, region)
"""


@pytest.fixture
def stage(sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    stage = Stage.on(SqlRecords(sqlite_url))
    monkeypatch.setattr(recorded, "engine", lambda: stage.engine)
    monkeypatch.setattr(bootstrap, "engine", lambda: stage.engine)
    monkeypatch.setattr(environment, "settings", lambda: None)
    (tmp_path / "reports.py").write_text(FLOWS)
    monkeypatch.chdir(tmp_path)
    yield stage
    sys.modules.pop("reports", None)


def flowq(*words: str) -> Result:
    return CliRunner().invoke(main, ["schedules", *words])


def read(*words: str) -> Any:
    done = flowq(*words, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def add(name: str = "nightly", *words: str) -> Result:
    rules = ("--cron", "0 2 * * *", "--timezone", "Europe/Berlin", "--time-input", "day")
    return flowq("add", name, "reports.py:report", *rules, *words)


def play(stage: Stage) -> None:
    stage.sweep()
    stage.dispatcher.run(stage.engine)


@pytest.mark.usefixtures("stage")
def test_what_was_added_is_listed_and_shown() -> None:
    assert flowq("ls").stderr.startswith("No schedules.")

    words = ("-p", "region=us", "--user", "ann", "--jitter", "90", "--end", "2099-01-01")
    done = add("nightly", *words)

    assert (0, "") == (done.exit_code, done.stdout)
    assert "Schedule 'nightly' is added. Its next tick is 20" in done.stderr
    (listed,) = read("ls")
    shown = read("show", "nightly")
    assert listed == {name: shown[name] for name in listed}
    wanted = {
        "flow_name": "reports.report",
        "cron": "0 2 * * *",
        "inputs": {"region": "us"},
        "options": {"user_id": "ann"},
        "jitter_seconds": 90.0,
        "ends_at": "2098-12-31T23:00:00Z",
        "state": "active",
        "declared_in": None,
    }
    assert wanted == {name: shown[name] for name in wanted}
    assert "0 2 * * * (Europe/Berlin)" in flowq("ls").stdout


@pytest.mark.parametrize(
    "words, said",
    [
        (("--cron", "0 2 * * *", "-p", "region=eu"), "day: expected str, got nothing"),
        (("--cron", "61 2 * * *", "-p", "day=x"), "bad minute"),
        (("-p", "day=x"), "neither cron nor every"),
        (("--every", "60", "--timezone", "Mars/Base", "-p", "day=x"), "'Mars/Base', which is not"),
        (("--every", "0.5", "-p", "day=x"), "0.5 is not in the range"),
        (("--every", "60", "--time-input", "when", "-p", "day=x"), "when"),
    ],
)
@pytest.mark.usefixtures("stage")
def test_what_cannot_work_is_refused_and_nothing_recorded(
    words: tuple[str, ...], said: str
) -> None:
    done = flowq("add", "s", "reports.py:report", *words)

    assert 2 == done.exit_code
    assert said in done.stderr
    assert [] == read("ls")


@pytest.mark.usefixtures("stage")
def test_names_that_are_taken_or_unknown_are_said() -> None:
    add()
    assert (2, True) == ((again := add()).exit_code, "there is a schedule" in again.stderr)
    for words in (["show"], ["pause"], ["resume"], ["run"], ["next"], ["rm", "--yes"]):
        done = flowq(*words, "other")
        assert (2, True) == (done.exit_code, "there is no schedule 'other'" in done.stderr)
    both = flowq("pause", "nightly", "other")
    assert (2, None) == (both.exit_code, read("show", "nightly")["paused_at"])


@pytest.mark.usefixtures("stage")
def test_next_prints_ticks_in_the_time_zone() -> None:
    add("nightly", "--start", "2099-01-01")  # of a year from now, two days may have 23 hours

    lines = flowq("next", "nightly", "--count", "400").stdout.splitlines()

    assert 400 == len(lines)
    assert {"02:00:00", "03:00:00"} == {line[11:19] for line in lines}
    assert 1 == sum("03:00:00+02:00" in line for line in lines)  # the day with 23 hours


def test_pause_resume_run_and_rm(stage: Stage) -> None:
    add()
    paused = read("pause", "nightly")
    assert paused[0]["paused_at"] is not None
    assert "none of them starts a run" in flowq("next", "nightly").stderr

    assert read("run", "nightly")[0]["requested_at"] is not None
    play(stage)

    shown = read("show", "nightly")
    assert ("paused", ["completed"]) == (shown["state"], [run["status"] for run in shown["runs"]])
    assert None is read("resume", "nightly")[0]["paused_at"]
    assert "completed" in flowq("ls").stdout
    assert "--yes confirms it" in flowq("rm", "nightly").output
    assert 0 == flowq("rm", "nightly", "--yes").exit_code
    assert [] == read("ls")


def test_a_backfill_is_confirmed_with_its_number_and_starts_each_tick_once(stage: Stage) -> None:
    add("nightly", "--overlap", "allow")
    span = ("--from", "2026-03-28", "--to", "2026-03-31")
    asked = flowq("backfill", "nightly", *span)
    assert 2 == asked.exit_code
    assert "Start up to 3 runs of reports.report: 2026-03-28 02:00+01:00 to" in asked.output

    for _ in range(2):
        assert 0 == flowq("backfill", "nightly", *span, "--yes").exit_code
        play(stage)

    times = [run["scheduled_for"] for run in read("show", "nightly")["runs"]]
    days = ["2026-03-30T02:00:00+02:00", "2026-03-29T03:00:00+02:00", "2026-03-28T02:00:00+01:00"]
    assert days == times
    assert 2 == flowq("backfill", "nightly").exit_code
    future = (datetime.now(UTC) + timedelta(days=9)).strftime("%Y-%m-%d")
    assert "no past tick" in flowq("backfill", "nightly", "--from", future).stderr
    assert 0 == flowq("backfill", "nightly", "--cancel").exit_code


def test_ticks_that_nobody_starts_are_shown_with_the_reason(stage: Stage) -> None:
    add()
    with stage.records.engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE flow_schedules SET next_at = '2026-01-01 01:00:00.000000', "
            "wake_at = '2026-01-01 01:00:00.000000'"
        )

    (listed,) = read("ls")

    reason = "no worker has taken it: none knows the flow 'reports.report', or all are busy"
    assert ("overdue", reason) == (listed["state"], listed["why"])
    assert reason in " ".join(flowq("show", "nightly").stdout.split())  # lines are broken
    play(stage)
    assert "active" == read("show", "nightly")["state"]
    assert "missed" in flowq("show", "nightly").stdout
