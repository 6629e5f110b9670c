"""What seeds have been through, for people and for the next process."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Report:
    """What one seed has been through."""

    seed: int
    history: list[str]
    counts: Counter[str]
    rest: float  #: Virtual seconds from the last fault until all was at rest.
    failure: str | None = None


@dataclass
class Total:
    """What many seeds have been through."""

    seeds: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    slowest: tuple[float, int] = (0.0, 0)  #: Virtual seconds to rest, and the seed.
    failures: list[Report] = field(default_factory=list)

    def add(self, report: Report) -> None:
        """Count one seed."""
        self.seeds += 1
        self.counts.update(report.counts)
        self.slowest = max(self.slowest, (report.rest, report.seed))
        if report.failure is not None:
            self.failures.append(report)

    def join(self, other: "Total") -> None:
        """Count what was played elsewhere."""
        self.seeds += other.seeds
        self.counts.update(other.counts)
        self.slowest = max(self.slowest, other.slowest)
        self.failures += other.failures
