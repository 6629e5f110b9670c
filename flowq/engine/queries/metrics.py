"""What the metrics are made from: sums over rows, by the names of flows, steps and models."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from flowq.core.ids import RunId
from flowq.core.states import RunState
from flowq.core.usage import Tokens

#: Upper bounds of the histogram of step times, in seconds.
BUCKETS: Final = (0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)


@dataclass(frozen=True, slots=True)
class MetricsSnapshot:
    """The state of all runs at one moment.

    Attributes:
        at: The moment, by the database's clock.
        runs: By flow and state, how many runs have not ended.
        queued: By the number of resends, how many steps are queued, and when the first of them is
            due to be resent.
        due: How many rows are due for the sweeper: `lease`, `retry` and `timer`.
    """

    at: datetime
    runs: Mapping[tuple[str, RunState], int]
    queued: Mapping[int, tuple[int, datetime | None]]
    due: Mapping[str, int]

    def queue_age(self, resend_after: timedelta, longest: timedelta) -> timedelta:
        """Return how long the oldest queued step has waited for a worker.

        The time at which a step was queued is not recorded. It is computed from the time of the
        next resend and the pauses between resends, which double.

        Args:
            resend_after: The first pause.
            longest: The longest pause.
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
        within: How many took at most this time, for each of `BUCKETS`.
        timed: How many have a time: those that completed or failed.
        ms: The sum of those times.
        states: How many ended in each state.
        retries: How many attempts were not the first of their step.
        recoveries: How many of those followed a lost worker.
        resends: How many resends there were.
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
