"""Maps of 100,000 items: how long `enqueue` takes, what the map costs, and the memory of all sides.

    make bench ARGS=many                     20 minutes on two slow cores
    BENCH_MANY=10000 make bench ARGS=many    with fewer items

The worker is prefork with two processes. The memory of a process is what the kernel counts as
resident; the peak is the most since it was forked, so also that of the join over all results.
"""

import asyncio
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Engine, create_engine, event, text

from benchmarks import flows, servers
from benchmarks.processes import cpu
from flowq import bootstrap
from flowq.core.ids import batch_of_run
from flowq.core.references import Reference
from flowq.engine.advance.after import batch_ended
from flowq.engine.advance.resolve import lookup

Row = tuple[str, str, str, str, str]

MANY = int(os.environ.get("BENCH_MANY", "100000"))
FEW = MANY // 100
RUNS = MANY // 20


def rows() -> Iterator[Row]:
    """Yield one row for each measure."""
    yield from _enqueued()
    yield from _client()
    yield from _alone()
    yield from _run()
    yield from _repeated()


def _enqueued() -> Iterator[Row]:
    """Submit a large map without a worker: only the submission is measured."""
    numbers = list(range(MANY))
    flows.literal.enqueue(n=3)
    by_code = min(_seconds(lambda: flows.literal.enqueue(n=MANY)) for _ in range(3))
    by_input = min(_seconds(lambda: flows.listed.enqueue(numbers=numbers)) for _ in range(3))
    taken, stall = asyncio.run(_in_a_handler(numbers))
    cpu = time.process_time()
    flows.listed.enqueue(numbers=numbers)
    cpu = time.process_time() - cpu
    yield f"enqueue of a list of {MANY:,}", "", f"{by_code:.2f} s", "", "<= 2 s, aim 0.5 s"
    yield (
        "the same, the list is an input",
        "",
        f"{by_input:.2f} s",
        "",
        f"the same; {cpu:.2f} s of CPU time",
    )
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


_COMPLETED = """
UPDATE flow_step_runs SET status = 'completed', completed_at = now(), wake_at = NULL,
    result = CASE WHEN map_index IS NULL THEN NULL ELSE json_build_object('place', 'row', 'key',
        'flowq:result:' || id || ':' || id, 'size', 1, 'sha256', repeat('0', 64), 'data', '7') END
WHERE flow_run_id = :run AND step_key = 'noop'
"""


def _alone() -> Iterator[Row]:
    """Expand a map, and load all its results, in a process that does nothing else."""
    _forget()
    command = [sys.executable, "-m", "benchmarks.many"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = json.loads(said.splitlines()[-1])
    before, expanded, joined = found["peaks"]
    cpu = f"{found['cpu'] / MANY * 1000:.3f} ms"
    yield f"expansion of {MANY:,}, CPU time per item", "", cpu, "", f"{found['cpu']:.1f} s"
    yield "its memory, against before", f"{before} MiB", f"{expanded} MiB", "", "<= 200 MiB"
    note = f"<= 200 MiB; {found['reads']} reads, {found['join']:.1f} s of CPU time"
    yield f"results of {MANY:,} items, loaded", f"{expanded} MiB", f"{joined} MiB", "", note


def expand_and_join() -> None:
    """Print as JSON what the expansion and the join of a map cost this process."""
    engine = bootstrap.engine()
    warm = flows.literal.enqueue(n=1_000)
    batch_ended(engine, batch_of_run(warm.id))
    run = flows.literal.enqueue(n=MANY)
    engine.definitions.forget(run.id)
    peaks, cpu = [_peak_mib()], time.process_time()
    batch_ended(engine, batch_of_run(run.id))
    cpu = time.process_time() - cpu
    peaks.append(_peak_mib())
    database = create_engine(os.environ["FLOWQ_DATABASE_URL"])
    with database.begin() as connection:
        connection.execute(text(_COMPLETED), {"run": run.id})
    reads: list[str] = []
    event.listen(Engine, "before_cursor_execute", lambda *given: reads.append(given[2][:6]))
    began = time.process_time()
    values = lookup(engine, run.id, [Reference("noop")])(Reference("noop"))
    join = time.process_time() - began
    assert values == [7] * MANY
    peaks.append(_peak_mib())
    print(json.dumps({"peaks": peaks, "cpu": cpu, "join": join, "reads": reads.count("SELECT")}))


def _peak_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


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
        few, began = _largest_mib(pid), cpu(pid)
        taken = _seconds(lambda: flows.literal.enqueue(n=FEW).result(timeout=600)) / FEW
        used = (cpu(pid) - began) / FEW
        began = cpu(pid)
        many = _seconds(lambda: flows.literal.enqueue(n=MANY).result(timeout=3600)) / MANY
        more = (cpu(pid) - began) / MANY
        peak, after = servers.memory_mib(pid), _largest_mib(pid)
    work = f"map of {MANY:,}, per item, against {FEW:,}"
    yield work, f"{taken * 1000:.2f} ms", f"{many * 1000:.2f} ms", f"{many / taken:.2f}x", "<= 1.3x"
    work = "the same in CPU time of the worker"
    yield work, f"{used * 1000:.2f} ms", f"{more * 1000:.2f} ms", f"{more / used:.2f}x", "<= 1.3x"
    yield "its largest process, with the join", "", f"peak {peak} MiB", "", "<= 200 MiB"
    work = "the largest process after it, against before"
    yield work, f"{few} MiB", f"{after} MiB", f"{after / few:.2f}x", "<= 1.05x"


def _repeated() -> Iterator[Row]:
    """Do as many items in a hundred runs: what a worker keeps does not grow with the steps."""
    _forget()
    with servers.worker("benchmarks.flows", "prefork", 2) as pid:
        flows.literal.enqueue(n=FEW).result(timeout=600)
        before = _largest_mib(pid)
        for _ in range(99):
            flows.literal.enqueue(n=FEW).result(timeout=600)
        after = _largest_mib(pid)
    work = f"the largest process after 100 runs of {FEW:,}, after one"
    yield work, f"{before} MiB", f"{after} MiB", f"{after / before:.2f}x", "<= 1.05x"


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


if __name__ == "__main__":
    expand_and_join()
