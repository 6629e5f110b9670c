"""What the live list and the metrics read: on SQLite and on PostgreSQL."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import uuid_utils.compat as uuids
from prometheus_client import CollectorRegistry, generate_latest
from sqlalchemy import insert, update

from flowq.adapters.records.database import SqlRecords
from flowq.adapters.records.sql.tables import FlowRun, FlowStepRun, LlmRequest
from flowq.adapters.records.sql.types import DbNow
from flowq.core.errors import DatabaseUnavailable
from flowq.core.ids import (
    RunId,
    batch_of_items,
    batch_of_nodes,
    item_id,
    node_id,
)
from flowq.core.spec import FlowSpec, StepSpec
from flowq.core.states import RunState
from flowq.core.usage import Usage
from flowq.engine.engine import Policies
from flowq.engine.model.rows import NewRun, NewStep
from flowq.entrypoints.flower.metrics import collector as module
from flowq.entrypoints.flower.metrics.collector import FlowMetrics
from flowq.settings import Settings

LATER = timedelta(seconds=60)


@pytest.fixture
def records(database_url: str) -> Iterator[SqlRecords]:
    records = SqlRecords(database_url)
    yield records
    records.close()


def make(records: SqlRecords, *keys: str, name: str = "flow", **row: Any) -> RunId:
    """Insert a run whose steps are queued; `row` is written into its row after that."""
    run_id = row.pop("id", None) or RunId(uuids.uuid7())
    keys = keys or ("a",)
    batch = batch_of_nodes(run_id, node_id(run_id, keys[0]))
    steps = tuple(
        NewStep(node_id(run_id, key), key, f"steps.{key}", number, 0, {}, batch)
        for number, key in enumerate(keys)
    )
    spec = FlowSpec(name=name, steps=tuple(StepSpec(key=s.key, name=s.name) for s in steps))
    run = NewRun(run_id, name, spec, {}, steps)
    assert records.transaction(lambda tx: tx.runs.insert([run], LATER))
    if row:
        change = update(FlowRun).where(FlowRun.id == run_id).values(**row)
        records.transaction(lambda tx: tx.within.execute(change))
    return run_id


def step(records: SqlRecords, run_id: RunId, key: str = "a", **values: Any) -> None:
    change = update(FlowStepRun).where(FlowStepRun.id == node_id(run_id, key)).values(**values)
    records.transaction(lambda tx: tx.within.execute(change))


def end(records: SqlRecords, run_id: RunId, state: RunState = RunState.COMPLETED) -> None:
    assert records.autocommit(lambda tx: tx.runs.close(run_id, state))


def call(records: SqlRecords, **values: Any) -> None:
    known = {"id": uuids.uuid7(), "provider": "openai", "model": "m", "status": "completed"}
    known |= {"created_at": datetime.now(UTC), "flow_name": "flow", "input_tokens": 10}
    known |= {"output_tokens": 5, "cached_tokens": 2, "cost": Decimal("0.5")}
    records.transaction(
        lambda tx: tx.within.execute(insert(LlmRequest).values(**{**known, **values}))
    )


# --- how runs stand now --------------------------------------------------------------------------


def test_states_of_runs_that_are_asked_for(records: SqlRecords) -> None:
    one, other, ended = make(records, "a", "b"), make(records), make(records)
    end(records, ended)

    found = records.autocommit(lambda tx: tx.overview.states([one, ended, RunId(uuids.uuid7())]))

    assert {one: (RunState.RUNNING, 2), ended: (RunState.COMPLETED, 1)} == found
    assert other not in found


def test_progress_counts_items_and_not_their_map(records: SqlRecords) -> None:
    run_id = make(records, "a", "b")
    node = node_id(run_id, "a")
    items = [NewStep(item_id(node, i), "a", "steps.a", 1, 0, {}) for i in range(3)]
    step(records, run_id, "a", status="pending", batch_id=None)
    assert records.transaction(
        lambda tx: tx.steps.expand(run_id, "a", items, batch_of_items(node), LATER)
    )
    done = update(FlowStepRun).where(FlowStepRun.id == item_id(node, 0))
    done = done.values(status="completed", tokens_used=7, cost_estimate=Decimal("0.000000001"))
    records.transaction(lambda tx: tx.within.execute(done))
    other = make(records)

    found = records.autocommit(lambda tx: tx.overview.progress([run_id, other]))
    used = Usage(7, Decimal("0.000000001"))
    assert {run_id: (1, 4, used), other: (0, 1, Usage())} == found


# --- sums ----------------------------------------------------------------------------------------


def test_standing_has_what_is_open_and_what_is_due(records: SqlRecords) -> None:
    first = make(records, "a", "b", "c", name="one")
    make(records, name="one", status="paused")
    end(records, make(records, name="two"))
    step(records, first, "a", status="running", lease_expires_at=DbNow(-5))
    step(records, first, "b", status="retrying", wake_at=DbNow(-5))

    before = datetime.now(UTC)
    found = records.autocommit(lambda tx: tx.overview.snapshot())

    assert {("one", RunState.RUNNING): 1, ("one", RunState.PAUSED): 1} == found.runs
    assert {"lease": 1, "retry": 1, "timer": 0} == found.due
    # SQLite counts milliseconds.
    assert before - timedelta(seconds=1) <= found.at <= datetime.now(UTC) + timedelta(seconds=1)


@pytest.mark.parametrize("resends", [0, 1, 3])
def test_queue_age_follows_from_the_next_resend(records: SqlRecords, resends: int) -> None:
    run_id = make(records)
    first, longest = timedelta(seconds=10), timedelta(seconds=30)
    pauses = [10, 20, 30, 30][: resends + 1]
    began = time.monotonic()
    step(records, run_id, resends=resends, wake_at=DbNow(sum(pauses) - 100))

    found = records.autocommit(lambda tx: tx.overview.snapshot())

    took = time.monotonic() - began
    assert 1 == found.queued[resends][0]
    assert -1 < found.queue_age(first, longest).total_seconds() - 100 < took + 1


def test_steps_of_ended_runs_are_summed_by_flow_and_name(records: SqlRecords) -> None:
    runs = [make(records, "a", "b", name=name) for name in ("one", "one", "two")]
    for number, run_id in enumerate(runs):
        step(records, run_id, "a", status="completed", execution_time_ms=700 * (number + 1))
        step(records, run_id, "b", status="failed", execution_time_ms=50, attempt=3)
        step(records, run_id, "b", recoveries=1, resends=2)

    found = records.autocommit(lambda tx: tx.overview.step_sums(runs))

    sums = {(one.flow_name, one.step_name): one for one in found}
    assert {("one", "steps.a"), ("one", "steps.b"), ("two", "steps.a"), ("two", "steps.b")} == {
        *sums
    }
    a, b = sums["one", "steps.a"], sums["one", "steps.b"]
    assert (2, 2100, [0, 0, 1, 2]) == (a.timed, a.ms, list(a.within[:4]))
    assert 2 == a.states["completed"]
    assert (2, 4, 2, 4) == (b.states["failed"], b.retries, b.recoveries, b.resends)


def test_calls_are_summed_by_flow_and_model_within_a_time(records: SqlRecords) -> None:
    now = datetime.now(UTC)
    call(records, created_at=now - timedelta(days=1))
    call(records)
    call(records, status="failed", cost=None, input_tokens=0, output_tokens=0, cached_tokens=0)
    call(records, status="started")
    call(records, flow_name=None, model="other")

    border = now - timedelta(hours=1)
    (old,) = records.autocommit(lambda tx: tx.overview.call_sums(None, border))
    new = records.autocommit(lambda tx: tx.overview.call_sums(border, None))

    assert ("flow", "openai:m", 1, 0) == (old.flow_name, old.model, old.calls, old.failed)
    assert {("flow", "openai:m", 2, 1), ("", "openai:other", 1, 0)} == {
        (one.flow_name, one.model, one.calls, one.failed) for one in new
    }
    (mine,) = [one for one in new if one.flow_name]
    assert (10, 5, 2, Decimal("0.5")) == (
        *(mine.tokens.input, mine.tokens.output, mine.tokens.cached),
        mine.cost,
    )


# --- the series ----------------------------------------------------------------------------------


@dataclass
class Scraped:
    """Metrics on a registry of their own."""

    engine: Any
    records: SqlRecords

    def __post_init__(self) -> None:
        self.metrics = FlowMetrics(lambda: self)  # type: ignore[arg-type,return-value]
        self.policies = Policies()
        self.registry = CollectorRegistry()
        self.registry.register(self.metrics)

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)

    def look(self) -> None:
        self.metrics.look()


@pytest.fixture
def scraped(records: SqlRecords, monkeypatch: pytest.MonkeyPatch) -> Scraped:
    monkeypatch.setattr(module, "_PAUSE", 0.0)
    monkeypatch.setattr(module, "_REST", 0.0)
    return Scraped(None, records)


def test_each_run_is_counted_once_also_one_that_is_committed_late(
    records: SqlRecords, scraped: Scraped
) -> None:
    end(records, make(records))  # before anyone looked
    late = make(records, name="late")
    scraped.look()
    assert 1 == scraped.value("flowq_up")
    assert 1 == scraped.value("flowq_runs", flow="late", state="running")
    assert scraped.value("flowq_runs_ended_total", flow="flow", state="completed") is None

    run_id = make(records)
    step(records, run_id, status="completed", execution_time_ms=700, resends=2)
    end(records, run_id)
    end(records, make(records), RunState.FAILED)
    for _ in range(3):
        scraped.look()
        assert 1 == scraped.value("flowq_runs_ended_total", flow="flow", state="completed")
        assert 1 == scraped.value("flowq_runs_ended_total", flow="flow", state="failed")
        assert 0.7 == scraped.value("flowq_step_seconds_sum", flow="flow", step="steps.a")
        bucket = {"flow": "flow", "step": "steps.a", "le": "1.0"}
        assert 1 == scraped.value("flowq_step_seconds_bucket", **bucket)
        assert 2 == scraped.value("flowq_sweeper_actions_total", action="resent")

    # It ended before the others were counted; its transaction was slow.
    closed = update(FlowRun).where(FlowRun.id == late)
    closed = closed.values(status="completed", completed_at=datetime.now(UTC))
    records.transaction(lambda tx: tx.within.execute(closed))
    scraped.look()
    assert 1 == scraped.value("flowq_runs_ended_total", flow="late", state="completed")
    assert scraped.value("flowq_runs", flow="late", state="running") is None


def test_calls_are_all_counted_however_old(records: SqlRecords, scraped: Scraped) -> None:
    call(records, created_at=datetime.now(UTC) - timedelta(days=1))
    scraped.look()
    call(records)
    for _ in range(2):
        scraped.look()
        assert 1.0 == scraped.value("flowq_cost_usd_total", flow="flow", model="openai:m")
        assert 20 == scraped.value("flowq_tokens_total", model="openai:m", kind="input")
        assert 2 == scraped.value("flowq_model_calls_total", model="openai:m", outcome="ok")


def test_cost_has_series_by_the_metadata_that_a_setting_names(
    records: SqlRecords, scraped: Scraped, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(cost_labels="customer, team")
    monkeypatch.setattr("flowq.bootstrap.settings", lambda: settings)
    day_ago = datetime.now(UTC) - timedelta(days=1)
    call(records, labels={"customer": "acme", "secret": "x"}, created_at=day_ago)
    call(records, labels={"customer": "acme", "team": "a"})
    call(records, labels={"customer": "umbrella"}, cost=None)
    call(records)

    for _ in range(2):
        scraped.look()
        lines = [
            line
            for line in generate_latest(scraped.registry).decode().splitlines()
            if line.startswith("flowq_label_cost_usd_total{")
        ]
        assert sorted(lines) == [
            'flowq_label_cost_usd_total{key="customer",model="openai:m",value="acme"} 1.0',
            'flowq_label_cost_usd_total{key="customer",model="openai:m",value="umbrella"} 0.0',
            'flowq_label_cost_usd_total{key="team",model="openai:m",value="a"} 0.5',
        ]
    for number in range(120):
        call(records, labels={"customer": f"c{number}"})
    scraped.look()
    other = {"key": "customer", "value": "other", "model": "openai:m"}
    assert scraped.value("flowq_label_cost_usd_total", **other) == 11.0


def test_names_are_bounded(records: SqlRecords, scraped: Scraped) -> None:
    scraped.look()
    for number in range(60):
        end(records, make(records, name=f"flow{number}"))
    scraped.look()

    text = generate_latest(scraped.registry).decode()
    lines = [line for line in text.splitlines() if line.startswith("flowq_runs_ended_total{")]
    assert 51 == len(lines)
    assert 10 == scraped.value("flowq_runs_ended_total", flow="other", state="completed")


def test_scrape_continues_without_a_database(records: SqlRecords, scraped: Scraped) -> None:
    scraped.look()
    end(records, make(records))
    scraped.look()
    scraped.records = NoRecords()  # type: ignore[assignment]

    scraped.look()

    assert 0 == scraped.value("flowq_up")
    assert 1 == scraped.value("flowq_runs_ended_total", flow="flow", state="completed")
    assert scraped.value("flowq_queue_age_seconds") is None
    scraped.records = records
    scraped.look()
    assert 1 == scraped.value("flowq_up")
    assert scraped.value("flowq_queue_age_seconds") is not None


class NoRecords:
    def autocommit(self, _work: object) -> None:
        raise DatabaseUnavailable("it is away")
