"""F10: steps that take their process down with them, again and again."""

import sys
from typing import Any

import pytest

from tests.chaos.harness import flows
from tests.chaos.harness.scenario import Expected, Play
from tests.tools.cluster import ROOT
from tests.tools.session.processes import run

SIBLINGS = 6
GOOD = sum(n * n for n in range(SIBLINGS))


def failed_with(words: str) -> Expected:
    def accepts(output: Any) -> bool:
        return output["good"] == GOOD and words in output["bad"].message

    return Expected(accepts=accepts)


@pytest.mark.parametrize(
    "kind, slots", [("exit", 1), pytest.param("segfault", 2, marks=pytest.mark.chaos)]
)
def test_poison_step_fails_after_its_cap_and_says_why(
    play: Play, sqlite_url: str, kind: str, slots: int
) -> None:
    # The lease lapses where the step dies, and nowhere else, however busy the machine is.
    with play(sqlite_url, FLOWQ_MAX_RECOVERIES="1", FLOWQ_LEASE_SECONDS="10") as chaos:
        worker = chaos.worker(slots=slots)
        why = "its worker died or stopped responding while it ran"
        run_id = chaos.submit(flows.poisoned, failed_with(why), kind=kind, siblings=SIBLINGS)

        chaos.check()

        bad = chaos.cluster.step(run_id, "poison")
        assert (bad.attempts, bad.recoveries) == (2, 2)
        others = [one for one in chaos.cluster.view(run_id).steps if one.key != "poison"]
        assert {one.attempts for one in others} == {1}
        command = [sys.executable, "-m", "flowq.entrypoints.cli", "runs", "show", str(run_id)]
        shown = run(command, env=chaos.cluster.environment, cwd=ROOT)
        assert 0 == shown.returncode, shown.stderr
        assert "its worker died or stopped responding" in " ".join(shown.stdout.split())
        assert worker.poll() is None


def test_step_that_wants_more_memory_than_there_is_fails_by_itself(
    play: Play, sqlite_url: str
) -> None:
    with play(sqlite_url, FLOWQ_LEASE_SECONDS="120") as chaos:
        chaos.worker(slots=2)
        run_id = chaos.submit(
            flows.poisoned,
            Expected(accepts=lambda made: made["good"] == GOOD),
            kind="memory",
            siblings=SIBLINGS,
        )
        chaos.check()
        bad = chaos.cluster.step(run_id, "poison")
        assert (bad.error_type, bad.attempts, bad.recoveries) == ("MemoryError", 1, 0)
