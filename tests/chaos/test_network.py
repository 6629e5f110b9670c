"""F5: what a network does between a worker and its servers."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest

from tests.chaos.breakable import Broker, Database
from tests.chaos.harness import Play
from tests.chaos.proxy import Proxy, Way
from tests.chaos.test_broker import submit_some, wait_for_effects

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
        submit_some(chaos)
        wait_for_effects(chaos, 10)

        with chaos.outage():
            FAULTS[fault](proxy)
            chaos.pause(SECONDS)
            proxy.restore()

        chaos.check()
        assert proxy.broken > 0 or fault == "latency"
        assert worker.poll() is None


@pytest.mark.chaos
def test_connections_to_redis_that_stay_silent_for_ever(
    play: Play, broker: Broker, sqlite_url: str
) -> None:
    with Proxy(("127.0.0.1", broker.port)) as proxy, play(sqlite_url) as chaos:
        worker = chaos.worker(slots=2, FLOWQ_REDIS_URL=f"redis://127.0.0.1:{proxy.port}/0")
        submit_some(chaos)
        wait_for_effects(chaos, 10)

        with chaos.outage():
            proxy.go_silent()
            chaos.pause(1)
            proxy.restore(reset=False)

        chaos.check(timeout=60)
        assert worker.poll() is None
