"""Runs the benchmarks and prints one table.

Each figure of flowq stands beside the same work as plain Celery canvas, on the same Valkey, with
the same pool and one worker each, while flowq records every step in PostgreSQL. The two take turns:
see `benchmarks.turns`.

    make bench                 all of it
    make bench ARGS=growth     one part of it: throughput, naps, growth, programs, payloads,
                               models, uneven, blocks, http, playbooks, pipelines, workflows,
                               shares, logs, many, workers, costs
    make bench ARGS=peers      DBOS, celery-director and Prefect; only when asked for, since they
                               are installed first
    BENCH_EVENTS=0 make bench  without the events for Flower, on both sides
"""

import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from celery.result import AsyncResult

from benchmarks import servers, turns
from benchmarks.timing import seconds
from flowq import Flow
from flowq.entrypoints.fake_llm import FakeLlm

MANY = [{"x": i} for i in range(200)]


@dataclass
class Row:
    """One line of the table."""

    work: str
    raw: str
    flowq: str
    ratio: str
    target: str


ROWS: list[Row] = []


def warm_seconds(module: str, pool: str, concurrency: int, work: Callable[[], object]) -> float:
    """Return the shortest time of work on a worker that has done it once before."""
    with servers.worker(module, pool, concurrency):
        work()
        return seconds(work)


def wait_all(results: "list[AsyncResult[Any]]") -> None:
    """Wait for results by asking for each in turn."""
    for result in results:
        while not result.ready():
            time.sleep(0.002)


def report(work: str, raw: str, flowq: str, ratio: str, target: str) -> None:
    """Add a row and print it at once."""
    ROWS.append(Row(work, raw, flowq, ratio, target))
    print(f"{work:<44} {raw:>16} {flowq:>16} {ratio:>10}   {target}", flush=True)


def compared(
    name: str, steps: int, raw: Callable[[], object], ours: Callable[[], object], target: str
) -> None:
    """Measure work on both in turns, each on a worker of its own, and report steps per second."""
    with (
        servers.worker("benchmarks.raw", "prefork", 2) as theirs,
        servers.worker("benchmarks.flows", "prefork", 2) as mine,
    ):
        pair = turns.in_turns((theirs, mine), raw, ours)
    report(*pair.rates(name, steps, target))


def throughput() -> None:
    """Compare shapes of no-op steps."""
    from benchmarks import flows, raw

    compared(
        "1 -> 1,000 no-op -> 1",
        1000,
        lambda: raw.fan_out(1000).apply_async().get(timeout=120),
        lambda: flows.fan_out.enqueue(n=1000).result(timeout=120),
        ">= 2.0x, aim 2.5x",
    )
    for steps in (100, 2000):
        compared(
            f"chain of {steps:,} no-op",
            steps,
            lambda n=steps: raw.line(n).apply_async().get(timeout=120),  # type: ignore[misc]
            lambda n=steps: flows.chain.enqueue(n=n).result(timeout=120),  # type: ignore[misc]
            ">= 1.0x, aim 1.2x",
        )
    compared(
        "200 diamonds of 5 together",
        1000,
        lambda: wait_all([raw.diamond(i).apply_async() for i in range(200)]),
        lambda: [r.result(timeout=120) for r in flows.diamond.enqueue_many(MANY)],
        ">= 1.4x, aim 2x",
    )


def naps() -> None:
    """Compare 500 waits of one second in one worker process."""
    from benchmarks import flows, raw

    with (
        servers.worker("benchmarks.raw", "gevent", 500) as theirs,
        servers.worker("benchmarks.flows", "threads", 500) as mine,
    ):
        pair = turns.in_turns(
            (theirs, mine),
            lambda: raw.naps(500).apply_async().get(timeout=60),
            lambda: flows.naps.enqueue(n=500).result(timeout=60),
        )
    one, other = (f"{statistics.median(times):.2f} s" for times in pair.times)
    faster = turns.ratio(pair.times[::-1])
    report("500 async steps of 1 s, 1 process", one, other, faster, "> 1.0x, aim 1.5 s")


def growth() -> None:
    """Compare large flows with small ones: the cost of a step must not grow."""
    from benchmarks import flows

    with servers.worker("benchmarks.flows", "prefork", 2) as pid:
        flows.fan_out.enqueue(n=1000).result(timeout=120)
        small = seconds(lambda: flows.fan_out.enqueue(n=1000).result(timeout=120)) / 1000
        before = servers.memory_mib(pid)
        large = seconds(lambda: flows.fan_out.enqueue(n=10_000).result(timeout=300), 1) / 10_000
        memory = f"peak {servers.memory_mib(pid)} MiB a process, {before} before"
        report(
            "10,000-item map, per item, against 1,000",
            f"{small * 1000:.2f} ms",
            f"{large * 1000:.2f} ms",
            f"{large / small:.2f}x",
            f"<= 1.3x; {memory}",
        )
    with servers.worker("benchmarks.flows", "prefork", 2):
        flows.chain.enqueue(n=100).result(timeout=120)
        small = seconds(lambda: flows.chain.enqueue(n=100).result(timeout=120)) / 100
        large = seconds(lambda: flows.chain.enqueue(n=2000).result(timeout=300), 1) / 2000
        report(
            "chain of 2,000, per step, against 100",
            f"{small * 1000:.2f} ms",
            f"{large * 1000:.2f} ms",
            f"{large / small:.2f}x",
            "<= 1.3x",
        )


def programs() -> None:
    """Compare 1,000 steps that a program awaits, of both kinds, with a chain of as many."""
    from benchmarks import flows

    def run(flow: Flow[..., Any]) -> Callable[[], object]:
        return lambda: flow.enqueue(n=1000).result(timeout=300)

    with servers.worker("benchmarks.flows", "threads", 4) as pid:
        for name, flow, target in (
            ("1,000 awaited steps, against a chain", flows.program, "<= 1.3x, aim 1.0x"),
            ("1,000 local steps, against a chain", flows.local_program, ""),
        ):
            pair = turns.in_turns((pid, pid), run(flows.chain), run(flow))
            report(*pair.row(name, 1000, target))


def payloads() -> None:
    """Pass 8 MB from step to step: neither Redis nor SQL may see it."""
    from benchmarks import flows

    client = servers.redis_client()
    with servers.worker("benchmarks.flows", "prefork", 2):
        client.config_resetstat()
        before = client.info("memory")["used_memory"]
        taken = seconds(
            lambda: flows.large.enqueue(n=50, size_each=8_000_000).result(timeout=300), 1
        )
        after = client.info("memory")["used_memory"]
        stats = client.info("stats")
        moved = (stats["total_net_input_bytes"] + stats["total_net_output_bytes"]) / 1e6
    report(
        "50 steps passing 8 MB each",
        "",
        f"{taken:.2f} s",
        f"{50 / taken:.0f}/s",
        f"Redis: {moved:.1f} MB moved, {(after - before) / 1e6:+.1f} MB kept",
    )


def models() -> None:
    """Compare 300 calls of a model that takes a second for each, in one worker process."""
    texts = [f"text {number}" for number in range(300)]
    with FakeLlm() as server:
        os.environ |= {"FLOWQ_OPENAI_BASE_URL": server.url, "FLOWQ_MODEL": "openai:fake"}
        from benchmarks import llm_flows, raw

        def ours(flow: Flow[..., Any]) -> float:
            server.reset()
            return warm_seconds(
                "benchmarks.llm_flows",
                "threads",
                300,
                lambda: flow.enqueue(texts=texts).result(timeout=60),
            )

        theirs = warm_seconds(
            "benchmarks.raw", "gevent", 300, lambda: raw.asks(texts).apply_async().get(timeout=60)
        )
        taken = ours(llm_flows.summaries)
        report(
            "300 calls of a model of 1 s, 1 process",
            f"{theirs:.2f} s",
            f"{taken:.2f} s",
            f"{theirs / taken:.2f}x",
            "<= 2.5 s",
        )
        taken = ours(llm_flows.few_summaries)
        most = server.stats.most_at_once
        report("the same, 50 at once", "", f"{taken:.2f} s", f"{most} at once", ">= 6 s, <= 50")


def uneven() -> None:
    """A level-by-level engine needs 1.9 s for a critical path of 1 s."""
    from benchmarks import flows

    taken = warm_seconds(
        "benchmarks.flows", "prefork", 2, lambda: flows.uneven.enqueue().result(timeout=60)
    )
    report(
        "ten of 0.1 s beside one of 1 s, joined", "", f"{taken:.2f} s", f"{taken:.2f}x", "<= 1.15x"
    )


def rows_of(module: str) -> Callable[[], None]:
    """Return a part that reports the rows of a module of its own."""

    def part() -> None:
        for row in import_module(f"benchmarks.{module}").rows():
            report(*row)

    return part


def peers() -> None:
    """Print a table of its own of flowq beside other engines."""
    from benchmarks.peers import part

    part.table()


def parts() -> dict[str, Callable[[], None]]:
    """Return what can be measured, by name."""
    return {
        "throughput": throughput,
        "naps": naps,
        "growth": growth,
        "programs": programs,
        "payloads": payloads,
        "models": models,
        "uneven": uneven,
        "blocks": rows_of("documents"),
        "http": rows_of("service"),
        "playbooks": rows_of("playbooks"),
        "pipelines": rows_of("pipelines"),
        "workflows": rows_of("workflows"),
        "shares": rows_of("shares"),
        "logs": rows_of("logs"),
        "many": rows_of("many"),
        "workers": rows_of("workers"),
        "costs": rows_of("costs"),
        "peers": peers,
    }


def chosen(wanted: str) -> list[str]:
    """Return the parts that were asked for; without a name all but `peers`, which installs.

    Raises:
        SystemExit: There is no such part.
    """
    names = [name for name in parts() if wanted in name and (wanted or name != "peers")]
    if not names:
        raise SystemExit(f"there is no part {wanted!r}; give one of {', '.join(parts())}")
    return names


def main() -> None:
    """Run what was asked for."""
    names = chosen(" ".join(sys.argv[1:]))
    if names != ["peers"]:
        print(f"{'work':<44} {'raw Celery':>16} {'flowq':>16} {'ratio':>10}   target", flush=True)
    with servers.infrastructure():
        sys.path.insert(0, str(Path.cwd()))
        for name in names:
            parts()[name]()


if __name__ == "__main__":
    main()
