"""The counters of the metrics, with a bounded number of label values."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from flowq.engine.model.model_calls import CostLine
from flowq.engine.queries.metrics import BUCKETS, CallSums, EndedRun, StepSums

OTHER: Final = "other"
#: Values that a label has at most.
_FLOWS, _STEPS, _MODELS, _VALUES = 50, 300, 50, 100
_NONE: Final = [0.0] * 6

#: By flow and model: calls, failed ones, tokens read, written and cached, cost.
Calls: TypeAlias = dict[tuple[str, str], list[float]]

#: By key, value and model: cost.
Labels: TypeAlias = dict[tuple[str, ...], float]


class Names:
    """The values of a label: the first names up to a limit, and `other` for the rest."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: set[tuple[str, ...]] = set()

    def __call__(self, *names: str) -> tuple[str, ...]:
        """Return the names, or `other` for each of them."""
        if names not in self._known and len(self._known) >= self._most:
            return (OTHER,) * len(names)
        self._known.add(names)
        return names


@dataclass
class _Times:
    within: list[int] = field(default_factory=lambda: [0] * len(BUCKETS))
    count: int = 0
    seconds: float = 0.0


class Counts:
    """Counters of ended runs and their steps, and of model calls."""

    def __init__(self) -> None:
        self.runs: dict[tuple[str, ...], int] = defaultdict(int)
        self.run_seconds: dict[tuple[str, ...], _Times] = defaultdict(_Times)
        self.steps: dict[tuple[str, ...], int] = defaultdict(int)
        self.step_seconds: dict[tuple[str, ...], _Times] = defaultdict(_Times)
        self.retries: dict[tuple[str, ...], int] = defaultdict(int)
        self.sweeper = {"recovered": 0, "resent": 0}
        self.flows, self._steps, self._models = Names(_FLOWS), Names(_STEPS), Names(_MODELS)
        self._values: dict[str, Names] = defaultdict(lambda: Names(_VALUES))

    def add_runs(self, runs: Sequence[EndedRun]) -> None:
        """Count runs."""
        for run in runs:
            flow = self.flows(run.flow_name)
            self.runs[*flow, run.status] += 1
            self.run_seconds[flow].count += 1
            self.run_seconds[flow].seconds += run.execution_time_ms / 1000

    def add_steps(self, sums: Sequence[StepSums]) -> None:
        """Count steps."""
        for one in sums:
            names = self._steps(*self.flows(one.flow_name), one.step_name)
            times = self.step_seconds[names]
            times.within = [a + b for a, b in zip(times.within, one.within, strict=True)]
            times.count += one.timed
            times.seconds += one.ms / 1000
            for state, number in one.states.items():
                if number:
                    self.steps[*names, state] += number
            self.retries[names] += one.retries - one.recoveries
            self.sweeper["recovered"] += one.recoveries
            self.sweeper["resent"] += one.resends

    def named(self, sums: Sequence[CallSums]) -> Calls:
        """Return calls by flow and model: calls, failed, tokens read, written, cached, cost."""
        found: Calls = defaultdict(lambda: [0.0] * 6)
        for one in sums:
            (flow,) = self.flows(one.flow_name) if one.flow_name else ("",)
            (model,) = self._models(one.model)
            tokens = one.tokens
            added = [one.calls, one.failed, tokens.input, tokens.output, tokens.cached]
            place = found[flow, model]
            for number, value in enumerate([*added, float(one.cost)]):
                place[number] += value
        return found

    def labelled(self, key: str, lines: Sequence[CostLine]) -> Labels:
        """Return the cost of calls by a key of metadata, its value and model.

        Args:
            key: The key.
            lines: Calls by its value, and by model; those without the key are left out.
        """
        found: Labels = defaultdict(float)
        for line in lines:
            if line.name is not None and line.also is not None:
                series = key, *self._values[key](line.name), *self._models(line.also)
                found[series] += float(line.cost)
        return found


def sum_labels(one: Labels, other: Labels) -> Labels:
    """Return the sums of two rows."""
    return {names: one.get(names, 0.0) + other.get(names, 0.0) for names in {**one, **other}}


def sum_calls(one: Calls, other: Calls) -> Calls:
    """Return the sums of two rows."""
    return {
        names: [a + b for a, b in zip(one.get(names, _NONE), other.get(names, _NONE), strict=True)]
        for names in {**one, **other}
    }
