"""DBOS, celery-director and Prefect beside flowq, on the same PostgreSQL and Valkey.

Each work is done by one engine after the other, with nothing else of the bench running; each engine
has its environment, its database and its workers to itself. The middle one of the rounds counts,
and the least and the most stand beside it. What another engine runs stands in `NAME_work.py`.
"""

import os
import statistics
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import TimeoutExpired
from typing import Any

from sqlalchemy import make_url

from benchmarks import servers
from benchmarks.peers.environments import Environment, NotInstalledError, environment
from benchmarks.peers.protocol import WORKS, Found, Work, measured, same, told
from benchmarks.processes import cpu
from tests.tools.servers import administer, process

#: The engines by the names of their packages, with those of their programs.
PEERS = {"dbos": "dbos_work", "celery-director": "director_work", "prefect": "prefect_work"}
_ROOT = Path(__file__).parents[2]
_LONGEST = 1_800  # seconds that one work of one engine may take


def table() -> None:
    """Measure all works on all engines, and print the table of docs/project/benchmarks.md."""
    installed = dict(_installed())
    began = _load()
    print("\n| work | engine | rate or time | CPU time per step | flowq's rate against it |")
    print("|---|---|---|---|---|", flush=True)
    for name, work in WORKS.items():
        base = 0.0
        for engine, found in _found(name, installed):
            base = base or _rate(found, work)
            print(_row(work, engine, found, base), flush=True)
    print(f"\nProcesses that were ready or running: {began} before, {_load()} after.", flush=True)


def _installed() -> Iterator[tuple[str, Environment]]:
    """Yield the engines that can be measured; say which, and why others cannot."""
    for package in PEERS:
        try:
            made = environment(package)
        except NotInstalledError as error:
            print(f"{package}: not measured, {error}", flush=True)
        else:
            print(f"{package} {made.version}", flush=True)
            _database(package)
            yield package, made


def _found(name: str, installed: dict[str, Environment]) -> Iterator[tuple[str, Found]]:
    """Yield what flowq needs for a work, in each way, and then the others."""
    for engine, found in _OURS[name]():
        yield engine, found
    for package, made in installed.items():
        try:
            for found in _asked(package, made, name):
                yield package, found
        except (RuntimeError, TimeoutExpired) as error:
            print(f"{package} did not do {name!r}: {error}", file=sys.stderr, flush=True)


def _asked(package: str, made: Environment, work: str) -> list[Found]:
    """Let an engine do a work; return what its program says."""
    home = Path(os.environ["FLOWQ_HOME"], package)
    home.mkdir(exist_ok=True)
    given = os.environ | {
        "BENCH_DATABASE": _database_url(package),
        "BENCH_HOME": str(home),
        "PYTHONPATH": str(_ROOT),
    }
    command = [str(made.python), "-m", f"benchmarks.peers.{PEERS[package]}", work]
    log = home / f"{work}.log"
    with process(command, env=given, cwd=home, log=log) as running:
        failed = running.wait(_LONGEST)
    lines = log.read_text().splitlines()
    if failed:
        raise RuntimeError("\n".join(lines[-5:]))
    return list(told(lines))


def _database_url(package: str) -> str:
    url = make_url(os.environ["FLOWQ_DATABASE_URL"])
    url = url.set(drivername="postgresql", database=f"bench-{package}")
    return url.render_as_string(hide_password=False)


def _database(package: str) -> None:
    """Make a database of its own for an engine."""
    server = make_url(os.environ["FLOWQ_DATABASE_URL"]).set(database="postgres")
    administer(server, "CREATE DATABASE {}", f"bench-{package}")


def _flowq(way: str, pool: str, concurrency: int, work: Callable[[], object]) -> Found:
    with servers.worker("benchmarks.flows", pool, concurrency) as pid:
        return measured(way, work, lambda: cpu(pid))


def _result(flow: str, expected: object, n: int) -> Callable[[], None]:
    """Return work that runs a flow of `n` steps and looks at its result."""
    from benchmarks import flows

    def work() -> None:
        same(getattr(flows, flow).enqueue(n=n).result(timeout=300), expected)

    return work


def _chain() -> Iterator[tuple[str, Found]]:
    yield "flowq", _flowq("2 processes", "prefork", 2, _result("chain", 0, 100))


def _fan_out() -> Iterator[tuple[str, Found]]:
    yield "flowq", _flowq("2 processes", "prefork", 2, _result("fan_out", 1000, 1000))


def _diamonds() -> Iterator[tuple[str, Found]]:
    from benchmarks import flows

    many: list[dict[str, Any]] = [{"x": x} for x in range(200)]

    def work() -> None:
        runs = flows.diamond.enqueue_many(many)
        same([run.result(timeout=300) for run in runs], list(range(200)))

    yield "flowq", _flowq("2 processes", "prefork", 2, work)


def _naps() -> Iterator[tuple[str, Found]]:
    from benchmarks import raw

    yield "flowq", _flowq("one process", "threads", 500, _result("naps", 500, 500))
    with servers.worker("benchmarks.raw", "gevent", 500) as pid:
        yield (
            "plain Celery",
            measured(
                "gevent, one process, nothing recorded",
                lambda: same(raw.naps(500).apply_async().get(timeout=120), 500),
                lambda: cpu(pid),
            ),
        )


def _program() -> Iterator[tuple[str, Found]]:
    yield "flowq", _flowq("local steps", "prefork", 2, _result("local_program", 0, 1000))
    yield "flowq", _flowq("steps, 2 processes", "prefork", 2, _result("program", 0, 1000))


_OURS: dict[str, Callable[[], Iterator[tuple[str, Found]]]] = {
    "chain": _chain,
    "fan_out": _fan_out,
    "diamonds": _diamonds,
    "naps": _naps,
    "program": _program,
}


def _steps(found: Found, work: Work) -> int:
    return found.steps or work.steps


def _rate(found: Found, work: Work) -> float:
    """Return the steps per second of the middle round."""
    return _steps(found, work) / statistics.median(found.seconds)


def _row(work: Work, engine: str, found: Found, base: float) -> str:
    """Return a line of the table.

    Args:
        work: What was done.
        engine: By whom.
        found: What it has taken.
        base: The rate of the way of flowq that comes first.
    """
    steps = _steps(found, work)
    least, most = min(found.seconds), max(found.seconds)
    middle = statistics.median(found.seconds)
    if work is WORKS["naps"]:
        taken = f"{middle:.2f} s ({least:.2f} to {most:.2f})"
    else:
        taken = f"{steps / middle:.0f} steps/s ({steps / most:.0f} to {steps / least:.0f})"
    title = work.title if steps == work.steps else f"{work.title}; here {steps}"
    rounds = f"{found.way}; {len(found.seconds)} rounds"
    used = f"{statistics.median(found.cpu) / steps * 1000:.2f} ms"
    against = f"{base / _rate(found, work):.2f}x"
    return f"| {title} | {engine}: {rounds} | {taken} | {used} | {against} |"


def _load() -> str:
    return f"{os.getloadavg()[0]:.1f}"
