"""What the metrics are made from: sums over rows, by the names of flows, steps and models."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from flowq.core.ids import RunId
from flowq.core.states import RunState
from flowq.core.usage import Tokens

#: Upper bounds of the times of steps that are told apart, in seconds.
BUCKETS: Final = (0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)


@dataclass(frozen=True, slots=True)
class MetricsSnapshot:
    """How the whole stands at one moment.

    Attributes:
        at: The moment, by the database's clock.
        runs: By flow and state, how many runs have not ended.
        queued: By how often they were sent again, how many steps are queued, and when the first of
            them is due to be sent once more.
        due: How many rows are due for the sweeper: `lease`, `retry` and `timer`.
    """

    at: datetime
    runs: Mapping[tuple[str, RunState], int]
    queued: Mapping[int, tuple[int, datetime | None]]
    due: Mapping[str, int]

    def queue_age(self, resend_after: timedelta, longest: timedelta) -> timedelta:
        """Return how long the step that was queued first has waited for a worker.

        When a step was queued is not kept; but when it will be sent again is, and that is as much
        later as the pauses between are long, which double.

        Args:
            resend_after: The first pause.
            longest: What pauses grow to.
        """
        age = timedelta(0)
        for resends, (_, due) in self.queued.items():
            waited, pause = timedelta(0), resend_after
            for _ in range(resends + 1):
                waited += min(pause, longest)
                pause = min(2 * pause, longest)
            if due is not None:
                age = max(age, self.at - (due - waited))
        return age


@dataclass(frozen=True, slots=True)
class EndedRun:
    """A run that has ended."""

    id: RunId
    flow_name: str
    status: RunState
    completed_at: datetime
    execution_time_ms: int


@dataclass(frozen=True, slots=True)
class StepSums:
    """Step runs of one flow and name.

    Attributes:
        within: How many took at most so long, for each of `BUCKETS`.
        timed: How many have a time: those that ran to an end of their own.
        ms: The sum of those times.
        states: How many ended in each state.
        retries: How many attempts followed another one of theirs.
        recoveries: How many of those since a worker was lost.
        resends: How often one was sent again since no worker had taken it.
    """

    flow_name: str
    step_name: str
    within: Sequence[int]
    timed: int
    ms: int
    states: Mapping[str, int]
    retries: int
    recoveries: int
    resends: int


@dataclass(frozen=True, slots=True)
class CallSums:
    """Calls of one model in the runs of one flow."""

    flow_name: str
    model: str
    calls: int
    failed: int
    tokens: Tokens
    cost: Decimal
