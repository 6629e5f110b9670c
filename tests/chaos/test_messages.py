"""F7 and F8: messages that are lost, copied and reordered; workers whose clocks are wrong."""

from typing import Final

import pytest

from tests.chaos.harness import flows
from tests.chaos.harness.scenario import Play

#: Nobody dies here, so no lease may lapse: that would be an attempt more.
LEASE: Final = "120"


@pytest.mark.parametrize("runs", [3, pytest.param(12, marks=pytest.mark.chaos)])
def test_messages_that_are_lost_copied_and_reordered(
    play: Play, database_url: str, runs: int
) -> None:
    with play(database_url, FLOWQ_LEASE_SECONDS=LEASE) as chaos:
        disturbed = f"drop=0.3 copy=0.3 hold=0.2 seed={chaos.seed}"
        chaos.worker(slots=2, CHAOS_MESSAGES=disturbed)
        for count in range(8, 8 + runs):
            chaos.submit(flows.mixed, flows.mixed_result(count), count=count)
        # One message in three is lost, also when it is sent again: a chain of losses takes long.
        chaos.check()
        # A message too many costs a claim, never an attempt: each step fails or ends once.
        assert chaos.figures.duplicates == runs  # the one retry that each run has by design


@pytest.mark.chaos
def test_workers_whose_clocks_are_an_hour_wrong(play: Play, database_url: str) -> None:
    with play(database_url, FLOWQ_LEASE_SECONDS=LEASE) as chaos:
        chaos.worker("fast", slots=2, CHAOS_CLOCK="3600")
        chaos.worker("slow", slots=2, CHAOS_CLOCK="-3600")
        for count in range(8, 14):
            chaos.submit(flows.mixed, flows.mixed_result(count), count=count, pause=0.2)
        # Sweepers look at it: one that compared clocks would take its lease away.
        chaos.submit(flows.chain, flows.chain_result(3), length=3, pause=3)

        chaos.check()

        assert chaos.figures.duplicates == 6  # the one retry that each of the mixed has by design
