"""The works as DBOS does them: a library that checkpoints workflows and their steps in PostgreSQL.

Two ways, as its documentation has them. *In the process that calls*: a workflow calls its steps,
and gathers those that are `async`. *By a queue*: two worker processes, of one thread pool each,
take workflows that a client enqueues; what is done in parallel is a child workflow of its own.
The queue is polled every 50 ms, not every second, which is the default.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager

from dbos import DBOS, DBOSClient, DBOSConfig, WorkflowHandle

from benchmarks.peers.protocol import WORKS, Found, measured, same, tell
from benchmarks.processes import cpu

QUEUE = "bench"
POLL = 0.05
#: How many workflows of the queue one process has at once.
CONCURRENCY = 25


@DBOS.step()
def noop(x: int) -> int:
    """Return the input."""
    return x


@DBOS.step()
async def async_noop(x: int) -> int:
    """Return the input."""
    return x


@DBOS.step()
async def nap(x: int) -> int:
    """Wait for a second."""
    await asyncio.sleep(1)
    return x


@DBOS.step()
async def count(xs: list[int]) -> int:
    """Return how many there are."""
    return len(xs)


@DBOS.step()
async def numbers(n: int) -> list[int]:
    """Return a list to work on."""
    return list(range(n))


@DBOS.step()
async def last(a: int, b: int, c: int) -> int:
    """Join three."""
    return max(a, b, c)


@DBOS.workflow()
def chain(n: int) -> int:
    """A chain of n."""
    value = 0
    for _ in range(n):
        value = noop(value)
    return value


@DBOS.workflow()
async def async_chain(n: int) -> int:
    """A chain of n."""
    value = 0
    for _ in range(n):
        value = await async_noop(value)
    return value


@DBOS.workflow()
async def fan_out(n: int) -> int:
    """1 → n → 1, in one workflow."""
    return await count(await asyncio.gather(*map(async_noop, await numbers(n))))


@DBOS.workflow()
async def naps(n: int) -> int:
    """N waits of a second at once."""
    return await count(await asyncio.gather(*map(nap, range(n))))


@DBOS.workflow()
async def diamond(x: int) -> int:
    """1 → 3 → 1."""
    top = await async_noop(x)
    return await last(*await asyncio.gather(*(async_noop(top) for _ in range(3))))


@DBOS.workflow()
def item(x: int) -> int:
    """Return the input: a workflow that is a step of another one."""
    return x


@DBOS.workflow()
def queued_fan_out(n: int) -> int:
    """1 → n → 1 of child workflows, which any worker takes."""
    handles = [DBOS.enqueue_workflow(QUEUE, item, x) for x in range(n)]
    return len([handle.get_result(polling_interval_sec=POLL) for handle in handles])


def launch(executor: str) -> None:
    """Begin to work as one of the processes of an application."""
    config: DBOSConfig = {
        "name": "bench",
        "system_database_url": os.environ["BENCH_DATABASE"],
        "executor_id": executor,
        "log_level": "ERROR",
    }
    DBOS(config=config)
    DBOS.launch()


def serve(executor: str) -> None:
    """Take workflows from the queue until there is nobody who asks for it."""
    launch(executor)
    DBOS.register_queue(
        QUEUE,
        worker_concurrency=CONCURRENCY,
        polling_interval_sec=POLL,
        on_conflict="always_update",
    )
    print("ready", flush=True)
    sys.stdin.read()
    DBOS.destroy()


@contextmanager
def workers() -> Iterator[list[int]]:
    """Run two worker processes; give their process ids."""
    with ExitStack() as stack:
        running = []
        for number in range(2):
            one = subprocess.Popen(
                [sys.executable, "-m", __spec__.name, "serve", f"worker-{number}"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            stack.enter_context(one)  # closes its stdin, which ends it
            running.append(one)
        for one in running:
            if one.stdout is None or one.stdout.readline() != b"ready\n":
                raise RuntimeError("a worker did not start")
        yield [one.pid for one in running]


def in_process(work: str) -> Iterator[Found]:
    """Do a work in this process."""
    launch("caller")

    def used() -> float:
        return cpu(os.getpid())

    def asynchronous(
        way: str, coroutine: Callable[[], Awaitable[object]], expected: object
    ) -> Found:
        async def once() -> object:
            return await coroutine()

        return measured(way, lambda: same(asyncio.run(once()), expected), used)

    async def diamonds() -> list[int]:
        return await asyncio.gather(*map(diamond, range(200)))

    if work in {"chain", "program"}:
        n = WORKS[work].steps
        yield measured("in the process that calls", lambda: same(chain(n), 0), used)
        yield asynchronous("the same, async", lambda: async_chain(n), 0)
    elif work == "fan_out":
        yield asynchronous("steps gathered in the process that calls", lambda: fan_out(1000), 1000)
    elif work == "diamonds":
        yield asynchronous("gathered in the process that calls", diamonds, list(range(200)))
    else:
        yield asynchronous("steps gathered in the process that calls", lambda: naps(500), 500)
    DBOS.destroy()


def queued(work: str) -> Iterator[Found]:
    """Do a work by a queue, if there is anything parallel in it."""
    if work not in {"fan_out", "diamonds"}:
        return
    with workers() as pids, closing_client() as client:

        def started(name: str, argument: int) -> "WorkflowHandle[int]":
            return client.enqueue({"workflow_name": name, "queue_name": QUEUE}, argument)

        def once() -> list[int]:
            if work == "fan_out":
                handles = [started("queued_fan_out", 1000)]
            else:
                handles = [started("diamond", x) for x in range(200)]
            return [handle.get_result(polling_interval_sec=POLL) for handle in handles]

        expected = [1000] if work == "fan_out" else list(range(200))
        way = "by a queue, 2 processes"
        yield measured(way, lambda: same(once(), expected), lambda: sum(map(cpu, pids)))


@contextmanager
def closing_client() -> Iterator[DBOSClient]:
    """Give a client, and close it."""
    client = DBOSClient(system_database_url=os.environ["BENCH_DATABASE"])
    try:
        yield client
    finally:
        client.destroy()


def main() -> None:
    """Do the work that the command line names, or be one of its workers."""
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
        return
    for way in (in_process, queued):
        for one in way(sys.argv[1]):
            tell(one)


if __name__ == "__main__":
    main()
