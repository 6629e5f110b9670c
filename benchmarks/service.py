"""The HTTP service: tasks that are started through it, and readers of their events."""

import asyncio
import http.client
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from benchmarks import documents, flows, servers
from tests.tools.servers import free_port, process
from tests.tools.waiting import wait_until

Row = tuple[str, str, str, str, str]
#: Seconds for which the work of readers without events is measured, after as many; two pings long.
IDLE = 30


@dataclass(frozen=True)
class Service:
    """A server of one process."""

    port: int
    pid: int

    def ask(self, method: str, path: str, body: Any = None) -> bytes:
        """Send one request and return the body of its answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        try:
            sent = None if body is None else json.dumps(body)
            connection.request(method, path, sent, {"content-type": "application/json"})
            answer = connection.getresponse()
            if answer.status >= 400:
                raise RuntimeError(f"{path}: {answer.status} {answer.read()!r}")
            return answer.read()
        finally:
            connection.close()

    def start(self, document: Any) -> str:
        """Start a task and return its id."""
        task: str = json.loads(self.ask("POST", "/send_data", document))["task_id"]
        return task

    def cpu_seconds(self) -> float:
        """Return how long its process has run so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mib(self) -> int:
        """Return its largest resident memory so far."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM"))


@contextmanager
def served() -> Iterator[Service]:
    """Run the service."""
    port = free_port()
    app = "flowq.entrypoints.http.app:create_app"
    command = [sys.executable, "-m", "uvicorn", "--factory", "--port", str(port), app]
    log = Path(os.environ["FLOWQ_HOME"], "http.log")
    with process([*command, "--log-level", "warning"], env=dict(os.environ), log=log) as running:
        service = Service(port, running.pid)

        def answers() -> bool:
            try:
                return bool(service.ask("GET", "/health"))
            except OSError:
                return False

        wait_until(answers, what="the service answers")
        yield service


def p95_ms(work: Callable[[], object], count: int) -> float:
    """Return in how many milliseconds 95 % of some calls are done."""
    times = []
    for _ in range(count):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.quantiles(times, n=20)[-1] * 1000


def rate(work: Callable[[], object], count: int, clients: int) -> float:
    """Return how many calls per second some clients make together."""
    with ThreadPoolExecutor(clients) as pool:
        began = time.perf_counter()
        for future in [pool.submit(work) for _ in range(count)]:
            future.result()
        return count / (time.perf_counter() - began)


@dataclass(frozen=True)
class Read:
    """What one reader has received.

    Attributes:
        ended: When its stream has ended, on the clock of the benchmark.
        digest: Of all frames.
        arrived: Its parts, with the times at which they came.
    """

    ended: float
    digest: str
    arrived: Sequence[tuple[float, bytes]]

    def delays(self) -> list[float]:
        """Return the seconds from each EDGE_COMPLETED to its arrival."""
        found, rest = [], b""
        for at, part in self.arrived:
            *whole, rest = (rest + part).split(b"\n\n")
            for each in whole:
                if each.startswith(b"event: EDGE_COMPLETED"):
                    data = json.loads(each.split(b"\ndata: ")[1].partition(b"\n")[0])
                    found.append(at - datetime.fromisoformat(data["timestamp"]).timestamp())
        return sorted(found)


async def _read(port: int, path: str) -> Read:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
    request = f"GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n"  # whose answer has no chunks
    writer.write(request.encode())
    await reader.readuntil(b"\r\n\r\n")
    arrived: list[tuple[float, bytes]] = []
    while part := await reader.read(2**16):
        arrived.append((time.time(), part))
    writer.close()
    ended, body = time.perf_counter(), b"".join(part for _, part in arrived)
    return Read(ended, sha256(body).hexdigest(), arrived)


def followed(service: Service, document: Any, readers: int) -> tuple[float, list[Read]]:
    """Start a task with some readers; return how long the last one took, and all."""

    async def follow() -> tuple[float, list[Read]]:
        began = time.perf_counter()
        task = await asyncio.to_thread(service.start, document)
        path = f"/v2/get_data/{task}"
        found = await asyncio.gather(*[_read(service.port, path) for _ in range(readers)])
        return max(each.ended for each in found) - began, list(found)

    return asyncio.run(follow())


def idle_percent(service: Service, tasks: Sequence[str], readers: int) -> float:
    """Return how much of a core readers take while nothing happens."""

    async def wait() -> float:
        paths = [f"/v2/get_data/{tasks[number % len(tasks)]}" for number in range(readers)]
        reading = [asyncio.create_task(_read(service.port, path)) for path in paths]
        await asyncio.sleep(IDLE)  # all are connected, and have what there is
        began = service.cpu_seconds()
        await asyncio.sleep(IDLE)
        used = service.cpu_seconds() - began
        if any(each.done() for each in reading):
            raise RuntimeError("a reader has left")
        for each in reading:
            each.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
        return 100 * used / IDLE

    return asyncio.run(wait())


def rows() -> Iterator[Row]:
    """Start tasks over HTTP beside the Python client, and follow one with many readers."""
    small, graph = documents.chains(4, 5), {"count": 4, "length": 5}
    with served() as running:
        # No worker yet: only the starts are measured.
        python = p95_ms(lambda: flows.chains.enqueue(**graph), 100)
        posted = p95_ms(lambda: running.start(small), 100)
        times = f"{python:.1f} ms", f"{posted:.1f} ms", f"{posted / python:.2f}x"
        yield ("POST of 20 edges, p95, against enqueue", *times, "<= 3x")
        began = time.perf_counter()
        flows.chains.enqueue_many([graph] * 400)
        many = 400 / (time.perf_counter() - began)
        clients = rate(lambda: running.start(small), 400, 20)
        rates = f"{many:.0f}/s", f"{clients:.0f}/s", f"{clients / many:.2f}x"
        yield ("POSTs of 20 clients, against enqueue_many", *rates, ">= 0.6x")
        idle = idle_percent(running, [running.start(small) for _ in range(50)], 1_000)
        yield (
            "1,000 readers of 50 runs without events",
            "",
            f"{idle:.1f} %",
            "",
            "< 2 % of a core",
        )
    with servers.worker("benchmarks.flows", "prefork", 2), served() as running:
        document = documents.chains(50, 10)
        running.ask("GET", f"/get_data/{running.start(document)}")
        one, (alone,) = followed(running, document, 1)
        before = running.memory_mib()
        all_, readers = followed(running, document, 200)
        more = running.memory_mib() - before
    note = f"+{more} MiB, {len({each.digest for each in readers})} digest"
    yield (
        "200 readers of 500 edges, against 1",
        f"{one:.2f} s",
        f"{all_:.2f} s",
        f"{all_ / one:.2f}x",
        f"<= 1.5x, +40 MiB; {note}",
    )
    delays = alone.delays()
    delay = delays[int(len(delays) * 0.95)]
    yield ("EDGE_COMPLETED to its reader, p95", "", f"{delay:.2f} s", "", "<= 0.5 s")
