"""What the broker holds, and what happens when it, a worker or a step type is missing."""

import json
import os
import signal
import time
from pathlib import Path
from uuid import uuid4

from flowq.core.ids import batch_of_run
from flowq.core.states import RunState, StepState
from flowq.engine.advance.after import batch_ended
from tests.acceptance.apps import worker_flows as flows
from tests.acceptance.commands import python
from tests.tools import servers
from tests.tools.cluster import Cluster, cluster_with_redis
from tests.tools.waiting import wait_until

LIMIT = 1024


def messages(cluster: Cluster, queue: str = "celery") -> list[bytes]:
    return [bytes(one) for one in cluster.redis.lrange(queue, 0, -1)]


def test_messages_stay_small_in_a_flow_of_ten_thousand_steps(cluster: Cluster) -> None:
    run_id = cluster.submit(flows.wide, count=10_000)
    (advance,) = messages(cluster)  # a worker expands so many items
    assert len(advance) <= LIMIT
    batch_ended(cluster.engine, batch_of_run(run_id))

    sent = [one for one in messages(cluster) if one != advance]

    assert len(sent) == 10_000
    assert max(map(len, sent)) <= LIMIT
    assert len({json.loads(one)["headers"]["id"] for one in sent}) == 10_000


def test_messages_of_a_wide_chord_stay_small(cluster: Cluster) -> None:
    run_id = cluster.submit(flows.wide_nodes, count=2_000)

    sent = messages(cluster)

    assert len(sent) == 2_000
    assert max(map(len, sent)) <= LIMIT
    headers = [json.loads(one)["headers"] for one in sent]
    assert {header["root_id"] for header in headers} == {str(run_id)}
    assert len({header["group"] for header in headers}) == 1


def test_no_input_is_in_a_message(cluster: Cluster) -> None:
    cluster.submit(flows.secretive, secret="open sesame")

    assert messages(cluster)
    assert not [one for one in messages(cluster) if b"sesame" in one]


def test_run_that_is_submitted_while_the_broker_is_away_runs_when_it_is_back(
    cluster: Cluster, tmp_path: Path
) -> None:
    port = servers.free_port()
    away = Cluster(f"redis://127.0.0.1:{port}/0", cluster.database_url, tmp_path / "away")
    began = time.monotonic()

    run_id = away.submit(flows.secretive, secret="later")

    assert time.monotonic() - began < 30
    assert cluster.view(run_id).status is RunState.RUNNING
    with cluster.worker("--pool=threads"):
        assert cluster.result(run_id) == ["later", "later"]


def test_worker_continues_when_its_broker_was_restarted(sqlite_url: str, tmp_path: Path) -> None:
    with (
        cluster_with_redis(sqlite_url, tmp_path / "cluster") as (cluster, broker),
        cluster.worker("--pool=threads"),
    ):
        assert cluster.run(flows.fan, count=3) == 15
        broker.stop()
        while_away = cluster.submit(flows.fan, count=4)
        broker.ensure()
        assert cluster.result(while_away) == 27
        assert cluster.run(flows.fan, count=5) == 43


def test_steps_of_a_killed_worker_are_run_by_another(cluster: Cluster, tmp_path: Path) -> None:
    run_id = cluster.submit(flows.holding, folder=str(tmp_path))
    with cluster.worker("--pool=prefork", "--concurrency=1", name="first") as first:
        wait_until(lambda: list(tmp_path.glob("holding-*")), what="the step runs")
        os.killpg(first.pid, signal.SIGKILL)
        first.wait(60)
    cluster.lapse()
    (killed,) = tmp_path.glob("holding-*")
    (tmp_path / "go").touch()

    with cluster.worker("--pool=prefork", "--concurrency=1", name="second"):
        pid = cluster.result(run_id) // 2

    assert pid != int(killed.name.removeprefix("holding-"))
    held = cluster.step(run_id, "hold")
    assert (held.attempts, held.recoveries) == (2, 1)
    assert cluster.step(run_id, "echo").attempts == 1


def test_steps_of_a_killed_worker_are_back_within_one_and_a_half_leases(
    cluster: Cluster, tmp_path: Path
) -> None:
    """The sweeper looks four times in a lease, however long its interval is."""
    seconds = 40  # a quarter of it is the time that a busy machine has
    lease = {"FLOWQ_LEASE_SECONDS": str(seconds), "FLOWQ_SWEEP_SECONDS": "600"}
    threads = "--pool=threads"
    with cluster.worker(threads, name="first", environment=lease) as first:
        run_id = cluster.submit(flows.holding, folder=str(tmp_path))
        wait_until(lambda: list(tmp_path.glob("holding-*")), what="the step runs")
        with cluster.worker(threads, name="second", environment=lease):
            os.killpg(first.pid, signal.SIGKILL)
            killed = time.monotonic()
            wait_until(
                lambda: len(list(tmp_path.glob("holding-*"))) == 2,
                timeout=3 * seconds,
                what="it runs again",
            )
            took = time.monotonic() - killed
            (tmp_path / "go").touch()
            cluster.result(run_id)

    assert took <= 1.5 * seconds


def test_objects_without_a_step_are_deleted_by_a_process_that_may_open_the_store(
    cluster: Cluster,
) -> None:
    """In prefork that is no process with a sweeper."""
    run_id = cluster.submit(flows.large, count=1)
    lost = cluster.folder / "results" / "results" / str(run_id) / str(uuid4()) / str(uuid4())
    lost.parent.mkdir(parents=True)
    lost.write_bytes(b"lost")
    os.utime(lost, (0, 0))  # those of the run are young: their rows may name them a moment later

    with cluster.worker("--pool=prefork", "--concurrency=2"):
        wait_until(lambda: not lost.exists(), what="the object is deleted")
        assert cluster.result(run_id) == 2_000_000


def test_step_of_a_killed_child_process_is_run_again_by_its_worker(
    cluster: Cluster, tmp_path: Path
) -> None:
    with cluster.worker("--pool=prefork", "--concurrency=2"):
        run_id = cluster.submit(flows.holding, folder=str(tmp_path))
        (held,) = wait_until(lambda: list(tmp_path.glob("holding-*")), what="the step runs")
        pid = int(held.name.removeprefix("holding-"))
        (tmp_path / "go").touch()
        os.kill(pid, signal.SIGKILL)
        cluster.lapse()

        # It may have ended just before it was killed.
        assert cluster.result(run_id) > 0


def test_unknown_step_waits_for_a_worker_that_knows_it(cluster: Cluster) -> None:
    run_id = cluster.submit(flows.half_failing, count=2)
    log = cluster.folder / "ignorant.log"
    with cluster.worker("--pool=solo", name="ignorant", app="tests.acceptance.apps.bare_app"):
        wait_until(lambda: log.read_text().count("is not defined on this worker") >= 2, what="met")
    # One line for each step type, whatever is sent again, and none of Celery's.
    assert log.read_text().count("worker_flows.double is not defined") == 1
    assert "KeyError" not in log.read_text()
    assert cluster.view(run_id).status is RunState.RUNNING
    assert cluster.step(run_id, "good0").status is StepState.QUEUED

    with cluster.worker("--pool=threads", name="knowing"):
        failure, *good = cluster.result(run_id)

    assert good == [0, 2]
    assert failure["message"] == "half"
    assert cluster.step(run_id, "good0").attempts == 1


def test_emptied_broker_costs_time_and_no_step(cluster: Cluster) -> None:
    run_id = cluster.submit(flows.fan, count=5)
    cluster.redis.flushall()

    with cluster.worker("--pool=threads"):
        wait_until(
            lambda: (
                cluster.step(run_id, "double").status is StepState.RUNNING
                or cluster.view(run_id).status is RunState.COMPLETED
            ),
            what="the map is expanded",
        )
        cluster.redis.flushall()
        assert cluster.result(run_id) == 2 * 2 * 10 + 3

    assert cluster.step(run_id, "numbers").attempts == 1


def test_existing_app_still_runs_its_own_tasks(cluster: Cluster, tmp_path: Path) -> None:
    script = f"""
from tests.acceptance.apps.users_app import app, flows, multiply, touch
assert app.conf.worker_prefetch_multiplier == 4
run = flows.parent.enqueue(number=1)
print(multiply.delay(6, 7).get(timeout=60))
touch.delay({str(tmp_path / "touched")!r})
print(run.result(timeout=60), run.status, run.progress)
import flowq
again = flowq.Run.get(str(run.id)[:23])
print(again.id == run.id, again.result(timeout=60))
"""
    queues = "--queues=celery,maths"
    with cluster.worker("--pool=threads", queues, app="tests.acceptance.apps.users_app"):
        said = python(script, cluster.environment)
        wait_until((tmp_path / "touched").exists, what="the app's own task runs")

    assert said.splitlines() == ["42", "[4, 8] completed 1.0", "True [4, 8]"]


def test_step_goes_to_the_queue_that_task_routes_give_it(cluster: Cluster) -> None:
    from flowq.adapters.dispatch.celery import CeleryDispatcher

    cluster.app.conf.task_routes = {"tests.acceptance.apps.worker_flows.double": {"queue": "maths"}}
    object.__setattr__(cluster.engine, "dispatcher", CeleryDispatcher(cluster.app))

    cluster.submit(flows.wide, count=3)

    assert len(messages(cluster, "maths")) == 3
    assert messages(cluster) == []


def test_step_that_calls_exit_fails_and_its_worker_continues(cluster: Cluster) -> None:
    with cluster.worker("--pool=prefork", "--concurrency=1"):
        view = cluster.wait(cluster.submit(flows.leaving))
        assert cluster.run(flows.wide, count=2) == [0, 2]

    assert view.status is RunState.FAILED
    assert "sys.exit" in str(view.error)
