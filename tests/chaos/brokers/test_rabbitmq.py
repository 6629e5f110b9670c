"""RabbitMQ as broker, with a Redis beside it and alone: its node is killed, and workers are."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest

from tests.chaos.harness import flows
from tests.chaos.harness.breakable import Broker
from tests.chaos.harness.scenario import Play, Scenario
from tests.tools.brokers.rabbitmq import RabbitMq, rabbitmq
from tests.tools.waiting import wait_until

#: 200 steps are in flight or queued when the node dies.
_STEPS = 200


@pytest.fixture(scope="module")
def node() -> Iterator[RabbitMq]:
    """A node that these tests may kill."""
    with rabbitmq() as node:
        yield node


@pytest.fixture(params=["alone", "beside a Redis"])
def begin(
    request: pytest.FixtureRequest, play: Play, broker: Broker, sqlite_url: str, node: RabbitMq
) -> Callable[[], AbstractContextManager[Scenario]]:
    """Play on RabbitMQ; small results and events are in the rows, or in the Redis."""
    redis = "" if request.param == "alone" else broker.url
    servers = {"FLOWQ_BROKER_URL": node.url, "FLOWQ_REDIS_URL": redis}
    return lambda: play(sqlite_url, redis_url=node.url, **servers)


def test_node_that_is_killed_and_restarted_costs_time_only(
    begin: Callable[[], AbstractContextManager[Scenario]], node: RabbitMq
) -> None:
    with begin() as chaos:
        worker = chaos.worker(slots=2)
        chaos.submit(flows.mixed, flows.mixed_result(_STEPS), count=_STEPS, pause=0.02)
        for count in range(8, 12):
            chaos.submit(flows.nested, flows.nested_result(count), count=count)
            chaos.submit(flows.program, flows.program_result(count), count=count, pause=0.05)
        wait_until(lambda: len(chaos.effects()) >= 20, timeout=60, what="20 steps have run")

        with chaos.outage():
            node.kill()
            chaos.submit(flows.chain, flows.chain_result(3), length=3)  # it is accepted
            chaos.pause(2)
            node.start()

        chaos.check()
        assert worker.poll() is None


def test_steps_of_a_killed_worker_are_recovered(
    begin: Callable[[], AbstractContextManager[Scenario]],
) -> None:
    """Of those that ran a lease lapses; those that it had only fetched come back at once."""
    with begin() as chaos:
        folder = str(chaos.folder)
        first = chaos.worker("first", slots=2)
        names = [f"n{number}" for number in range(6)]
        chaos.submit(flows.held, [f"held {name}" for name in names], folder=folder, names=names)
        wait_until(lambda: len(chaos.effects()) >= 2, timeout=60, what="two steps run")
        chaos.worker("second", slots=2)

        chaos.kill(first)

        began = time.monotonic()
        (chaos.folder / "go").touch()
        chaos.check()
        assert time.monotonic() - began < 120
