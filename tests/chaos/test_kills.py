"""F1 and F2: processes that are killed, or stopped for longer than their lease."""

from datetime import timedelta
from typing import Final

import pytest

from flowq.core.states import RunState
from flowq.engine.runs import submission
from flowq.engine.runs.signals import send_signal
from tests.chaos.harness import flows, model_flows
from tests.chaos.harness.bills import bill, model_server
from tests.chaos.harness.breakable import children
from tests.chaos.harness.scenario import POINTS, Expected, Play
from tests.tools.waiting import wait_until

#: Long enough that a slow machine needs less than half of it for all but waiting.
LEASE = 20.0
#: More than several windows.
COUNT = 90


def test_steps_of_a_killed_worker_are_recovered_within_a_lease_and_a_half(
    play: Play, database_url: str
) -> None:
    with play(database_url, FLOWQ_LEASE_SECONDS=str(LEASE)) as chaos:
        folder = str(chaos.folder)
        first = chaos.worker("first", slots=2)
        chaos.submit(flows.held, ["held a", "held b"], folder=folder, names=["a", "b"])
        for name in "ab":
            chaos.wait_for_file(f"{name}.1.*")
        chaos.worker("second", slots=2)

        chaos.kill(first)

        for name in "ab":
            chaos.wait_for_file(f"{name}.2.*")
        (chaos.folder / "go").touch()
        chaos.check()
        assert chaos.figures.recovery is not None
        assert chaos.figures.recovery <= 1.5 * LEASE


def test_step_of_a_killed_child_is_recovered_by_its_own_worker(play: Play, sqlite_url: str) -> None:
    with play(sqlite_url, FLOWQ_LEASE_SECONDS=str(LEASE)) as chaos:
        chaos.worker(slots=2)
        chaos.submit(flows.held, ["held a"], folder=str(chaos.folder), names=["a"])
        child = int(chaos.wait_for_file("a.1.*").name.rpartition(".")[2])

        chaos.kill_child(child)

        chaos.wait_for_file("a.2.*")
        (chaos.folder / "go").touch()
        chaos.check()
        assert chaos.figures.recovery is not None
        assert chaos.figures.recovery <= 1.5 * LEASE


def test_step_of_an_orphan_is_recorded_once(play: Play, sqlite_url: str) -> None:
    with play(sqlite_url) as chaos:
        first = chaos.worker("first", slots=1)
        chaos.submit(flows.held, ["held a"], folder=str(chaos.folder), names=["a"])
        chaos.wait_for_file("a.1.*")

        chaos.kill_main(first)

        chaos.worker("second", slots=1)
        (chaos.folder / "go").touch()
        chaos.check()


@pytest.mark.chaos
def test_random_kills_of_children_and_workers(play: Play, database_url: str) -> None:
    with (
        play(database_url, FLOWQ_MAX_RECOVERIES="50") as chaos,
        chaos.kept_alive(["one", "two"], slots=2) as alive,
    ):
        for count in range(10, 16):
            chaos.submit(flows.mixed, flows.mixed_result(count), count=count, pause=0.2)
            chaos.submit(flows.nested, flows.nested_result(count), count=count)

        def kill() -> None:
            worker = chaos.random.choice(list(alive.values()))
            if worker.poll() is not None:
                return
            kind = chaos.random.choice(["child", "child", "main", "all"])
            if kind == "all":
                chaos.kill(worker)
            elif kind == "main":
                chaos.kill_main(worker)
            elif pids := children(worker.pid):
                chaos.kill_child(chaos.random.choice(pids))

        with chaos.monkey(kill, every=(0.5, 2.5)):
            wait_until(
                lambda: chaos.figures.kills >= 6 or not chaos.open_runs(),
                timeout=300,
                what="six kills",
            )
        chaos.check()
        assert chaos.figures.kills >= 3


#: Where a worker is killed, and its pool; `make test` has each of both, and `make chaos` all pairs.
KILLS: Final = [
    pytest.param(point, pool, marks=[pytest.mark.chaos] if (first + second) % 2 else [])
    for first, point in enumerate(["before_suspend", "after_suspend", "before_wake", "after_wake"])
    for second, pool in enumerate(["prefork", "threads"])
]


@pytest.mark.parametrize("point, pool", KILLS)
def test_program_survives_a_kill_where_it_waits_and_wakes(
    play: Play, database_url: str, point: str, pool: str
) -> None:
    faults = f"{point}:kill@2;{point}:kill@7"
    with (
        play(database_url, FLOWQ_MAX_RECOVERIES="50", CHAOS_FAULTS=faults) as chaos,
        chaos.kept_alive(["one", "two"], slots=2, pool=pool),
    ):
        for count in (3, 9):
            chaos.submit(flows.program, flows.program_result(count), count=count)

        chaos.check()

        chaos.figures.kills = len(chaos.faults())
        assert set(chaos.faults()) == {point}


@pytest.mark.chaos
def test_kill_at_every_fault_point(play: Play, postgres_url: str) -> None:
    faults = ";".join(f"{point}:kill@2" for point in POINTS)
    environment = {"FLOWQ_MAX_RECOVERIES": "50", "CHAOS_FAULTS": faults}
    with (
        model_server(0.1) as (server, models),
        play(postgres_url, **environment, **models) as chaos,
        chaos.kept_alive(["one", "two"], slots=2),
    ):
        asking = chaos.submit(model_flows.reviewed, Expected(accepts=bool), part=4)
        send_signal(chaos.cluster.engine, asking, model_flows.SIGNAL, {"by": "ann"})
        for count in (9, 12, 3):
            chaos.submit(flows.mixed, flows.mixed_result(count), count=count, pause=0.8)
            chaos.submit(flows.nested, flows.nested_result(count), count=count)
            chaos.submit(flows.program, flows.program_result(count), count=count, pause=0.3)

        chaos.check()

        chaos.figures.kills = len(chaos.faults())
        assert set(chaos.faults()) == set(POINTS)
        bill(server, chaos.cluster, asking).check()


def test_worker_that_was_stopped_for_longer_than_its_lease_changes_nothing(
    play: Play, database_url: str
) -> None:
    # The heir must keep its lease, however busy the machine is.
    with play(database_url, FLOWQ_LEASE_SECONDS="10") as chaos:
        zombie = chaos.worker("zombie", slots=1)
        size = 2**21
        run_id = chaos.submit(flows.large, size, size=size, folder=str(chaos.folder))
        chaos.wait_for_file("blob.1.*")

        chaos.freeze(zombie)
        chaos.worker("heir", slots=1)
        chaos.wait_for_file("blob.2.*")
        (chaos.folder / "go").touch()
        chaos.cluster.wait(run_id)
        chaos.thaw(zombie)

        log = chaos.cluster.folder / "zombie.log"
        wait_until(
            lambda: "no longer holds its lease" in log.read_text(),
            what="the zombie was refused",
        )
        chaos.check()
        assert chaos.cluster.step(run_id, "blob").attempts == 2
        # Its object lies under a key of its own, which no row names.
        stored = [one for one in (chaos.cluster.folder / "results").rglob("*") if one.is_file()]
        assert len(stored) == 2


def test_kill_of_a_worker_delays_what_waits_for_its_turn_and_loses_nothing(
    play: Play, database_url: str
) -> None:
    with play(database_url) as chaos:
        first = chaos.worker("first", slots=2)
        for tenant in "ab":
            expected = flows.fair_result(COUNT)
            chaos.submit(flows.fair, expected, tenant=tenant, count=COUNT, pause=0.02)
        for number in range(3):
            chaos.submit(flows.one_at_a_time, number**2, key="k", number=number, pause=0.5)
        for number in range(3):
            replaced = Expected(status=RunState.CANCELLED, error="debounce")
            last = Expected(number**2) if number == 2 else replaced
            chaos.submit(flows.debounced, last, key="k", number=number)
        later = submission.submit(
            chaos.cluster.engine, flows.chain.type, {"length": 2}, delay=timedelta(seconds=2)
        )
        chaos.runs[later] = Expected(flows.chain_result(2))
        wait_until(lambda: len(chaos.effects()) >= COUNT // 2, timeout=60, what="half a map")

        chaos.kill(first)

        chaos.worker("second", slots=2)
        chaos.check()
        effects = {(one["key"], one["step"]) for one in chaos.effects() if one["key"] == "work"}
        assert len(effects) == 2 * COUNT + 3 + 1
