"""Workers that are killed while they ask models: same result, and no call is paid for in vain.

At most the calls in flight are repeated. An answer that comes in the moment of the kill is paid for
without being recorded; its row says that it is lost.
"""

from collections.abc import Collection, Mapping
from functools import partial
from subprocess import Popen
from typing import Any

import pytest
from sqlalchemy import text

from flowq.core.ids import RunId
from flowq.engine.runs.signals import send_signal
from flowq.entrypoints.fake_llm import FakeLlm
from tests.chaos.harness import model_flows as flows
from tests.chaos.harness.bills import Bill, bill, model_server
from tests.chaos.harness.breakable import children
from tests.chaos.harness.scenario import Expected, Play, Scenario
from tests.tools.llm_steps import Summarise
from tests.tools.waiting import wait_until

PART = 25
STEPS = 4 * PART
LATENCY = 0.1
#: What the workers have, and the maximum number of calls in flight of one of them.
ONE_AT_A_TIME = {"pool": "prefork", "slots": 1}
MANY_AT_ONCE = {"pool": "threads", "slots": 10}
#: Nobody should lose a lease but the dead.
CALM = {"FLOWQ_LEASE_SECONDS": "10", "FLOWQ_MAX_RECOVERIES": "50"}


def waits_for_signal(chaos: Scenario, run_id: RunId) -> bool:
    return any(step.name == flows.SIGNAL for step in chaos.cluster.view(run_id).steps)


def has_asked(server: FakeLlm, calls: int) -> bool:
    return server.stats.calls >= calls


def approve(chaos: Scenario, run_id: RunId) -> None:
    send_signal(chaos.cluster.engine, run_id, flows.SIGNAL, {"by": "ann"})


def undisturbed(chaos: Scenario) -> Any:
    """Return what comes of the program when nothing happens to it."""
    run_id = chaos.submit(flows.reviewed, Expected(accepts=lambda _: True), part=PART)
    wait_until(lambda: waits_for_signal(chaos, run_id), timeout=60, what="it waits for a person")
    approve(chaos, run_id)
    result = chaos.cluster.result(run_id, timeout=60)
    assert len(set(result["said"])) == STEPS
    return result


def is_whole(result: Any) -> bool:
    return len(set(result["said"])) == len(result["said"]) == 8


def busy(chaos: Scenario, pids: Collection[int]) -> int:
    """Return how many steps that ask models are recorded as running in some processes."""
    query = text("SELECT worker FROM flow_step_runs WHERE status = 'running' AND step_name = :name")
    with chaos.engine.connect() as connection:
        workers = connection.execute(query, {"name": Summarise.step_name}).scalars().all()
    return sum(int(worker.rpartition(":")[2]) in pids for worker in workers)


def kill_busiest(chaos: Scenario, alive: Mapping[str, Popen[bytes]]) -> int:
    """Kill the worker that has most to do; return how many steps that ask models it had."""
    living = wait_until(
        lambda: [one for one in alive.values() if one.poll() is None],
        timeout=60,
        what="a worker is alive",
    )
    chaos.random.shuffle(living)
    busiest = max(living, key=lambda one: busy(chaos, [one.pid, *children(one.pid)]))
    before = set(chaos.deaths)
    chaos.kill(busiest)
    return busy(chaos, chaos.deaths.keys() - before)


def disturbed(
    chaos: Scenario, server: FakeLlm, alive: Mapping[str, Popen[bytes]], expected: Any
) -> tuple[Bill, list[int]]:
    """Kill ten workers, one of them while the program waits for a person.

    Returns:
        What was asked, and how many steps that ask models each kill has hit.
    """
    server.reset()
    run_id = chaos.submit(flows.reviewed, expected, part=PART)
    hit: list[int] = []

    def kill_at(moments: list[int]) -> None:
        for moment in moments:
            wait_until(partial(has_asked, server, moment), timeout=60, what="it goes on")
            chaos.pause(chaos.random.uniform(0, 1.5 * LATENCY))
            hit.append(kill_busiest(chaos, alive))

    def moments(count: int) -> list[int]:
        # Each call at most once: a kill does not wait for what it has stopped.
        return sorted(chaos.random.sample(range(1, STEPS // 2 - 5), count))

    kill_at(moments(5))
    wait_until(lambda: waits_for_signal(chaos, run_id), timeout=60, what="it waits for a person")
    hit.append(kill_busiest(chaos, alive))
    approve(chaos, run_id)
    asked = server.stats.calls
    kill_at([asked + moment for moment in moments(4)])
    chaos.check()
    made = bill(server, chaos.cluster, run_id)
    view = chaos.cluster.view(run_id)
    assert (view.cost, view.tokens) == (
        made.cost,
        sum(one.tokens.total for one in made.recorded.values()),
    )
    return made, hit


@pytest.mark.chaos
@pytest.mark.parametrize("workers", [ONE_AT_A_TIME, MANY_AT_ONCE], ids=["one call", "ten calls"])
def test_ten_kills_repeat_no_more_than_the_calls_in_flight(
    play: Play, database_url: str, workers: dict[str, Any]
) -> None:
    with (
        model_server(LATENCY) as (server, environment),
        play(database_url, **CALM, **environment) as chaos,
        chaos.kept_alive(["one", "two"], **workers) as alive,
    ):
        expected = undisturbed(chaos)
        assert server.stats.calls == server.stats.answered == STEPS

        made, hit = disturbed(chaos, server, alive, expected)

        chaos.figures.note = f"{sum(hit)} calls under way at the kills; {made}"
        assert chaos.figures.kills == len(hit) == 10
        assert STEPS < made.calls <= STEPS + sum(hit)
        assert max(hit) <= workers["slots"]
        made.check()
        assert len(made.lost) + len(made.recorded) - STEPS <= sum(hit)


@pytest.mark.parametrize("point", ["before_call", "after_answer", "after_call"])
def test_kill_around_a_call_costs_that_call_alone(
    play: Play, database_url: str, point: str
) -> None:
    kills = [2, 5] if "postgres" in database_url else [3]
    faults = ";".join(f"{point}:kill@{number}" for number in kills)
    with (
        model_server(0.0) as (server, environment),
        play(database_url, CHAOS_FAULTS=faults, **CALM, **environment) as chaos,
        chaos.kept_alive(["one", "two"], **ONE_AT_A_TIME) as _,
    ):
        # The signal is sent before anyone waits for it.
        run_id = chaos.submit(flows.reviewed, Expected(accepts=is_whole), part=2)
        approve(chaos, run_id)

        chaos.check()

        made = bill(server, chaos.cluster, run_id)
        made.check()
        chaos.figures.kills = len(kills)
        chaos.figures.note = str(made)
        asked_again = 0 if point == "before_call" else len(kills)
        assert 8 + asked_again == made.calls == len(made.answered)
        # What was recorded twice was paid for twice; what nobody could record is said to be lost.
        assert 8 + (point == "after_call") * len(kills) == len(made.recorded)
        assert (point != "after_call") * len(kills) == len(made.lost)
        assert (point == "after_answer") * len(kills) == len(made.unnoted)
