"""Two works in turns, so that what else the machine does slows both: the middle ratio counts.

Time on a shared machine differs from round to round; the ratio of two works that follow each other
does less, and CPU time the least. So a row shows the middle ratio, and the least and the most.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks.processes import cpu

ROUNDS = 5
Row = tuple[str, str, str, str, str]
Work = Callable[[], object]
Measured = tuple[list[float], list[float]]


@dataclass
class Pair:
    """What the rounds of two works have taken.

    Attributes:
        times: Seconds, of the one and of the other.
        cpus: Seconds of CPU time of the worker.
    """

    times: Measured = field(default_factory=lambda: ([], []))
    cpus: Measured = field(default_factory=lambda: ([], []))

    def row(self, work: str, unit: float, target: str) -> Row:
        """Return a line of the table: what the second takes, against the first.

        Args:
            work: What was done.
            unit: How much of it; the times are those of one part, in milliseconds.
            target: What is aimed at.
        """
        one, other = (1000 * statistics.median(times) / unit for times in self.times)
        note = f"{target}; {self._cpu(unit)}, {ratio(self.cpus)}"
        return (work, f"{one:.2f} ms", f"{other:.2f} ms", ratio(self.times), note)

    def rates(self, work: str, steps: int, target: str) -> Row:
        """Return a line of the table: how much faster the second is than the first.

        Args:
            work: What was done.
            steps: How many it has.
            target: What is aimed at.
        """
        one, other = (steps / statistics.median(times) for times in self.times)
        note = f"{target}; {self._cpu(steps)}"
        return (work, f"{one:.0f}/s", f"{other:.0f}/s", ratio(self.times[::-1]), note)

    def _cpu(self, unit: float) -> str:
        one, other = (1000 * statistics.median(times) / unit for times in self.cpus)
        return f"CPU {one:.2f} and {other:.2f} ms"


def ratio(measured: Measured) -> str:
    """Return how much more the second takes: the middle round, and the least and the most."""
    found = sorted(second / first for first, second in zip(*measured, strict=True))
    return f"{statistics.median(found):.2f}x ({found[0]:.2f}-{found[-1]:.2f})"


def in_turns(
    pids: tuple[int | None, int | None], first: Work, second: Work, rounds: int = ROUNDS
) -> Pair:
    """Do two works in turns; each has been done once before.

    Args:
        pids: The workers whose CPU time counts, of each work; None is this process.
        first: What is compared with.
        second: What is compared.
        rounds: How often.
    """
    pair = Pair()
    for work in (first, second):
        work()
    for number in range(rounds):
        order = (0, 1) if number % 2 == 0 else (1, 0)
        for which in order:
            used, began = _spent(pids[which]), time.perf_counter()
            (first, second)[which]()
            pair.times[which].append(time.perf_counter() - began)
            pair.cpus[which].append(_spent(pids[which]) - used)
    return pair


def _spent(pid: int | None) -> float:
    """Return the seconds of CPU time of a worker, or of this process."""
    return time.process_time() if pid is None else cpu(pid)
