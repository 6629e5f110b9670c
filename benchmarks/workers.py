"""More workers, and more runs at once: how much faster the same work is."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from statistics import median

from benchmarks import flows, servers
from benchmarks.turns import ROUNDS, Row, in_turns, ratio

_ITEMS, _THREADS = 2_000, 4
_PROGRAMS, _AWAITED = 10, 100


def rows() -> Iterator[Row]:
    """Yield the rows of the table."""
    yield _more_workers()
    yield _more_programs()


def _more_workers() -> Row:
    """Compare one worker of four threads with four, on items that sleep for 100 ms."""

    def seconds(count: int) -> float:
        with ExitStack() as stack:
            for _ in range(count):
                stack.enter_context(servers.worker("benchmarks.flows", "threads", _THREADS))
            flows.rests.enqueue(n=_THREADS * count).result(timeout=300)
            began = time.perf_counter()
            flows.rests.enqueue(n=_ITEMS).result(timeout=600)
            return time.perf_counter() - began

    one, four = seconds(1), seconds(4)
    name = f"{_ITEMS:,} items of 100 ms, 4 workers against 1"
    return (name, f"{one:.1f} s", f"{four:.1f} s", f"{one / four:.2f}x", ">= 3.6x, aim 3.9x")


def _more_programs() -> Row:
    """Compare ten programs at once with one, by their rates, on two workers."""
    inputs = [{"n": _AWAITED}] * _PROGRAMS
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(servers.worker("benchmarks.flows", "threads", _THREADS))
        pair = in_turns(
            (None, None),
            lambda: flows.program.enqueue(n=_AWAITED).result(timeout=300),
            lambda: [run.result(timeout=300) for run in flows.program.enqueue_many(inputs)],
            ROUNDS,
        )
    one, ten = pair.times
    rates = ([_PROGRAMS * each for each in one], ten)
    shown = [f"{_AWAITED * _PROGRAMS / median(times):.0f}/s" for times in rates]
    name = f"{_PROGRAMS} programs of {_AWAITED} awaited steps, 2 workers, against 1"
    return (name, *shown, ratio((ten, rates[0])), ">= 1.5x")  # type: ignore[return-value]
