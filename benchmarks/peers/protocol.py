"""What the bench and the programs of the other engines agree on.

The bench runs such a program as `python -m benchmarks.peers.NAME_work WORK` with the Python of the
engine's own environment. Addresses are in the environment: BENCH_DATABASE, a database of its own,
BENCH_REDIS, and BENCH_HOME, a folder of its own. The program starts what the engine needs and does
the work, and prints one line of JSON, a `Found`, for each way to do the work.

Nothing here may import flowq, which those environments do not have.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field

#: How often a work is done, after once that does not count; less often when one takes long.
ROUNDS, FEW_ROUNDS, LONG_SECONDS = 5, 3, 20.0


@dataclass(frozen=True)
class Work:
    """A work that every engine does.

    Attributes:
        title: As in the table.
        steps: How many steps count, for rates.
    """

    title: str
    steps: int


WORKS = {
    "chain": Work("chain of 100 no-op steps", 100),
    "program": Work("program that awaits 1,000 no-op steps", 1_000),
    "naps": Work("500 async steps of 1 s", 500),
    "fan_out": Work("1 → 1,000 no-op → 1", 1_000),
    "diamonds": Work("200 diamonds of 5, together", 1_000),
}


@dataclass
class Found:
    """What the rounds of a work have taken, in one way to do it.

    Attributes:
        way: How the engine does it, in a few words.
        seconds: Of each round, from the submission until the result is there.
        cpu: Seconds of CPU time of the processes that run the steps, of each round.
        steps: How many steps a round had, where it was not all of the work.
    """

    way: str
    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    steps: int = 0


def measured(
    way: str, work: Callable[[], object], cpu: Callable[[], float], steps: int = 0
) -> Found:
    """Do a work a few times, after once that does not count.

    Args:
        way: How it is done, in a few words.
        work: Returns when the result is there.
        cpu: Returns the seconds of CPU time that were used up to now.
        steps: How many steps it has, where it is not all of the work.
    """
    found = Found(way, steps=steps)
    began = time.perf_counter()
    work()
    rounds = ROUNDS if time.perf_counter() - began < LONG_SECONDS else FEW_ROUNDS
    for _ in range(rounds):
        used, began = cpu(), time.perf_counter()
        work()
        found.seconds.append(time.perf_counter() - began)
        found.cpu.append(cpu() - used)
    return found


def tell(found: Found) -> None:
    """Print what was found, for the bench."""
    print(json.dumps(asdict(found)), flush=True)


def told(lines: Iterable[str]) -> Iterator[Found]:
    """Yield what a program has found, from its output, in which other lines may stand."""
    for line in lines:
        if line.startswith('{"way":'):
            yield Found(**json.loads(line))


def same(got: object, expected: object) -> None:
    """Refuse another result than the expected one.

    Raises:
        RuntimeError: It is another one, so what was measured was not the work.
    """
    if got != expected:
        raise RuntimeError(f"the result is {got!r}, not {expected!r}")
