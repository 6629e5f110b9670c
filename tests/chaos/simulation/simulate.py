"""Play seeds of the simulation: `python -m tests.chaos.simulation.simulate --seeds 50000`.

A seed that fails prints what it found and how to play it again:
`python -m tests.chaos.simulation.simulate --seed 17 -v`.
"""

import argparse
import logging
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context

from tests.chaos.simulation.database import Database
from tests.chaos.simulation.play import Play
from tests.chaos.simulation.report import Report, Total
from tests.chaos.simulation.rerun_play import RerunPlay

#: Seeds that a process plays at once.
_PART = 250
#: Lines of the history that a failing seed shows without being asked.
_TAIL = 60
_RERUNS = "--reruns"


def described(report: Report, *, whole: bool = False, option: str = "") -> str:
    """Return what a seed has been through, for people; `option` is that of its kind of play."""
    lines = report.history if whole else report.history[-_TAIL:]
    cut = len(report.history) - len(lines)
    head = [f"      … {cut} lines before"] if cut else []
    verdict = f"seed {report.seed} failed: {report.failure}" if report.failure else "all held"
    command = " ".join(filter(None, ["python -m tests.chaos.simulation.simulate", option]))
    again = f"again: {command} --seed {report.seed} -v"
    return "\n".join([*head, *lines, verdict, *([again] if report.failure else [])])


def play(seeds: range, failures: int, *, reruns: bool = False) -> Total:
    """Play seeds one after the other, until so many have failed; print each of those at once."""
    logging.getLogger("flowq").setLevel(logging.CRITICAL)  # faults are what this is about
    database, total = Database(), Total()
    for seed in seeds:
        report = (RerunPlay if reruns else Play)(database, seed).run()
        total.add(report)
        if report.failure:
            print(described(report, option=_RERUNS if reruns else ""), flush=True)
        if len(total.failures) >= failures:
            break
    database.close()
    return total


def play_beside(seeds: range, failures: int, jobs: int, *, reruns: bool = False) -> Total:
    """Play seeds in processes side by side, until so many have failed."""
    total = Total()
    parts = [seeds[start : start + _PART] for start in range(0, len(seeds), _PART)]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for done in as_completed(
            [pool.submit(play, part, failures, reruns=reruns) for part in parts]
        ):
            total.join(done.result())
            print(f"{total.seeds} seeds, {len(total.failures)} failed", file=sys.stderr)
            if len(total.failures) >= failures:
                pool.shutdown(cancel_futures=True)
                break
    return total


def main() -> int:
    """Play what the command line asks for; 1 when a seed failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=int(os.environ.get("FLOWQ_SEEDS", "2000")))
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="play this one alone")
    parser.add_argument("--jobs", type=int, default=1, help="processes side by side")
    parser.add_argument("--failures", type=int, default=3, help="stop after so many")
    parser.add_argument(_RERUNS, action="store_true", help="play runs that are rerun")
    parser.add_argument("-v", "--verbose", action="store_true", help="the whole history")
    given = parser.parse_args()
    started = time.monotonic()
    if given.seed is not None:
        logging.getLogger("flowq").setLevel(logging.CRITICAL)
        report = (RerunPlay if given.reruns else Play)(Database(), given.seed).run()
        option = _RERUNS if given.reruns else ""
        print(described(report, whole=given.verbose, option=option))
        return 1 if report.failure else 0
    seeds = range(given.first, given.first + given.seeds)
    if given.jobs > 1:
        total = play_beside(seeds, given.failures, given.jobs, reruns=given.reruns)
    else:
        total = play(seeds, given.failures, reruns=given.reruns)
    counted = ", ".join(f"{name} {count}" for name, count in sorted(total.counts.items()))
    print(
        f"{total.seeds} seeds in {time.monotonic() - started:.1f} s, {len(total.failures)} failed; "
        f"{counted}; slowest rest {total.slowest[0]:.0f} s of virtual time "
        f"(seed {total.slowest[1]})"
    )
    return 1 if total.failures else 0


if __name__ == "__main__":
    sys.exit(main())
