"""What logged lines cost: time and CPU time per step with FLOWQ_LOGS=1 against FLOWQ_LOGS=0.

A map of steps that log nothing, or ten lines each, on one worker. Rounds with and without take
turns, and the middle one of each counts. CPU time, unlike time, depends little on what else the
machine does; it is that of the worker and its children, from /proc.
"""

import os
import statistics
import time
from collections.abc import Iterator

from benchmarks import servers
from benchmarks.processes import cpu

#: A row of the table of `python -m benchmarks`.
Figure = tuple[str, str, str, str, str]
ROUNDS = 5
STEPS = 1_000


def rows() -> Iterator[Figure]:
    """Yield the rows of the table."""
    for lines in (0, 10):
        found: dict[str, list[tuple[float, float]]] = {"0": [], "1": []}
        for _ in range(ROUNDS):
            for flag, measured in found.items():
                measured.append(measure(flag, lines))
        for what, place, target in (("CPU time", 0, "<= 1.03x without lines"), ("time", 1, "")):
            before, after = (
                statistics.median(one[place] for one in found[flag]) for flag in ("0", "1")
            )
            yield (
                f"{lines} lines a step: {what} without logs, with",
                f"{before:.0f} µs",
                f"{after:.0f} µs",
                f"{after / before:.2f}x",
                "" if lines else target,
            )


def measure(flag: str, lines: int) -> tuple[float, float]:
    """Return the CPU time of a worker and the time, in microseconds for each step."""
    from benchmarks.flows import logging_fan_out

    os.environ["FLOWQ_LOGS"] = flag
    with servers.worker("benchmarks.flows", "prefork", 2) as pid:
        logging_fan_out.enqueue(n=100, lines=lines).result(120)
        begun, began = cpu(pid), time.monotonic()
        logging_fan_out.enqueue(n=STEPS, lines=lines).result(120)
        took = time.monotonic() - began
        return 1e6 * (cpu(pid) - begun) / STEPS, 1e6 * took / STEPS
