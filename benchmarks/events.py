"""What the events of runs cost: CPU time per step with FLOWQ_EVENTS=1 against FLOWQ_EVENTS=0.

    python -m benchmarks.events

The same work as in the table of throughput, on the same worker. CPU time, unlike time, depends
little on what else the machine does; it is read from /proc for the worker and its children, and
from Redis' own counters. Rounds with and without take turns, and the middle one of each counts.
"""

import os
import statistics
from collections.abc import Callable

import redis

from benchmarks import servers
from benchmarks.processes import cpu

ROUNDS = 5


def main() -> None:
    """Print a table."""
    with servers.infrastructure():
        from benchmarks.flows import chain, diamond, fan_out

        many = [{"x": number} for number in range(200)]

        def diamonds() -> None:
            for run in diamond.enqueue_many(many):
                run.result(120)

        print(f"{'work':<22} {'worker':>24} {'Redis':>24} {'both':>7}")
        compare(
            "chain of 100, ten",
            1_000,
            lambda: [chain.enqueue(n=100).result(120) for _ in range(10)],
        )
        compare("1 → 1,000 → 1", 1_002, lambda: fan_out.enqueue(n=1_000).result(120))
        compare("200 diamonds of 5", 1_000, diamonds)


def compare(name: str, steps: int, work: Callable[[], object]) -> None:
    """Measure work with and without events."""
    found: dict[str, list[tuple[float, float]]] = {"0": [], "1": []}
    for _ in range(ROUNDS):
        for flag, measured in found.items():
            measured.append(measure(flag, steps, work))
    (before, redis_before), (after, redis_after) = (
        [statistics.median(one[part] for one in found[flag]) for part in (0, 1)] for flag in "01"
    )
    both = (after + redis_after) / (before + redis_before)
    print(
        f"{name:<22} {before:>9.0f} → {after:>6.0f} µs/step {redis_before:>7.0f} → "
        f"{redis_after:>5.0f} µs/step {both:>7.3f}",
        flush=True,
    )


def measure(flag: str, steps: int, work: Callable[[], object]) -> tuple[float, float]:
    """Return the CPU time of a worker, and of Redis, in microseconds for each step."""
    from flowq import bootstrap

    os.environ["FLOWQ_EVENTS"] = flag
    bootstrap.settings.cache_clear()
    bootstrap._process.engine = None  # noqa: SLF001 - so that submitting tells, or does not, too
    url = os.environ["BENCH_REDIS"].replace("redis+socket://", "unix://")
    with (
        redis.Redis.from_url(url) as client,
        servers.worker("benchmarks.flows", "prefork", 2) as pid,
    ):
        work()
        begun, redis_begun = cpu(pid), redis_cpu(client)
        work()
        spent = cpu(pid) - begun, redis_cpu(client) - redis_begun
    return 1e6 * spent[0] / steps, 1e6 * spent[1] / steps


def redis_cpu(client: redis.Redis) -> float:
    """Return the seconds of CPU time of Redis."""
    info = client.info("cpu")
    return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])


if __name__ == "__main__":
    main()
