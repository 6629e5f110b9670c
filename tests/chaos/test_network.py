"""F5: what a network does between a worker and its servers."""

import os
import socket
from collections.abc import Callable
from contextlib import ExitStack
from subprocess import Popen
from typing import Any

import pytest

from flowq.adapters.records.database import SqlRecords
from tests.chaos.harness.breakable import Broker, Database
from tests.chaos.harness.proxy import Proxy, Way
from tests.chaos.harness.scenario import Play, Scenario
from tests.chaos.test_broker import begin_some
from tests.tools.waiting import wait_until

FAULTS: dict[str, Callable[[Proxy], Any]] = {
    "cut": lambda proxy: proxy.cut(),
    "half open": lambda proxy: proxy.go_silent(),
    "requests lost": lambda proxy: proxy.go_silent(Way.UP),
    "replies lost": lambda proxy: proxy.go_silent(Way.DOWN),
    "latency": lambda proxy: setattr(proxy, "latency", 0.15),
    "resets": lambda proxy: proxy.reset_after(2000, times=8),
}
SECONDS = 5.0


@pytest.mark.chaos
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("server", ["redis", "postgres"])
def test_network_fault(
    play: Play, broker: Broker, database: Database, server: str, fault: str
) -> None:
    with ExitStack() as stack:
        upstream = database.socket if server == "postgres" else ("127.0.0.1", broker.port)
        proxy = stack.enter_context(Proxy(upstream))
        chaos = stack.enter_context(play(database.url, FLOWQ_MAX_RECOVERIES="50"))
        if server == "postgres":
            url = f"postgresql+psycopg://flowq@127.0.0.1:{proxy.port}/postgres"
            worker = chaos.worker(slots=2, FLOWQ_DATABASE_URL=url)
        else:
            worker = chaos.worker(slots=2, FLOWQ_REDIS_URL=f"redis://127.0.0.1:{proxy.port}/0")
        begin_some(chaos)

        with chaos.outage():
            FAULTS[fault](proxy)
            chaos.pause(SECONDS)
            if fault != "latency":
                wait_until(lambda: proxy.broken > 0, what="a connection is broken")
            proxy.restore()

        chaos.check()
        assert worker.poll() is None


def check_silence_for_ever(chaos: Scenario, proxy: Proxy, worker: Popen[bytes]) -> None:
    """Let the connections of a worker fall silent for good, and see everything end all the same."""
    begin_some(chaos)

    with chaos.outage():
        proxy.go_silent()
        chaos.pause(1)
        proxy.restore(reset=False)

    chaos.check()
    assert worker.poll() is None


@pytest.mark.chaos
def test_connections_to_redis_that_stay_silent_for_ever(
    play: Play, broker: Broker, sqlite_url: str
) -> None:
    with Proxy(("127.0.0.1", broker.port)) as proxy, play(sqlite_url) as chaos:
        worker = chaos.worker(slots=2, FLOWQ_REDIS_URL=f"redis://127.0.0.1:{proxy.port}/0")
        check_silence_for_ever(chaos, proxy, worker)


@pytest.mark.chaos
def test_connections_to_postgres_that_stay_silent_for_ever(play: Play, database: Database) -> None:
    with Proxy(database.socket) as proxy, play(database.url, FLOWQ_MAX_RECOVERIES="50") as chaos:
        url = f"postgresql+psycopg://flowq@127.0.0.1:{proxy.port}/postgres"
        worker = chaos.worker(slots=2, FLOWQ_DATABASE_URL=url, FLOWQ_DATABASE_TIMEOUT_SECONDS="3")
        check_silence_for_ever(chaos, proxy, worker)


def test_kernel_notices_that_postgres_is_gone_without_a_close(database: Database) -> None:
    """The proxy cannot play this one: its kernel acknowledges what it swallows."""
    with Proxy(database.socket) as proxy:
        records = SqlRecords(f"postgresql+psycopg://flowq@127.0.0.1:{proxy.port}/postgres")
        with records.engine.connect() as connection:
            file = connection.connection.driver_connection.fileno()  # type: ignore[union-attr]
            with socket.socket(fileno=os.dup(file)) as client:
                assert client.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
                options = [socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT]
                idle, interval, count = (
                    client.getsockopt(socket.IPPROTO_TCP, option) for option in options
                )
                sent = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) / 1000
        records.close()

    assert idle + interval * count <= 30
    assert 0 < sent <= 30
