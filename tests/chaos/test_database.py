"""F4 and F6: a PostgreSQL that stops at once, ends its connections, or commits and does not say."""

import pytest
from sqlalchemy import make_url

from flowq.core.errors import DatabaseUnavailable
from flowq.engine.runs.signals import send_signal
from tests.chaos.harness import flows, model_flows
from tests.chaos.harness.bills import model_server
from tests.chaos.harness.breakable import Database
from tests.chaos.harness.proxy import Proxy
from tests.chaos.harness.scenario import POINTS, Expected, Play, Scenario
from tests.chaos.test_broker import submit_some, wait_for_effects
from tests.tools import servers
from tests.tools.faults.points import FaultPoint
from tests.tools.waiting import wait_until


@pytest.mark.chaos
@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_postgres_that_stops_and_starts_again_and_again(
    play: Play, database: Database, pool: str
) -> None:
    with play(database.url, FLOWQ_MAX_RECOVERIES="50") as chaos:
        worker = chaos.worker(pool=pool, slots=2)
        submit_some(chaos, runs=10, pause=0.3)
        wait_for_effects(chaos, 10)

        for _ in range(4):
            with chaos.outage():
                database.stop()
                chaos.pause(chaos.random.uniform(0.1, 2))
                database.start()
            chaos.pause(chaos.random.uniform(1, 3))

        chaos.check()
        assert worker.poll() is None


def test_postgres_that_ends_all_connections(play: Play, database: Database) -> None:
    with play(database.url, FLOWQ_MAX_RECOVERIES="50") as chaos:
        worker = chaos.worker(slots=2)
        submit_some(chaos, pause=0.2)

        for done in (5, 15, 25, 35):
            wait_for_effects(chaos, done)
            with chaos.outage():
                database.end_connections()

        chaos.check()
        assert worker.poll() is None


def refuses(chaos: Scenario) -> bool:
    """Return whether a run is refused since the database takes no writes; else it counts."""
    try:
        submit_some(chaos, runs=1)
    except DatabaseUnavailable as error:
        return "does not accept writes" in str(error)
    return False


@pytest.mark.chaos
@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_postgres_that_takes_no_writes_for_a_while(
    play: Play, database: Database, pool: str
) -> None:
    with play(database.url, FLOWQ_MAX_RECOVERIES="50") as chaos:
        worker = chaos.worker(pool=pool, slots=2)
        submit_some(chaos, pause=0.2)

        for done in (5, 15):
            wait_for_effects(chaos, done)
            with chaos.outage(), database.read_only():
                # Its processes hear of it one after the other.
                wait_until(lambda: refuses(chaos), what="a run is refused")
                chaos.pause(chaos.random.uniform(1, 3))
            submit_some(chaos, runs=1)

        chaos.check()
        assert worker.poll() is None


@pytest.mark.chaos
def test_pooler_whose_servers_end(play: Play, database: Database) -> None:
    with (
        play(database.url, FLOWQ_MAX_RECOVERIES="50") as chaos,
        servers.pgbouncer(make_url(database.url)) as pooler,
    ):
        through = pooler.render_as_string(hide_password=False)
        worker = chaos.worker(slots=2, FLOWQ_DATABASE_URL=through)
        submit_some(chaos, pause=0.2)

        for done in (5, 15, 25):
            wait_for_effects(chaos, done)
            with chaos.outage():
                database.end_connections()

        chaos.check()
        assert worker.poll() is None


@pytest.mark.parametrize("pool", ["prefork", pytest.param("threads", marks=pytest.mark.chaos)])
def test_commits_whose_replies_are_lost(play: Play, database: Database, pool: str) -> None:
    with (
        play(database.url, FLOWQ_MAX_RECOVERIES="50") as chaos,
        Proxy(database.socket) as proxy,
    ):
        through = f"postgresql+psycopg://flowq@127.0.0.1:{proxy.port}/postgres"
        worker = chaos.worker(pool=pool, slots=2, FLOWQ_DATABASE_URL=through)
        proxy.lose_commits(times=25, chance=lambda: chaos.random.random() < 0.25)

        submit_some(chaos, runs=4)

        chaos.check()
        assert proxy.lost_commits >= 10
        assert worker.poll() is None


@pytest.mark.chaos
def test_outage_at_every_fault_point(play: Play, database_url: str) -> None:
    """Before a write: it did not happen. After one: it did, and the worker got an error."""
    # An outage around a call puts its step off, at first for 15 seconds: to each a step of its own.
    around_calls = [FaultPoint.BEFORE_CALL, FaultPoint.AFTER_CALL, FaultPoint.AFTER_ANSWER]
    faults = ";".join(
        [f"{point}:raise*2@2" for point in POINTS if point not in around_calls]
        + [f"{point}:raise@{passes}" for passes, point in enumerate(around_calls, 1)]
    )
    environment = {"FLOWQ_MAX_RECOVERIES": "50", "CHAOS_FAULTS": faults}
    with model_server(0.1) as (_, models), play(database_url, **environment, **models) as chaos:
        worker = chaos.worker(slots=2)
        asking = chaos.submit(model_flows.reviewed, Expected(accepts=bool), part=4)
        send_signal(chaos.cluster.engine, asking, model_flows.SIGNAL, {"by": "ann"})
        for count in (9, 12, 3):
            chaos.submit(flows.mixed, flows.mixed_result(count), count=count, pause=0.8)
            chaos.submit(flows.nested, flows.nested_result(count), count=count)
            chaos.submit(flows.program, flows.program_result(count), count=count, pause=0.3)

        chaos.check()

        assert set(chaos.faults()) == set(POINTS)
        assert worker.poll() is None
