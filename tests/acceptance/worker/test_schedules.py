"""A schedule whose workers are killed: each of its ticks has one run."""

import os
import signal
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from flowq.core.schedules.spec import CatchUp, Overlap, ScheduleSpec, checked
from flowq.engine.schedules import control
from tests.acceptance.apps import worker_flows as flows
from tests.tools.cluster import Cluster
from tests.tools.waiting import wait_until

SECOND = timedelta(seconds=1)


def test_each_tick_has_one_run_although_workers_are_killed(cluster: Cluster) -> None:
    spec = ScheduleSpec(
        name="often",
        flow_name=flows.fan.type.name,
        every=SECOND,
        inputs={"count": 1},
        catch_up=CatchUp.ALL,
        overlap=Overlap.ALLOW,
    )
    begin = control.add(cluster.engine, checked(spec)).progress.next_at
    assert begin is not None

    def runs() -> list[Any]:
        return cluster.records.autocommit(
            lambda tx: tx.overview.runs_of_schedule("often", limit=1_000)
        )

    def has_more_than(count: int) -> bool:
        return len(runs()) > count

    for killed in range(3):
        options = ("--pool=prefork", "--concurrency=1")
        known = len(runs())
        with cluster.worker(*options, name=f"worker{killed}", stop=signal.SIGKILL) as worker:
            wait_until(partial(has_more_than, known + 1), what="ticks start runs")
            os.killpg(worker.pid, signal.SIGKILL)
            worker.wait(60)
    last = control.pause(cluster.engine, "often").progress.last_at

    assert last is not None
    ticks = sorted(datetime.fromisoformat(run.scheduled_for) for run in runs())
    assert ticks == [begin + place * SECOND for place in range(len(ticks))]
    assert ticks[-1] == last
    skipped = cluster.records.autocommit(lambda tx: tx.overview.skipped_ticks("often"))
    assert skipped == []
