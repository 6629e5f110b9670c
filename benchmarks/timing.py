"""Times of one work alone: the shortest of a few rounds, or a percentile."""

import time
from collections.abc import Callable

ROUNDS = 3


def seconds(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Return the shortest time of a few rounds."""
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


def p95(work: Callable[[], object], rounds: int = 200) -> float:
    """Return the time that 95 % of the rounds of some work stay below."""
    times = sorted(seconds(work, 1) for _ in range(rounds))
    return times[rounds * 95 // 100]
