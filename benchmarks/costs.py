"""What one step costs each server, counted: the figures behind `docs/operations/scaling.md`.

    make bench ARGS=costs                   one line for each work
    python -m benchmarks.costs --json       the same as JSON, for a test; `--steps 200` does fewer

Statements, commands and bytes are read from the servers' own counters before and after the work,
so they hold on any machine, however busy: no sweeper runs meanwhile, whose statements depend on the
time and not on the steps. A statement of SQL takes one round trip, or less where several rows are
inserted together; BEGIN and COMMIT are statements. CPU time depends on the machine. Space on disk
is that of tables and indexes, with all that a step leaves in them.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Final

import psycopg
import redis
from sqlalchemy import make_url

from benchmarks import servers
from benchmarks.processes import cpu, parent
from benchmarks.turns import Row
from tests.tools.servers import conninfo

STEPS: Final = 1_000
_MODULE: Final = "benchmarks.flows"
#: The counter of the command that sends one message.
_PUBLISH: Final = "cmdstat_lpush"


@dataclass(frozen=True)
class Cost:
    """What servers were used for: in all, or by one step on average.

    Attributes:
        statements: Of SQL, and so many round trips.
        wal: Bytes of PostgreSQL's write-ahead log.
        disk: Bytes of its tables and indexes.
        messages: To workers.
        commands: Of Redis, all together.
        worker: Milliseconds of CPU time of the worker's processes.
        postgres: The same of PostgreSQL's.
        redis: The same of Redis.
    """

    statements: float
    wal: float
    disk: float
    messages: float
    commands: float
    worker: float
    postgres: float
    redis: float

    def per_step(self, later: "Cost", steps: int) -> "Cost":
        """Return what a step has cost from this moment to a later one."""
        before, after = asdict(self), asdict(later)
        return Cost(**{name: (after[name] - before[name]) / steps for name in before})

    def row(self, work: str, steps: int) -> Row:
        """Return a row of the table of all parts."""
        return (
            f"{work}, {steps:,} steps: per step",
            f"{self.statements:.2f} SQL",
            f"{self.messages:.2f} messages",
            f"{self.wal / 1000:.2f} kB",
            (
                f"WAL; {self.disk / 1000:.2f} kB on disk; {self.commands:.1f} Redis commands; CPU: "
                f"worker {self.worker:.2f} ms, PostgreSQL {self.postgres:.2f}, "
                f"Redis {self.redis:.2f}"
            ),
        )


def works(steps: int) -> dict[str, Callable[[], Any]]:
    """Return what is measured, by name; each does a number of steps."""
    from benchmarks import flows

    diamonds = [{"x": number} for number in range(steps // 5)]
    return {
        "1 -> n -> 1": lambda: flows.fan_out.enqueue(n=steps - 2).result(timeout=600),
        "chain": lambda: flows.chain.enqueue(n=steps).result(timeout=600),
        "diamonds of 5": lambda: [
            run.result(timeout=600) for run in flows.diamond.enqueue_many(diamonds)
        ],
        "program": lambda: flows.program.enqueue(n=steps).result(timeout=600),
        "program, local steps": lambda: flows.local_program.enqueue(n=steps).result(timeout=600),
    }


def measured(steps: int = STEPS) -> Iterator[tuple[str, Cost]]:
    """Yield what a step costs, for each work, on a worker of two processes."""
    with _servers() as (database, client), servers.worker(_MODULE, "prefork", 2) as worker:
        for name, work in works(steps).items():
            work()
            before = _read(database, client, worker)
            work()
            yield name, before.per_step(_read(database, client, worker), steps)


def rows() -> Iterator[Row]:
    """Yield a row for each work; in a process of its own, since its servers are others."""
    program = [sys.executable, "-m", "benchmarks.costs", "--json"]
    found = subprocess.run(program, check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout
    for name, cost in json.loads(found).items():
        yield Cost(**cost).row(name, STEPS)


@contextmanager
def _servers() -> Iterator[tuple["psycopg.Connection[Any]", "redis.Redis"]]:
    """Yield connections to servers of their own, whose PostgreSQL counts statements."""
    os.environ["FLOWQ_SWEEP_SECONDS"] = "3600"
    counting = {"shared_preload_libraries": "pg_stat_statements", "autovacuum": "off"}
    with servers.infrastructure(**counting) as url:
        client = servers.redis_client()
        with psycopg.connect(conninfo(make_url(url)), autocommit=True) as database:
            database.execute("CREATE EXTENSION pg_stat_statements")
            yield database, client


def _read(database: "psycopg.Connection[Any]", client: "redis.Redis", worker: int) -> Cost:
    _settle(database)
    (statements,) = _one(
        database,
        "SELECT coalesce(sum(calls), 0) FROM pg_stat_statements"
        " WHERE query NOT LIKE '%pg\\_%' AND dbid ="
        " (SELECT oid FROM pg_database WHERE datname = current_database())",
    )
    wal, disk, backend = _one(
        database,
        "SELECT pg_current_wal_insert_lsn() - '0/0',"
        " (SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relkind = 'r'"
        "  AND relnamespace = 'public'::regnamespace), pg_backend_pid()",
    )
    commands: dict[str, dict[str, float]] = client.info("commandstats")
    used: dict[str, float] = client.info("cpu")
    return Cost(
        statements=int(statements),
        wal=int(wal),
        disk=int(disk),
        messages=int(commands[_PUBLISH]["calls"]) if _PUBLISH in commands else 0,
        commands=sum(int(each["calls"]) for each in commands.values()),
        worker=cpu(worker) * 1000,
        postgres=cpu(parent(backend)) * 1000,
        redis=(used["used_cpu_sys"] + used["used_cpu_user"]) * 1000,
    )


def _settle(database: "psycopg.Connection[Any]") -> None:
    """Wait until nothing is written any more: a run's last events and rows follow its end."""
    deadline = time.monotonic() + 10
    query = "SELECT pg_current_wal_insert_lsn()"
    last, seen = _one(database, query), 0
    while seen < 3 and time.monotonic() < deadline:
        time.sleep(0.1)
        now = _one(database, query)
        last, seen = now, seen + 1 if now == last else 0


def _one(database: "psycopg.Connection[Any]", query: str) -> Any:
    return database.execute(query.encode()).fetchone()


def main() -> None:
    """Print what was counted as JSON, by work."""
    parser = argparse.ArgumentParser(description="What one step costs each server, as JSON.")
    parser.add_argument("--json", action="store_true", required=True)
    parser.add_argument("--steps", type=int, default=STEPS)
    given = parser.parse_args()
    print(json.dumps({name: asdict(cost) for name, cost in measured(given.steps)}))


if __name__ == "__main__":
    main()
