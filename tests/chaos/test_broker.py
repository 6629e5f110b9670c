"""F3: a Redis that restarts empty, is flushed, hangs, is full, or takes no writes."""

import time
from collections.abc import Callable

import pytest

from tests.chaos.harness import flows
from tests.chaos.harness.breakable import Broker
from tests.chaos.harness.scenario import RESEND, SWEEP, Play, Scenario
from tests.tools import servers
from tests.tools.waiting import wait_until


def submit_some(chaos: Scenario, runs: int = 6, pause: float = 0.1) -> None:
    for count in range(8, 8 + runs):
        chaos.submit(flows.mixed, flows.mixed_result(count), count=count, pause=pause)


def wait_for_effects(chaos: Scenario, count: int) -> None:
    wait_until(lambda: len(chaos.effects()) >= count, timeout=60, what=f"{count} steps have run")


def begin_some(chaos: Scenario) -> None:
    """Submit some runs and wait until they are running."""
    submit_some(chaos)
    wait_for_effects(chaos, 10)


@pytest.mark.parametrize("pool", ["prefork", pytest.param("threads", marks=pytest.mark.chaos)])
def test_redis_that_restarts_empty_costs_time_only(
    play: Play, sqlite_url: str, broker: Broker, pool: str
) -> None:
    with play(sqlite_url) as chaos:
        worker = chaos.worker(pool=pool, slots=2)
        begin_some(chaos)

        with chaos.outage():
            broker.stop()
            chaos.pause(2)
            broker.start()

        chaos.check()
        chaos.submit(flows.chain, flows.chain_result(3), length=3)
        chaos.check()
        assert worker.poll() is None


@pytest.mark.chaos
def test_flush_in_the_middle_of_a_hundred_runs_costs_one_resend_interval(
    play: Play, postgres_url: str, broker: Broker
) -> None:
    with play(postgres_url) as chaos:
        chaos.worker(slots=2)

        def hundred(disturb: Callable[[], None]) -> float:
            began = time.monotonic()
            done = len(chaos.effects())
            for _ in range(100):
                chaos.submit(flows.chain, flows.chain_result(4), length=4)
            wait_for_effects(chaos, done + 200)
            disturb()
            chaos.check()
            return time.monotonic() - began

        hundred(lambda: None)  # the first one warms up
        undisturbed = hundred(lambda: None)
        disturbed = hundred(broker.client.flushall)
        chaos.figures.recovery = max(0.0, disturbed - undisturbed)

        # The rest is for a machine that has other work too: then the second hundred takes longer.
        assert disturbed - undisturbed <= RESEND + 2 * SWEEP + 1 + 2 * undisturbed


@pytest.mark.chaos
@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_redis_that_hangs_for_ten_seconds(
    play: Play, sqlite_url: str, broker: Broker, pool: str
) -> None:
    with play(sqlite_url) as chaos:
        worker = chaos.worker(pool=pool, slots=2)
        begin_some(chaos)

        with chaos.outage():
            broker.pause()
            chaos.pause(10)
            broker.go_on()

        chaos.check()
        assert worker.poll() is None


@pytest.mark.chaos
@pytest.mark.parametrize("how", ["full", "read-only"])
def test_redis_that_takes_no_writes(play: Play, sqlite_url: str, broker: Broker, how: str) -> None:
    with play(sqlite_url) as chaos:
        worker = chaos.worker(slots=2)
        begin_some(chaos)
        nobody = servers.free_port()

        with chaos.outage():
            if how == "full":
                broker.client.config_set("maxmemory-policy", "noeviction")
                broker.client.config_set("maxmemory", 1)
            else:
                broker.client.replicaof("127.0.0.1", nobody)
            chaos.pause(4)
            if how == "full":
                broker.client.config_set("maxmemory", 0)
            else:
                broker.client.replicaof("NO", "ONE")

        chaos.check()
        assert worker.poll() is None
