"""A worker that has to stop: nothing is lost, nothing is counted, and it does end."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest

from flowq.authoring.definitions.flows import Flow
from flowq.core.ids import RunId
from flowq.core.states import StepState
from tests.acceptance.apps import worker_flows as flows
from tests.tools.cluster import Cluster
from tests.tools.waiting import wait_until

POOLS = {
    "prefork": ("--pool=prefork", "--concurrency=1"),
    "threads": ("--pool=threads", "--concurrency=4"),
    "solo": ("--pool=solo",),
}
each_pool = pytest.mark.parametrize("pool", POOLS)
#: Nothing but the messages may bring a step back within a test.
PATIENT = {f"FLOWQ_{name}_SECONDS": "600" for name in ("LEASE", "RESEND", "SWEEP")}
SHORT = {**PATIENT, "FLOWQ_STOP_GRACE_SECONDS": "0.5"}
LONG = {**PATIENT, "FLOWQ_STOP_GRACE_SECONDS": "600"}


def held(place: Path) -> Callable[[], list[Path]]:
    return lambda: list(place.glob("holding-*"))


def begin(cluster: Cluster, flow: Flow[..., Any], place: Path) -> RunId:
    """Submit a run and wait until its first step runs."""
    run_id = cluster.submit(flow, folder=str(place))
    wait_until(held(place), what="the step runs", timeout=60)
    return run_id


def end(worker: Popen[bytes], how: signal.Signals = signal.SIGTERM) -> float:
    """Signal a worker; return how long it took to end."""
    began = time.monotonic()
    worker.send_signal(how)
    assert worker.wait(60) == 0
    return time.monotonic() - began


@each_pool
def test_running_step_may_end_within_the_grace_period(
    cluster: Cluster, tmp_path: Path, pool: str
) -> None:
    with cluster.worker(*POOLS[pool], environment=LONG) as worker:
        run_id = begin(cluster, flows.holding, tmp_path)
        worker.send_signal(signal.SIGTERM)
        (tmp_path / "go").touch()
        assert worker.wait(60) == 0

    hold = cluster.step(run_id, "hold")
    assert (hold.status, hold.attempts, hold.recoveries) == (StepState.COMPLETED, 1, 0)
    with cluster.worker(*POOLS[pool], name="next", environment=LONG):
        assert cluster.result(run_id, timeout=60) > 0
    assert len(held(tmp_path)()) == 1


@each_pool
@pytest.mark.parametrize(
    "flow, key",
    [
        (flows.holding, "hold"),
        (flows.holding_async, "hold_async"),
        (flows.holding_on, "hold_on"),
    ],
    ids=["sync", "async", "deaf"],
)
def test_step_that_outlasts_the_grace_period_is_given_back_uncounted(
    cluster: Cluster, tmp_path: Path, pool: str, flow: Flow[..., Any], key: str
) -> None:
    with cluster.worker(*POOLS[pool], environment=SHORT) as worker:
        run_id = begin(cluster, flow, tmp_path)
        took = end(worker)

    step = cluster.step(run_id, key)
    assert (step.status, step.attempts, step.recoveries) == (StepState.QUEUED, 0, 0)
    assert 0.5 <= took < 60, cluster.logs()
    if key == "hold_async":
        assert (tmp_path / "cancelled").exists()
    (tmp_path / "go").touch()
    with cluster.worker(*POOLS[pool], name="next", environment=LONG):
        assert cluster.result(run_id, timeout=60) > 0
    step = cluster.step(run_id, key)
    assert (step.attempts, step.recoveries) == (1, 0)


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_steps_that_have_not_begun_are_requeued_at_once(
    cluster: Cluster, tmp_path: Path, pool: str
) -> None:
    options = (*POOLS[pool][:1], "--concurrency=1", "--prefetch-multiplier=8")
    with cluster.worker(*options, environment=LONG) as worker:
        run_id = begin(cluster, flows.holding, tmp_path)
        others = cluster.submit(flows.wide, count=7)
        wait_until(lambda: cluster.redis.llen("celery") == 0, what="all are fetched")

        worker.send_signal(signal.SIGTERM)

        wait_until(lambda: cluster.redis.llen("celery") >= 7, what="all are back")
        assert worker.poll() is None
        with cluster.worker("--pool=threads", name="next", environment=LONG):
            assert cluster.result(others, timeout=60) == [2 * i for i in range(7)]
            assert worker.poll() is None
            (tmp_path / "go").touch()
            assert worker.wait(60) == 0
            assert cluster.result(run_id, timeout=60) > 0


def test_signal_to_the_whole_process_group_is_as_one_to_the_worker(
    cluster: Cluster, tmp_path: Path
) -> None:
    """As systemd does it."""
    with cluster.worker(*POOLS["prefork"], environment=LONG) as worker:
        run_id = begin(cluster, flows.holding, tmp_path)
        os.killpg(worker.pid, signal.SIGTERM)
        wait_until(lambda: "Warm shutdown" in cluster.logs(), what="the worker has heard")
        (tmp_path / "go").touch()
        assert worker.wait(60) == 0

    hold = cluster.step(run_id, "hold")
    assert (hold.status, hold.attempts) == (StepState.COMPLETED, 1)


def test_quit_within_the_grace_period_gives_the_step_back_at_once(
    cluster: Cluster, tmp_path: Path
) -> None:
    with cluster.worker(*POOLS["prefork"], environment=LONG) as worker:
        run_id = begin(cluster, flows.holding, tmp_path)
        worker.send_signal(signal.SIGTERM)
        wait_until(lambda: "Warm shutdown" in cluster.logs(), what="the worker has heard")
        # A signal that comes sooner is taken for another copy of the first.
        heard = time.monotonic()
        wait_until(lambda: time.monotonic() - heard > 2.2, what="the signals can be distinguished")
        worker.send_signal(signal.SIGQUIT)
        worker.wait(60)

    hold = cluster.step(run_id, "hold")
    assert (hold.status, hold.attempts, hold.recoveries) == (StepState.QUEUED, 0, 0), cluster.logs()


def test_worker_that_is_quit_loses_its_lease_and_no_step(cluster: Cluster, tmp_path: Path) -> None:
    with cluster.worker(*POOLS["prefork"]) as worker:
        run_id = begin(cluster, flows.holding, tmp_path)
        worker.send_signal(signal.SIGQUIT)
        worker.wait(60)
    cluster.lapse()
    (tmp_path / "go").touch()

    with cluster.worker(*POOLS["prefork"], name="next"):
        assert cluster.result(run_id, timeout=60) > 0


def test_child_that_is_terminated_alone_ends_and_its_step_comes_back(
    cluster: Cluster, tmp_path: Path
) -> None:
    """As Celery does it, when a task is revoked with `terminate`."""
    with cluster.worker(*POOLS["prefork"]):
        run_id = begin(cluster, flows.holding, tmp_path)
        (first,) = held(tmp_path)()
        pid = int(first.name.removeprefix("holding-"))
        os.kill(pid, signal.SIGTERM)
        cluster.lapse()
        wait_until(lambda: len(held(tmp_path)()) == 2, timeout=60, what="another child runs it")
        (tmp_path / "go").touch()
        assert cluster.result(run_id) != 2 * pid
    assert cluster.step(run_id, "hold").recoveries == 1
