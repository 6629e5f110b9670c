"""Servers and workers for the benchmarks; the servers are those of the test suite."""

import importlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import redis

from flowq.adapters.records.migrations import migrate
from tests.tools import servers
from tests.tools.servers import postgres, valkey
from tests.tools.session.processes import ForkServer, use

#: Whether the workers of both sides send the events that Flower shows; BENCH_EVENTS=0: they do not.
EVENTS = os.environ.get("BENCH_EVENTS", "1") != "0"


@contextmanager
def infrastructure(**options: str) -> Iterator[str]:
    """Start Valkey and PostgreSQL, put their addresses into the environment; yield PostgreSQL's.

    Args:
        options: Settings of PostgreSQL.
    """
    forks = ForkServer()
    use(forks.folder)  # the test suite starts its servers by one
    with (
        closing(forks),
        valkey() as redis_url,
        postgres(**options) as server,
        tempfile.TemporaryDirectory() as folder,
    ):
        url = servers.database(server, "bench")
        servers.administer(server, "CREATE DATABASE {}", "bench")
        os.environ.update(
            FLOWQ_REDIS_URL=redis_url,
            FLOWQ_DATABASE_URL=url,
            FLOWQ_RESULTS_URL=Path(folder, "results").as_uri(),
            FLOWQ_HOME=folder,
            BENCH_REDIS=redis_url,
        )
        migrate.upgrade(url)
        yield url


@contextmanager
def worker(module: str, pool: str, concurrency: int) -> Iterator[int]:
    """Run a Celery worker; gives its process id."""
    log = Path(os.environ["FLOWQ_HOME"], f"{module}-{pool}.log")
    name = f"{module.rpartition('.')[2]}-{pool}-{time.monotonic_ns()}@bench"
    command = [sys.executable, "-m", "celery", "-A", module, "worker", "-n", name]
    command += ["-P", pool, "-c", str(concurrency), "-l", "WARNING"]
    command += ["--without-mingle", "--without-gossip", *(["-E"] if EVENTS else [])]
    with log.open("wb") as output:
        running = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            _wait_until_ready(name, module, running, log)
            yield running.pid
        finally:
            running.terminate()
            try:
                running.wait(20)
            except subprocess.TimeoutExpired:
                running.kill()


def _wait_until_ready(
    name: str, module: str, running: "subprocess.Popen[bytes]", log: Path
) -> None:
    app = importlib.import_module(module).app
    deadline = time.monotonic() + 60
    while not app.control.ping([name], timeout=0.3):
        if running.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the worker did not start:\n{log.read_text()}")


def memory_mib(pid: int) -> int:
    """Return the largest resident memory of a worker's processes, in MiB."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return max(_peak_mib(one) for one in [str(pid), *children])


def _peak_mib(pid: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) // 1024
    return 0


def redis_client() -> "redis.Redis":
    """Return a client for the benchmark's Valkey."""
    return redis.Redis.from_url(os.environ["BENCH_REDIS"].replace("redis+socket:", "unix:"))
