"""Who follows a run goes on by itself, whatever becomes of Redis or of the workers meanwhile.

The promise: a reader gets each step's end once, and the run's end last, after any loss.
"""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from flowq.adapters.events.redis import RedisEvents
from flowq.core.events import Event, StepCompleted, StepFailed, WorkflowCompleted
from flowq.core.ids import RunId
from flowq.core.states import StepState
from flowq.engine.events.follow import follow
from tests.chaos.harness import flows
from tests.chaos.harness.breakable import Broker
from tests.chaos.harness.scenario import Play, Scenario
from tests.tools.waiting import wait_until


@contextmanager
def telling(chaos: Scenario, broker: Broker) -> Iterator[None]:
    """Let this process tell of the runs that it submits, and follow them, over the broker."""
    url = broker.url.replace("redis+socket://", "unix://")
    with redis.Redis.from_url(url, socket_timeout=3, retry=Retry(NoBackoff(), 0)) as client:
        object.__setattr__(chaos.cluster.engine, "events", RedisEvents(client))
        yield


def followed(chaos: Scenario, run_id: RunId) -> list[Event]:
    return list(follow(chaos.cluster.engine, run_id, timeout=300))


def check(chaos: Scenario, run_id: RunId, events: list[Event]) -> None:
    """Compare the events of a reader with the rows."""
    assert events[0].event_type == "WORKFLOW_STARTED"
    assert isinstance(events[-1], WorkflowCompleted)
    ends = [one for one in events if isinstance(one, StepCompleted | StepFailed)]
    ended_steps = Counter((one.step, one.index) for one in ends)
    marks = chaos.cluster.records.autocommit(lambda tx: tx.steps.step_progress(run_id))
    ended = [mark for mark in marks if mark.status in {StepState.COMPLETED, StepState.FAILED}]
    assert ended_steps == Counter((mark.key, mark.map_index) for mark in ended)


def submit(chaos: Scenario, *, count: int = 12, pause: float = 0.25) -> RunId:
    return chaos.submit(flows.mixed, flows.mixed_result(count), count=count, pause=pause)


def wait_for_effects(chaos: Scenario, count: int) -> None:
    wait_until(lambda: len(chaos.effects()) >= count, timeout=60, what=f"{count} steps have run")


def check_all(chaos: Scenario, readers: dict[RunId, Future[list[Event]]]) -> None:
    chaos.check()
    for run_id, reader in readers.items():
        check(chaos, run_id, reader.result(300))


def test_a_reader_continues_when_redis_restarts_empty(
    play: Play, sqlite_url: str, broker: Broker
) -> None:
    with play(sqlite_url) as chaos, telling(chaos, broker), ThreadPoolExecutor(3) as pool:
        chaos.worker(slots=2)
        runs = [submit(chaos) for _ in range(3)]
        readers = {run_id: pool.submit(followed, chaos, run_id) for run_id in runs}
        wait_for_effects(chaos, 6)

        with chaos.outage():
            broker.stop()
            chaos.pause(2)
            broker.start()

        check_all(chaos, readers)
        for run_id in runs:  # and later readers get the same
            check(chaos, run_id, followed(chaos, run_id))


@pytest.mark.chaos
def test_readers_continue_when_redis_is_flushed_again_and_again(
    play: Play, sqlite_url: str, broker: Broker
) -> None:
    with play(sqlite_url) as chaos, telling(chaos, broker), ThreadPoolExecutor(3) as pool:
        chaos.worker(slots=2)
        runs = [submit(chaos) for _ in range(3)]
        readers = {run_id: pool.submit(followed, chaos, run_id) for run_id in runs}
        with chaos.monkey(broker.client.flushall, every=(0.3, 1.0)):
            wait_for_effects(chaos, 20)

        check_all(chaos, readers)


@pytest.mark.chaos
def test_readers_hear_of_all_that_killed_workers_did(
    play: Play, sqlite_url: str, broker: Broker
) -> None:
    """What a worker had to tell dies with it."""
    with play(sqlite_url) as chaos, telling(chaos, broker), ThreadPoolExecutor(3) as pool:
        runs = [submit(chaos) for _ in range(3)]
        readers = {run_id: pool.submit(followed, chaos, run_id) for run_id in runs}
        with chaos.kept_alive(["one"], slots=2) as alive:
            for effects in (4, 8, 12):
                wait_for_effects(chaos, effects)
                chaos.kill(alive["one"])
            check_all(chaos, readers)
