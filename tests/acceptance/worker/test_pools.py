"""Flows on real Celery workers, in each pool, as a person runs them."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from flowq.core.ids import RunId
from flowq.core.states import RunState, StepState
from tests.acceptance.apps import worker_flows as flows
from tests.tools import servers
from tests.tools.cluster import PATIENT, Cluster, cluster_on
from tests.tools.waiting import wait_until

POOLS = {
    "prefork": ("postgres", ["--pool=prefork", "--concurrency=2"]),
    "threads": ("sqlite", ["--pool=threads", "--concurrency=50"]),
    "gevent": ("postgres", ["--pool=gevent", "--concurrency=50"]),
}


@pytest.fixture(scope="module", params=list(POOLS))
def pool(request: pytest.FixtureRequest) -> str:
    """The name of the pool that the module's worker has."""
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def running(
    request: pytest.FixtureRequest, pool: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """A cluster with one worker."""
    kind, options = POOLS[pool]
    folder = tmp_path_factory.mktemp(pool)
    if kind == "sqlite":
        template: Path = request.getfixturevalue("sqlite_template")
        database_url = f"sqlite:///{shutil.copy(template, folder / 'flowq.db')}"
    else:
        server = request.getfixturevalue("postgres_server")
        name = f"flowq_test_{uuid4().hex}"
        template_name = request.getfixturevalue("postgres_template")
        servers.copy_database(server, name, template_name)
        database_url = servers.database(server, name)
    with cluster_on(database_url, folder, **PATIENT) as cluster, cluster.worker(*options):
        yield cluster


def test_flow_with_maps_joins_and_retries_completes(running: Cluster) -> None:
    run_id = running.submit(flows.fan, count=50)

    assert running.result(run_id) == 2 * 2 * sum(range(50)) + 3
    view = running.view(run_id)
    assert (view.done, view.total) == (55, 55)
    assert running.step(run_id, "flaky").attempts == 3
    assert running.step(run_id, "double").counts == {StepState.COMPLETED: 50}


def test_failed_step_fails_the_run_with_its_message(running: Cluster) -> None:
    run_id = running.submit(flows.failing, message="cannot be")

    view = running.wait(run_id)

    assert view.status is RunState.FAILED
    assert view.error == "step 'fail' failed: cannot be"
    assert "raise ValueError(message)" in running.step(run_id, "fail").metadata["traceback"]
    assert running.step(run_id, "after").status is StepState.CANCELLED


def test_chord_with_a_failed_member_advances_at_once(running: Cluster) -> None:
    began = time.monotonic()

    failure, *good = running.run(flows.half_failing, count=3)

    assert good == [0, 2, 4]
    assert (failure["error"], failure["message"]) == ("ValueError", "half")
    # The error callback did it; the sweeper would too, but only after a while.
    assert time.monotonic() - began < 60


def test_items_are_retried_within_their_chord(running: Cluster) -> None:
    assert running.run(flows.flaky_map, count=5) == 10


def test_context_names_the_attempt_in_sync_and_async_steps(running: Cluster) -> None:
    run_id = running.submit(flows.contexts, count=4)

    result = running.result(run_id)

    for key, found in (("who", result["sync"]), ("who_async", result["async"])):
        assert [(str(run_id), key, index) for index in range(4)] == [
            (one["run"], one["key"], one["index"]) for one in found
        ]


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_step_that_takes_too_long_fails_on_time(running: Cluster, kind: str) -> None:
    began = time.monotonic()

    view = running.wait(running.submit(flows.too_slow, kind=kind))

    assert time.monotonic() - began < 60
    assert view.status is RunState.FAILED
    assert view.error is not None
    assert "took longer than its timeout of 0.3 s" in view.error


def test_child_flows_run(running: Cluster) -> None:
    assert running.run(flows.parent, number=1) == [4, 8]


def test_large_results_go_through_the_object_store(running: Cluster) -> None:
    run_id = running.submit(flows.large, count=3)

    assert running.result(run_id) == 6_000_000
    assert len(list((running.folder / "results").rglob("*-*"))) >= 3
    assert int(running.redis.memory_usage("celery") or 0) < 10_000


def test_async_steps_run_together_on_one_loop(running: Cluster, pool: str) -> None:
    if pool == "prefork":
        pytest.skip("a prefork worker runs as many steps as it has processes")
    began = time.monotonic()

    assert running.run(flows.naps, count=100, seconds=1) == 200

    # One after the other they would sleep for 100 s; this worker takes 50 at a time.
    assert time.monotonic() - began < 60


def failures(heard: list[dict[str, Any]], run_id: RunId) -> list[dict[str, Any]]:
    """Return the failures of a run; the last ones of an earlier test may come late."""
    of_run = {
        e["uuid"] for e in heard if e["type"] == "task-received" and e["root_id"] == str(run_id)
    }
    return [e for e in heard if e["type"] == "task-failed" and e["uuid"] in of_run]


def kinds(heard: list[dict[str, Any]]) -> set[tuple[str, str]]:
    """Return what happened to tasks, by their names."""
    names = {e["uuid"]: e["name"] for e in heard if e["type"] == "task-received"}
    return {(e["type"], names[e["uuid"]]) for e in heard if e.get("uuid") in names}


def test_tasks_show_in_flower_under_their_own_names_and_their_run(running: Cluster) -> None:
    prefix = "tests.acceptance.apps.worker_flows."
    ended = {("task-retried", f"{prefix}flaky"), ("task-succeeded", f"{prefix}double")}
    with running.events() as heard:
        good = running.submit(flows.fan, count=3)
        running.result(good)
        bad = running.submit(flows.failing, message="the secret")
        running.wait(bad)
        wait_until(lambda: failures(heard, bad), what="the failure is an event")
        # Children of a prefork pool tell their parent of an end in no certain order.
        wait_until(lambda: ended <= kinds(heard), what="the other ends are events")

    received = {e["uuid"]: e for e in heard if e["type"] == "task-received"}
    of_run = [e for e in received.values() if e["root_id"] == str(good)]
    names = [e["name"] for e in of_run]
    assert names.count(prefix + "double") == 3
    assert {prefix + name for name in ("numbers", "total", "flaky")} <= set(names)
    assert not [e for e in heard if "secret" in str(e.get("args")) + str(e.get("kwargs"))]
    found = kinds(heard)
    assert ("task-failed", prefix + "fail") in found
    assert ("task-failed", prefix + "flaky") not in found


def test_no_value_of_a_step_is_in_the_broker_beside_its_cached_result(running: Cluster) -> None:
    secret = f"secret-{uuid4().hex}"
    run_id = running.submit(flows.secretive, secret=secret)
    running.result(run_id)

    held = {key: value for key, value in values(running) if secret in str(value)}

    assert {key.split(b":")[1] for key in held} <= {b"result"}
    assert all(0 < running.redis.ttl(key) <= 24 * 3600 for key in held)


def test_keys_left_in_the_broker_expire(running: Cluster) -> None:
    running.run(flows.fan, count=20)

    def staying() -> list[bytes]:
        client = running.redis
        ours = [key for key in client.keys("*") if not key.startswith((b"_kombu.", b"unacked"))]
        return [key for key in ours if client.ttl(key) == -1]

    # What was sent again is in a queue until a worker has taken it.
    wait_until(lambda: not staying(), what="every key expires")


def values(cluster: Cluster) -> Iterator[tuple[bytes, Any]]:
    """Everything that the broker holds."""
    client = cluster.redis
    for key in client.keys("*"):
        kind = client.type(key)
        if kind == b"list":
            yield key, client.lrange(key, 0, -1)
        elif kind == b"hash":
            yield key, client.hgetall(key)
        elif kind == b"zset":
            yield key, client.zrange(key, 0, -1)
        elif kind == b"string":
            yield key, client.get(key)
