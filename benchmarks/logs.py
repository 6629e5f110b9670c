"""What logged lines cost: time and CPU time per step with FLOWQ_LOGS=1 against FLOWQ_LOGS=0.

    python -m benchmarks.logs

A map of steps that log nothing, or ten lines each, on one worker. Rounds with and without take
turns, and the middle one of each counts. CPU time, unlike time, depends little on what else the
machine does; it is that of the worker and its children, from /proc.
"""

import os
import statistics
import time

from benchmarks import servers
from benchmarks.events import cpu

ROUNDS = 5
STEPS = 1_000


def main() -> None:
    """Print a table."""
    with servers.infrastructure():
        print(f"{'lines of a step':<16} {'CPU':>26} {'time':>26}")
        for lines in (0, 10):
            compare(lines)


def compare(lines: int) -> None:
    """Measure steps that log so many lines, with and without their logs being kept."""
    found: dict[str, list[tuple[float, float]]] = {"0": [], "1": []}
    for _ in range(ROUNDS):
        for flag, measured in found.items():
            measured.append(measure(flag, lines))
    middle = {
        flag: [statistics.median(one[part] for one in measured) for part in (0, 1)]
        for flag, measured in found.items()
    }
    cells = [
        f"{before:>8.0f} → {after:>6.0f} µs/step"
        for before, after in zip(middle["0"], middle["1"], strict=True)
    ]
    print(f"{lines:<16} {cells[0]:>26} {cells[1]:>26}", flush=True)


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


if __name__ == "__main__":
    main()
