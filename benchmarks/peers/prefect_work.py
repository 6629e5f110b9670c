"""The works as Prefect does them: flows of tasks, recorded by a Prefect server in PostgreSQL.

The server is a process of its own, as it is in production; the mode without one is off. A flow
runs in this process: its tasks one after the other by a call, many by `map` on the default task
runner, which has a thread for each, and `async` ones by `gather`. A deployment would start a new
process for each run of a flow; that is not measured. The CPU time is that of both processes, since
the server does what the workers of others do themselves. Both log warnings only, as those do.
"""

import asyncio
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.peers.protocol import Found, measured, same, tell
from benchmarks.processes import cpu

with socket.socket() as listener:
    listener.bind(("127.0.0.1", 0))
    PORT: int = listener.getsockname()[1]
os.environ |= {
    "PREFECT_HOME": os.environ["BENCH_HOME"],
    "PREFECT_API_URL": f"http://127.0.0.1:{PORT}/api",
    "PREFECT_SERVER_DATABASE_CONNECTION_URL": os.environ["BENCH_DATABASE"].replace(
        "postgresql:", "postgresql+asyncpg:"
    ),
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_LEVEL": "WARNING",
    "PREFECT_LOGGING_SERVER_LEVEL": "WARNING",
}

from prefect import flow, task  # it reads the settings when it is imported

#: Awaiting 1,000 steps takes minutes, so the program is a shorter one.
PROGRAM_STEPS = 100


@task
def noop(x: int) -> int:
    """Return the input."""
    return x


@task
async def async_noop(x: int) -> int:
    """Return the input."""
    return x


@task
async def nap(x: int) -> int:
    """Wait for a second."""
    await asyncio.sleep(1)
    return x


@task
def numbers(n: int) -> list[int]:
    """Return a list to map over."""
    return list(range(n))


@task
def count(xs: list[int]) -> int:
    """Return how many there are."""
    return len(xs)


@task
async def last(a: int, b: int, c: int) -> int:
    """Join three."""
    return max(a, b, c)


@flow
def chain(n: int) -> int:
    """A chain of n."""
    value = 0
    for _ in range(n):
        value = noop(value)
    return value


@flow
async def async_chain(n: int) -> int:
    """A chain of n."""
    value = 0
    for _ in range(n):
        value = await async_noop(value)
    return value


@flow
def fan_out(n: int) -> int:
    """1 → n → 1."""
    return count(noop.map(numbers(n)).result())


@flow
async def naps(n: int) -> int:
    """N waits of a second at once."""
    return len(await asyncio.gather(*(nap(x) for x in range(n))))


@flow
async def diamond(x: int) -> int:
    """1 → 3 → 1."""
    top = await async_noop(x)
    return await last(*await asyncio.gather(*(async_noop(top) for _ in range(3))))


async def diamonds(n: int) -> list[int]:
    """N runs at once."""
    return list(await asyncio.gather(*(diamond(x) for x in range(n))))


@contextmanager
def server() -> Iterator[None]:
    """Run a Prefect server, a child of this process."""
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1"]
    with Path(os.environ["BENCH_HOME"], "server.log").open("wb") as log:
        running = subprocess.Popen([*command, "--port", str(PORT)], stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + 180
            while not _answers():
                if running.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the server did not start: see {log.name}")
                time.sleep(0.1)
            yield
        finally:
            running.terminate()
            running.wait(60)


def _answers() -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/api/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return False


def found(work: str, used: Callable[[], float]) -> Iterator[Found]:
    """Do a work in each of its ways."""
    if work == "chain":
        yield measured("tasks called", lambda: same(chain(100), 0), used)
    elif work == "program":
        n = PROGRAM_STEPS
        yield measured("tasks called", lambda: same(chain(n), 0), used, n)
        yield measured("async tasks awaited", lambda: same(asyncio.run(async_chain(n)), 0), used, n)
    elif work == "fan_out":
        yield measured("map on threads", lambda: same(fan_out(1000), 1000), used)
    elif work == "diamonds":
        expected = list(range(200))
        yield measured(
            "flows gathered in one process",
            lambda: same(asyncio.run(diamonds(200)), expected),
            used,
        )
    else:
        yield measured("async tasks gathered", lambda: same(asyncio.run(naps(500)), 500), used)


def main() -> None:
    """Do the work that the command line names."""
    with server():
        for one in found(sys.argv[1], lambda: cpu(os.getpid())):
            tell(one)


if __name__ == "__main__":
    main()
