"""How long the pages of the Flows tab take, with many runs: 100,000, and 1,000,000 steps of theirs.

One run more has a map of 10,000 items, of which every hundredth has failed.

    python -m benchmarks.pages                    fill PostgreSQL, and ask for each page 50 times
    python -m benchmarks.pages 1000               with fewer runs

The rows are made by the server, with the widths and the mixture that rows have in earnest: most
runs completed, one in twelve failed, some going on. Flower runs in a process of its own. A time is
that of the whole answer as a client on the same machine sees it, one request after the other.
"""

import http.client
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uuid_utils.compat as uuids
from sqlalchemy import Connection, create_engine, text

from benchmarks import servers
from flowq.core.spec import FlowSpec, StepSpec
from flowq.entrypoints.flower.pages.run.tabs import TABS
from tests.tools.servers import free_port, process

RUNS = 100_000
STEPS = 10
FLOWS = 50
USERS = 200
REQUESTS = 50
ITEMS = 10_000

#: A UUIDv7 of a moment, by the number of the run; the newest run is a minute old.
_ID = """CAST(lpad(to_hex(CAST(extract(epoch FROM {moment}) * 1000 AS BIGINT)), 12, '0') || '7'
    || substr(md5(n::text), 1, 3) || '8' || substr(md5(n::text), 4, 15) AS UUID)"""
_MOMENT = "now() - interval '1 minute' - (:runs - n) * interval '25 seconds'"
_RUN_ROWS = f"""
INSERT INTO flow_runs (id, user_id, flow_name, status, execution_mode, step_progress, total_steps,
    progress_percentage, created_at, started_at, completed_at, last_heartbeat, total_tokens,
    total_cost, execution_time_ms, inputs, outputs, error_message, spec, priority)
SELECT {_ID.format(moment="moment")}, 'user-' || n % :users, flow, status, 'async',
    CASE WHEN status = 'completed' THEN :steps ELSE n % :steps END, :steps, 0, moment, moment,
    CASE WHEN status <> 'running' THEN moment + ms * interval '1 millisecond' END, moment,
    n % 9000, (n % 9000) * 0.000003, CASE WHEN status <> 'running' THEN ms END,
    json_build_object('topic', repeat(md5(n::text), 6)),
    json_build_object('text', repeat('x', 300)),
    CASE WHEN status = 'failed' THEN 'ModelUnavailable: 503 of the provider, call ' || n END,
    CAST(:spec AS JSON), 0
FROM (
    SELECT n, {_MOMENT} AS moment,
        'reports.flow_' || floor(:flows * power((n * 7919 % 1000) / 1000.0, 3)) AS flow,
        CASE WHEN n > :runs - 40 AND n % 2 = 0 THEN 'running' WHEN n % 12 = 0 THEN 'failed'
            WHEN n % 97 = 0 THEN 'cancelled' ELSE 'completed' END AS status,
        500 + n * 7907 % 90000 AS ms
    FROM generate_series(1, :runs) AS n
) AS made
"""
_STEP_ROWS = """
INSERT INTO flow_step_runs (id, flow_run_id, step_name, step_order, status, inputs, outputs,
    tokens_used, cost_estimate, execution_time_ms, created_at, started_at, completed_at, step_key,
    pending_dependencies, advanced, attempt, recoveries, resends, worker, batch_id)
SELECT CAST(substr(id::text, 1, 24) || substr(md5(id::text || k), 1, 12) AS UUID), id,
    'reports.step_' || k, k,
    CASE WHEN status = 'completed' OR k < 6 THEN 'completed' WHEN k > 6 THEN 'pending'
        ELSE status END,
    json_build_object('part', k), json_build_object('text', repeat('y', 150)),
    total_tokens / :steps, total_cost / :steps, 50 * k, created_at, created_at, completed_at,
    'step_' || k, 0, status <> 'running', 1, 0, 0, 'worker@host:12',
    'n' || replace(id::text, '-', '') || k
FROM flow_runs CROSS JOIN generate_series(1, :steps) AS k
"""
_MAPPED_RUN = """
INSERT INTO flow_runs (id, flow_name, status, execution_mode, step_progress, total_steps,
    progress_percentage, created_at, started_at, total_tokens, total_cost, inputs, spec, priority)
VALUES (:id, 'reports.mapped', 'running', 'async', 0, 1, 0, now(), now(), 0, 0, '{}',
    CAST(:spec AS JSON), 0)
"""
_MAP_ROWS = """
INSERT INTO flow_step_runs (id, flow_run_id, step_name, step_order, status, inputs, tokens_used,
    cost_estimate, execution_time_ms, created_at, started_at, completed_at, step_key,
    pending_dependencies, advanced, attempt, recoveries, resends, worker, map_index, map_size,
    error_type, error_message, step_metadata)
SELECT CAST(substr(r.id::text, 1, 24) || substr(md5('m' || i), 1, 12) AS UUID), r.id,
    'reports.m', 1,
    CASE WHEN i < 0 THEN 'running' WHEN i % 100 = 0 THEN 'failed' ELSE 'completed' END,
    json_build_object('n', i), 7, 0, 1000, r.created_at,
    r.created_at + i * interval '10 milliseconds',
    CASE WHEN i >= 0 THEN r.created_at + (100 + i) * interval '10 milliseconds' END, 'm', 0,
    i >= 0, 1, 0, 0, 'worker@host:12', CASE WHEN i >= 0 THEN i END,
    CASE WHEN i < 0 THEN :items END, CASE WHEN i >= 0 AND i % 100 = 0 THEN 'ValueError' END,
    CASE WHEN i >= 0 AND i % 100 = 0 THEN repeat('no ', 30) END,
    CASE WHEN i >= 0 AND i % 100 = 0
        THEN json_build_object('traceback', repeat('File "x.py", line 3 ', 40), 'item', i) END
FROM flow_runs AS r CROSS JOIN generate_series(-1, :items - 1) AS i
WHERE r.flow_name = 'reports.mapped'
"""


def insert_runs(connection: Connection, runs: int) -> None:
    """Insert runs without their steps."""
    keys = [f"step_{number}" for number in range(1, STEPS + 1)]
    spec = FlowSpec(
        name="reports",
        steps=tuple(
            StepSpec(key=key, name=f"reports.{key}", after=tuple(keys[: number % 3]))
            for number, key in enumerate(keys)
        ),
    )
    given = {"runs": runs, "steps": STEPS, "users": USERS, "flows": FLOWS}
    connection.execute(text(_RUN_ROWS), {**given, "spec": json.dumps(spec.to_json())})


def fill(connection: Connection, runs: int) -> None:
    """Insert runs with their steps."""
    insert_runs(connection, runs)
    connection.execute(text(_STEP_ROWS), {"steps": STEPS})
    mapped = {"name": "reports.mapped", "steps": [{"key": "m", "name": "reports.m"}]}
    connection.execute(text(_MAPPED_RUN), {"id": uuids.uuid7(), "spec": json.dumps(mapped)})
    connection.execute(text(_MAP_ROWS), {"items": ITEMS})


def pages(connection: Connection) -> dict[str, str]:
    """Return the addresses that are asked for, by what they show."""
    middle = connection.execute(
        text("SELECT id FROM flow_runs ORDER BY id OFFSET (SELECT count(*) / 2 FROM flow_runs)")
    ).scalar()
    mapped = connection.execute(
        text("SELECT id FROM flow_runs WHERE flow_name = 'reports.mapped'")
    ).scalar()
    return {
        "newest runs": "/flows",
        "newest runs, strips of 50 flows": "/flows?strips=all",
        "a page in the middle": f"/flows?before={middle}",
        "open runs": "/flows?state=open",
        "failed runs": "/flows?state=failed",
        "runs of a rare flow": "/flows?flow=reports.flow_49",
        "runs of a user": "/flows?user=user-17",
        "failed runs of a user and a flow": "/flows?state=failed&user=user-24&flow=reports.flow_0",
        "runs of the last day": "/flows?within=day",
        "text of an error": "/flows?text=provider",
        "text that nothing has": "/flows?text=nowhere+to+be+found",
        "nothing matches": "/flows?state=paused&user=user-17",
        "a flow": "/flows/by-name/reports.flow_0?window=month",
        **{f"a map of {ITEMS:,}: {tab}": f"/flows/{mapped}/{tab}" for tab in TABS},
        "its items": f"/flows/{mapped}/steps/m",
        "its failed items": f"/flows/{mapped}/steps/m?state=failed",
        "items near its end": f"/flows/{mapped}/steps/m?after={ITEMS - 1_000}",
    }


@contextmanager
def flower() -> Iterator[int]:
    """Run Flower with the tab; gives its port."""
    port, log = free_port(), Path(os.environ["FLOWQ_HOME"], "flower.log")
    command = [sys.executable, "-m", "celery", "-A", "benchmarks.flows", "dashboard"]
    with process([*command, f"--port={port}", "--address=127.0.0.1"], log=log):
        deadline = time.monotonic() + 60
        while True:
            try:
                asked(port, "/flows")
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise RuntimeError(f"Flower did not start:\n{log.read_text()}") from None
                time.sleep(0.1)
        yield port


def asked(port: int, page: str) -> float:
    """Ask for a page; return the milliseconds until it was here."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    started = time.perf_counter()
    connection.request("GET", page)
    answer = connection.getresponse()
    body = answer.read()
    taken = 1000 * (time.perf_counter() - started)
    connection.close()
    if answer.status != 200:
        raise RuntimeError(f"{page}: {answer.status} {body[:200]!r}")
    return taken


def main() -> None:
    """Print a table."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    with servers.infrastructure():
        engine = create_engine(os.environ["FLOWQ_DATABASE_URL"], isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            started = time.perf_counter()
            fill(connection, runs)
            connection.execute(text("VACUUM ANALYZE"))
            taken = time.perf_counter() - started
            print(f"{runs:,} runs, {runs * STEPS:,} steps, filled in {taken:.0f} s")
            addresses = pages(connection)
        engine.dispose()
        print(f"{'page':<36} {'p50':>9} {'p95':>9}   load {os.getloadavg()[0]:.1f}")
        with flower() as port:
            for name, page in addresses.items():
                times = sorted(asked(port, page) for _ in range(REQUESTS))
                p95 = times[int(0.95 * len(times)) - 1]
                middle = statistics.median(times)
                print(f"{name:<36} {middle:>6.0f} ms {p95:>6.0f} ms   {page}", flush=True)
        print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
