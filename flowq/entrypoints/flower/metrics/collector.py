"""Prometheus series of flows, on Flower's own `/metrics`.

A scrape first updates the series in a thread, unless that was done a moment ago. Gauges come from
the rows at that time. Counters are those of this process, like everything on that page: they begin
at 0; only calls of models begin with all that are recorded. Each ended run is counted once, with
its steps. A run that was committed late is found too: each update looks back further than a
transaction can last, and skips the runs that were counted before.

Updates never take more than a fiftieth of the time: the longer an update takes, the longer is the
pause that follows. Without a database there is `flowq_up 0`, and the counters keep their values.

Flower serves that page without a login, so it has no secrets: names of flows, steps and models, no
ids, no users; values of metadata only for the keys in FLOWQ_COST_LABELS. The number of values of
each label is limited; later values are `other`.
"""

import asyncio
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from flower.views.monitor import Metrics
from prometheus_client import REGISTRY
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    SummaryMetricFamily,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from flowq import bootstrap
from flowq.core.errors import FlowqError
from flowq.core.ids import RunId
from flowq.engine.engine import Engine
from flowq.engine.model.model_calls import CostBy, CostGroup, CostLine
from flowq.engine.ports import Transaction
from flowq.engine.queries.metrics import BUCKETS, MetricsSnapshot
from flowq.entrypoints.flower.metrics.counts import (
    Calls,
    Counts,
    Labels,
    sum_calls,
    sum_labels,
)
from flowq.settings.models import cost_label_keys

logger = logging.getLogger(__name__)

#: Minimum seconds between two updates; and the pause as a multiple of the length of an update.
_PAUSE, _REST = 5.0, 50.0
#: Longer than a transaction lasts (twice FLOWQ_DATABASE_TIMEOUT_SECONDS).
_LATE: Final = timedelta(minutes=5)
#: Longer than a call of a model lasts. Calls that began before are summed once.
_LONG: Final = timedelta(hours=1)
#: Seconds that a scrape waits for an update.
_PATIENCE: Final = 5.0


class FlowMetrics(Collector):
    """All series of flowq.

    Args:
        ask: Returns the engine of this process.
    """

    def __init__(self, ask: Callable[[], Engine]) -> None:
        self._ask = ask
        self._looking = threading.Lock()
        self._shown = threading.Lock()
        self._up = False
        self._standing: MetricsSnapshot | None = None
        self._queue_age = 0.0
        self._counts = Counts()
        self._next = self._next_ended = 0.0
        self._begun: datetime | None = None
        self._looked: datetime | None = None
        self._counted: dict[RunId, datetime] = {}
        self._before: Calls = {}
        self._summed_until: datetime | None = None
        self._calls: Calls = {}
        self._labels_before: Labels = {}
        self._labels: Labels = {}

    # --- bringing up to date, in a thread ---------------------------------------------------------

    def look(self) -> None:
        """Update the series, unless that was done a moment ago or is being done."""
        if time.monotonic() < self._next or not self._looking.acquire(blocking=False):
            return
        rest = _PAUSE
        try:
            rest = self._look(self._ask())
            self._up = True
        except FlowqError as error:
            self._down()
            logger.warning("metrics are not updated: %s", error)
        except Exception:
            self._down()
            logger.exception("metrics are not updated")
        finally:
            self._next = time.monotonic() + rest
            self._looking.release()

    def overdue(self) -> None:
        """Record that the database does not answer in time."""
        if self._looking.locked():
            self._down()

    def _down(self) -> None:
        with self._shown:
            self._up, self._standing = False, None

    def _look(self, engine: Engine) -> float:
        """Update, and return how long to pause before the next update."""
        records, policies = engine.records, engine.policies
        began = time.monotonic()
        standing = records.autocommit(lambda tx: tx.overview.snapshot())
        # This process may send nothing and so have no pause; workers use the setting.
        pause = policies.resend_after or bootstrap.settings().resend_after
        age = standing.queue_age(pause, policies.max_resend_after)
        with self._shown:
            self._standing, self._queue_age = standing, age.total_seconds()
        looked = time.monotonic()
        if looked >= self._next_ended:
            self._look_back(engine, standing.at)
            self._next_ended = time.monotonic() + _rest(time.monotonic() - looked)
        return _rest(looked - began)

    def _look_back(self, engine: Engine, now: datetime) -> None:
        """Count the runs that have ended since the last update and were not counted."""
        records, looked = engine.records, self._looked
        if looked is None:  # runs that ended before the first update are not counted
            self._begun = looked = now
        since = max(self._begun or now, looked - _LATE)
        ended = records.autocommit(lambda tx: tx.overview.ended_runs(since))
        new = [run for run in ended if run.id not in self._counted]
        steps = records.autocommit(lambda tx: tx.overview.step_sums([run.id for run in new]))
        self._look_at_calls(engine, now)
        with self._shown:
            self._counts.add_runs(new)
            self._counts.add_steps(steps)
        self._looked = now
        self._counted |= {run.id: run.completed_at for run in new}
        self._counted = {one: at for one, at in self._counted.items() if at > now - 2 * _LATE}

    def _look_at_calls(self, engine: Engine, now: datetime) -> None:
        border = self._summed_until
        if border is None or border < now - 2 * _LONG:
            until = now - _LONG
            calls, labels = self._sums(engine, border, until)
            self._before = sum_calls(self._before, calls)
            self._labels_before = sum_labels(self._labels_before, labels)
            self._summed_until = until
        calls, labels = self._sums(engine, self._summed_until or now, None)
        with self._shown:
            self._calls = sum_calls(self._before, calls)
            self._labels = sum_labels(self._labels_before, labels)

    def _sums(
        self, engine: Engine, since: datetime | None, until: datetime | None
    ) -> tuple[Calls, Labels]:
        records, labels = engine.records, Labels()
        found = records.autocommit(lambda tx: tx.overview.call_sums(since, until))
        for key in cost_label_keys(bootstrap.settings().cost_labels):
            group = CostGroup(CostBy.METADATA, key)
            costs = partial(_costs, group=group, since=since, until=until)
            labels |= self._counts.labelled(key, records.autocommit(costs))
        return self._counts.named(found), labels

    # --- showing ----------------------------------------------------------------------------------

    def describe(self) -> list[Metric]:
        """Describe no series, so that registration does not collect them."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield all series."""
        with self._shown:
            families = [*self._gauges(), *self._counters(), *self._call_counters()]
        yield from families

    def _gauges(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("flowq_up", "Whether flowq's database answers.")
        up.add_metric([], float(self._up))
        yield up
        if self._standing is None:
            return
        runs = GaugeMetricFamily(
            "flowq_runs", "Runs that are not finished.", labels=["flow", "state"]
        )
        sums: dict[tuple[str, ...], int] = defaultdict(int)
        for (flow, state), number in self._standing.runs.items():
            sums[*self._counts.flows(flow), state] += number
        for names, number in sums.items():
            runs.add_metric(names, number)
        yield runs
        queued = GaugeMetricFamily("flowq_queued_steps", "Steps that wait for a worker.")
        queued.add_metric([], sum(number for number, _ in self._standing.queued.values()))
        yield queued
        age = GaugeMetricFamily(
            "flowq_queue_age_seconds", "How long the oldest waiting step has waited, in seconds."
        )
        age.add_metric([], self._queue_age)
        yield age
        due = GaugeMetricFamily(
            "flowq_sweeper_due", "Rows that the sweeper has to handle.", labels=["what"]
        )
        for what, number in self._standing.due.items():
            due.add_metric([what], number)
        yield due

    def _counters(self) -> Iterator[Metric]:
        counts = self._counts
        yield _counter("flowq_runs_ended", "Finished runs.", ["flow", "state"], counts.runs)
        summary = SummaryMetricFamily(
            "flowq_run_seconds", "Time from the start of runs to their end.", labels=["flow"]
        )
        for names, times in counts.run_seconds.items():
            summary.add_metric(names, times.count, times.seconds)
        yield summary
        by_step = ["flow", "step"]
        yield _counter(
            "flowq_steps_ended", "Steps of finished runs.", [*by_step, "state"], counts.steps
        )
        seconds = HistogramMetricFamily(
            "flowq_step_seconds", "Last attempts of steps of finished runs.", labels=by_step
        )
        for names, times in counts.step_seconds.items():
            tops = [str(top) for top in BUCKETS]
            buckets = [*zip(tops, times.within, strict=True), ("+Inf", times.count)]
            seconds.add_metric(names, buckets, times.seconds)
        yield seconds
        yield _counter(
            "flowq_step_retries", "Attempts that follow a failed one.", by_step, counts.retries
        )
        swept = {(action,): number for action, number in counts.sweeper.items()}
        yield _counter("flowq_sweeper_actions", "Of steps of finished runs.", ["action"], swept)

    def _call_counters(self) -> Iterator[Metric]:
        tokens: dict[tuple[str, ...], float] = defaultdict(float)
        calls: dict[tuple[str, ...], float] = defaultdict(float)
        for (_, model), (number, failed, *kinds, _) in self._calls.items():
            calls[model, "failed"] += failed
            calls[model, "ok"] += number - failed
            for kind, value in zip(("input", "output", "cached"), kinds, strict=True):
                tokens[model, kind] += value
        costs = {names: sums[-1] for names, sums in self._calls.items()}
        yield _counter("flowq_model_calls", "Calls of models.", ["model", "outcome"], calls)
        yield _counter(
            "flowq_tokens", "Tokens; those cached are among the input.", ["model", "kind"], tokens
        )
        yield _counter("flowq_cost_usd", "Cost of calls of models.", ["flow", "model"], costs)
        by_label = ["key", "value", "model"]
        yield _counter("flowq_label_cost_usd", "The same, by metadata.", by_label, self._labels)


class MetricsPage(Metrics):  # type: ignore[misc]  # Flower has no types
    """Flower's `/metrics`, with updated series of flowq."""

    async def get(self) -> None:
        """Send all series of this process; if the update is slow, with older values."""
        metrics = registered()
        loop, executor = self.application.io_loop, self.application.executor
        looked = loop.run_in_executor(executor, metrics.look)
        await asyncio.wait([looked], timeout=_PATIENCE)
        metrics.overdue()
        await super().get()


_registered: list[FlowMetrics] = []


def registered() -> FlowMetrics:
    """Return the metrics of this process; register them if necessary."""
    if not _registered:
        _registered.append(FlowMetrics(bootstrap.engine))
        REGISTRY.register(_registered[0])
    return _registered[0]


def _costs(
    tx: Transaction, group: CostGroup, since: datetime | None, until: datetime | None
) -> list[CostLine]:
    return tx.llm_requests.costs(group, CostBy.MODEL, since=since, until=until)


def _rest(took: float) -> float:
    return max(_PAUSE, _REST * took)


def _counter(name: str, text: str, labels: list[str], values: Any) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=labels)
    for names, value in values.items():
        family.add_metric(names, value)
    return family
