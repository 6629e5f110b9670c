"""What Celery does to a step's task without asking it ends the step, whatever the pool."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flowq.core.ids import RunId, StepRunId, batch_of_items, batch_of_nodes, item_id, node_id
from flowq.core.states import RunState, StepState
from flowq.engine.model.rows import RunView
from flowq.engine.runs import submission
from tests.acceptance.apps import worker_flows as flows
from tests.tools.cluster import Cluster
from tests.tools.waiting import wait_until

#: What is lost is sent again soon.
QUICK = {"FLOWQ_RESEND_SECONDS": "0.5", "FLOWQ_RESEND_MAX_SECONDS": "1"}
POOLS = ("prefork", "threads", "solo", "gevent")


def revoke(cluster: Cluster, task: StepRunId | str, **how: Any) -> None:
    cluster.app.control.revoke(str(task), **how)


def begun(folder: Path) -> list[Path]:
    return wait_until(lambda: list(folder.glob("begun*")), timeout=60, what="the step has begun")


def assert_revoked(cluster: Cluster, run_id: RunId, key: str, *, timeout: float = 60) -> RunView:
    view = cluster.wait(run_id, timeout=timeout)
    step = next(step for step in view.steps if step.key == key)
    assert view.status is RunState.FAILED
    # gevent ends the code with an exception of its own, which may be recorded first.
    assert step.error_type in ("TaskRevoked", "GreenletExit"), step
    return view


@pytest.mark.parametrize("pool", POOLS)
def test_queued_step_that_is_revoked_fails(cluster: Cluster, tmp_path: Path, pool: str) -> None:
    with cluster.worker(f"--pool={pool}", "--concurrency=1", environment=QUICK):
        assert cluster.run(flows.wide, count=1) == [0]
        # All of it happens while nobody can take the message.
        run_id = RunId(cluster.engine.new_id())
        revoke(cluster, node_id(run_id, "goes_on"))
        wait_until(lambda: _knows(cluster, node_id(run_id, "goes_on")), what="the worker knows")
        _submit(cluster, run_id, flows.long, folder=str(tmp_path))

        assert_revoked(cluster, run_id, "goes_on")
        assert cluster.run(flows.wide, count=2) == [0, 2]

    assert not list(tmp_path.glob("begun*"))


def _knows(cluster: Cluster, task: StepRunId) -> bool:
    answers = cluster.app.control.inspect(timeout=1).revoked() or {}
    return any(str(task) in ids for ids in answers.values())


def _submit(cluster: Cluster, run_id: RunId, flow: Any, **inputs: Any) -> None:
    """Submit a run whose id, and so the ids of its tasks, is known before."""
    submission.submit(cluster.engine, flow.type, inputs, run_id=run_id)


@pytest.mark.parametrize("pool", ["prefork", "threads", "gevent"])
def test_running_step_that_is_terminated_fails(cluster: Cluster, tmp_path: Path, pool: str) -> None:
    with cluster.worker(f"--pool={pool}", "--concurrency=1", environment=QUICK):
        run_id = cluster.submit(flows.long, folder=str(tmp_path))
        begun(tmp_path)
        revoke(cluster, node_id(run_id, "goes_on"), terminate=True)

        view = assert_revoked(cluster, run_id, "goes_on")

    assert [step.attempts for step in view.steps] == [1]
    assert len(list(tmp_path.glob("begun*"))) == 1


def test_async_step_that_is_terminated_is_cancelled(cluster: Cluster, tmp_path: Path) -> None:
    # Its process learns of the end when it renews the lease.
    renewed = {**QUICK, "FLOWQ_LEASE_SECONDS": "6"}
    with cluster.worker("--pool=threads", "--concurrency=1", environment=renewed):
        run_id = cluster.submit(flows.long_async, folder=str(tmp_path))
        begun(tmp_path)
        revoke(cluster, node_id(run_id, "goes_on_async"), terminate=True)

        assert_revoked(cluster, run_id, "goes_on_async")
        assert cluster.run(flows.wide, count=2) == [0, 2]  # there is one thread


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_item_that_is_revoked_is_one_failed_item(cluster: Cluster, pool: str) -> None:
    with cluster.worker(f"--pool={pool}", "--concurrency=1", environment=QUICK):
        run_id = RunId(cluster.engine.new_id())
        item = item_id(node_id(run_id, "double"), 1)
        revoke(cluster, item)
        wait_until(lambda: _knows(cluster, item), what="the worker knows")
        _submit(cluster, run_id, flows.some_double, count=3)

        first, second, third = cluster.result(run_id, timeout=60)

    assert (first, third) == (0, 4)
    assert (second.error, second.index) == ("TaskRevoked", 1)


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_program_that_is_revoked_fails_with_its_run(
    cluster: Cluster, tmp_path: Path, pool: str
) -> None:
    """It has a message, since no process keeps it in memory."""
    alone = {**QUICK, "FLOWQ_LIVE_PROGRAMS": "0"}
    with cluster.worker(f"--pool={pool}", "--concurrency=1", environment=alone):
        run_id = cluster.submit(flows.long_program, folder=str(tmp_path))
        begun(tmp_path)
        program = next(step for step in cluster.view(run_id).steps if step.called is None)
        revoke(cluster, node_id(run_id, program.key))
        wait_until(lambda: _knows(cluster, node_id(run_id, program.key)), what="the worker knows")
        (tmp_path / "go").touch()

        assert_revoked(cluster, run_id, program.key, timeout=60)


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_own_tasks_cannot_be_revoked(cluster: Cluster, pool: str) -> None:
    """The body of a chord carries a run on."""
    with cluster.worker(f"--pool={pool}", environment=QUICK):
        run_id = RunId(cluster.engine.new_id())
        lead = node_id(run_id, "double")
        for batch in (batch_of_nodes(run_id, lead), *_item_batches(run_id)):
            revoke(cluster, f"advance-{batch}")
        _submit(cluster, run_id, flows.wide, count=20)

        assert cluster.result(run_id) == [2 * number for number in range(20)]


def _item_batches(run_id: RunId) -> Iterator[str]:
    for key in ("double", "numbers", "echo"):
        yield batch_of_items(node_id(run_id, key))


def test_step_that_runs_into_a_hard_time_limit_fails_and_is_retried(
    cluster: Cluster, tmp_path: Path
) -> None:
    # A busy machine begins its code within the limit, too.
    with cluster.worker("--pool=prefork", "--concurrency=1", "--time-limit=8"):
        view = cluster.wait(cluster.submit(flows.limited, folder=str(tmp_path)), timeout=90)

    (step,) = view.steps
    assert (step.status, step.attempts, step.recoveries) == (StepState.FAILED, 2, 0)
    assert step.error_type == "StepTimeout"
    assert "hard time limit" in str(view.error)
    assert sorted(path.name for path in tmp_path.glob("try-*")) == ["try-1", "try-2"]


@pytest.mark.parametrize("pool", ["prefork", "threads"])
@pytest.mark.parametrize("word", ["raise", "reject", "ignore"])
def test_task_that_is_refused_before_its_first_line_fails(
    cluster: Cluster, word: str, pool: str
) -> None:
    app = "tests.acceptance.apps.cut_app"
    with cluster.worker(f"--pool={pool}", "--concurrency=1", app=app):
        view = cluster.wait(cluster.submit(flows.refused, word=word))

    assert view.status is RunState.FAILED
    assert [step.attempts for step in view.steps] == [1]
    assert "not today" in json.dumps(str(view.error)), view.error


def test_message_that_has_expired_fails_its_step(cluster: Cluster, tmp_path: Path) -> None:
    run_id = cluster.submit(flows.long, folder=str(tmp_path))
    sent = json.loads(cluster.redis.lindex("celery", 0))
    sent["headers"]["expires"] = "2020-01-01T00:00:00+00:00"
    cluster.redis.lset("celery", 0, json.dumps(sent))

    with cluster.worker("--pool=threads", environment=QUICK):
        view = assert_revoked(cluster, run_id, "goes_on")

    assert "expired" in str(view.error)
