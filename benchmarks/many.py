"""Maps of 100,000 items: how long `enqueue` takes, what the map costs, and the memory of all sides.

    make bench ARGS=many                     20 minutes on two slow cores
    BENCH_MANY=10000 make bench ARGS=many    with fewer items

The worker is prefork with two processes. The memory of a process is what the kernel counts as
resident; the peak is the most since it was forked, so also that of the join over all results.
"""

import asyncio
import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import create_engine, text

from benchmarks import flows, servers

Row = tuple[str, str, str, str, str]

MANY = int(os.environ.get("BENCH_MANY", "100000"))
FEW = MANY // 100
RUNS = MANY // 20


def rows() -> Iterator[Row]:
    """Yield one row for each measure."""
    yield from _enqueued()
    yield from _client()
    yield from _run()


def _enqueued() -> Iterator[Row]:
    """Submit a large map without a worker: only the submission is measured."""
    numbers = list(range(MANY))
    flows.literal.enqueue(n=3)
    by_code = min(_seconds(lambda: flows.literal.enqueue(n=MANY)) for _ in range(3))
    by_input = min(_seconds(lambda: flows.listed.enqueue(numbers=numbers)) for _ in range(3))
    taken, stall = asyncio.run(_in_a_handler(numbers))
    yield f"enqueue of a list of {MANY:,}", "", f"{by_code:.2f} s", "", "<= 2 s, aim 0.5 s"
    yield "the same, the list is an input", "", f"{by_input:.2f} s", "", "<= 2 s, aim 0.5 s"
    note = f"<= 2 s; the event loop stands still for {stall * 1000:.0f} ms at most"
    yield "the same by aenqueue", "", f"{taken:.2f} s", "", note


async def _in_a_handler(numbers: list[int]) -> tuple[float, float]:
    """Return how long `aenqueue` takes, and for how long no other request is served meanwhile."""
    stall = 0.0

    async def others() -> None:
        nonlocal stall
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            stall = max(stall, time.perf_counter() - before)

    beside = asyncio.create_task(others())
    began = time.perf_counter()
    await flows.listed.aenqueue(numbers=numbers)
    taken = time.perf_counter() - began
    beside.cancel()
    return taken, stall


def _client() -> Iterator[Row]:
    """Submit many runs by one process, and look at its memory."""
    for _ in range(RUNS // 5):
        flows.chain.enqueue(n=1)
    before = _resident_mib(os.getpid())
    for _ in range(RUNS - RUNS // 5):
        flows.chain.enqueue(n=1)
    after = _resident_mib(os.getpid())
    work = f"a client after {RUNS:,} runs, after {RUNS // 5:,}"
    yield work, f"{before} MiB", f"{after} MiB", f"{after / before:.2f}x", "bounded"


def _forget() -> None:
    """Delete the runs that no worker has run, with their messages."""
    servers.redis_client().flushdb()
    engine = create_engine(os.environ["FLOWQ_DATABASE_URL"], isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("TRUNCATE flow_runs CASCADE"))
        connection.execute(text("VACUUM ANALYZE"))
    engine.dispose()


def _run() -> Iterator[Row]:
    _forget()
    with servers.worker("benchmarks.flows", "prefork", 2) as pid:
        flows.literal.enqueue(n=FEW).result(timeout=600)
        few, cpu = _largest_mib(pid), _cpu_seconds(pid)
        taken = _seconds(lambda: flows.literal.enqueue(n=FEW).result(timeout=600)) / FEW
        used = (_cpu_seconds(pid) - cpu) / FEW
        cpu = _cpu_seconds(pid)
        many = _seconds(lambda: flows.literal.enqueue(n=MANY).result(timeout=3600)) / MANY
        more = (_cpu_seconds(pid) - cpu) / MANY
        peak, after = servers.memory_mib(pid), _largest_mib(pid)
    work = f"map of {MANY:,}, per item, against {FEW:,}"
    yield work, f"{taken * 1000:.2f} ms", f"{many * 1000:.2f} ms", f"{many / taken:.2f}x", "<= 1.3x"
    work = "the same in CPU time of the worker"
    yield work, f"{used * 1000:.2f} ms", f"{more * 1000:.2f} ms", f"{more / used:.2f}x", "<= 1.3x"
    yield "its largest process, with the join", "", f"peak {peak} MiB", "", "<= 200 MiB"
    work = "the largest process after it, against before"
    yield work, f"{few} MiB", f"{after} MiB", f"{after / few:.2f}x", "<= 1.05x"


def _seconds(work: object) -> float:
    assert callable(work)
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _processes(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


def _resident_mib(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() // 1024**2


def _largest_mib(pid: int) -> int:
    return max(map(_resident_mib, _processes(pid)))


def _cpu_seconds(pid: int) -> float:
    """Return the CPU time that the processes of a worker have used."""
    fields = [Path(f"/proc/{one}/stat").read_text().rpartition(")")[2] for one in _processes(pid)]
    ticks = sum(int(one.split()[11]) + int(one.split()[12]) for one in fields)
    return ticks / os.sysconf("SC_CLK_TCK")
