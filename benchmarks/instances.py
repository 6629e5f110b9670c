"""How long lists of instances take, with 100,000 runs: `GET /api/v2/instances`.

    python -m benchmarks.instances            fill PostgreSQL, and ask for each list 50 times
    python -m benchmarks.instances 1000       with fewer runs

Half of the runs are instances, of 500 blueprints with four versions each; the first blueprint has a
tenth of them. The server runs in a process of its own; a time is that of the whole answer as a
client on the same machine sees it.
"""

import json
import os
import statistics
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, create_engine, text

from benchmarks import servers
from benchmarks.pages import RUNS, insert_runs
from tests.tools.servers import free_port, process
from tests.tools.waiting import wait_until

REQUESTS = 50
BLUEPRINTS = 500
VERSIONS = 4

_DOCUMENTS = """
INSERT INTO flow_documents (id, kind, path, version, source, content, sha256, is_template, owner_id,
    visibility, labels, created_at)
SELECT CAST(md5('d' || p || '.' || v) AS UUID), 'blueprint', 'lineage-' || p, v, '{}',
    CAST('{"name": "b", "nodes": [], "edges": []}' AS JSON), repeat('0', 64), false, 'user-17',
    'public', CAST('{"name": "b", "description": "", "nodes": 0}' AS JSON), now()
FROM generate_series(1, :blueprints) AS p CROSS JOIN generate_series(1, :versions) AS v
"""
#: Every second run; every tenth of those is of the first blueprint.
_INSTANCES = """
UPDATE flow_runs SET document_id = CAST(md5('d' || p || '.' || v) AS UUID)
FROM (
    SELECT id AS run_id, CASE WHEN n % 20 = 0 THEN 1 ELSE 2 + n % (:blueprints - 1) END AS p,
        1 + n % :versions AS v
    FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM flow_runs) AS numbered
    WHERE n % 2 = 0
) AS chosen WHERE id = run_id
"""
_RARE = """
UPDATE flow_runs SET document_id = NULL
WHERE id > (SELECT id FROM flow_runs WHERE document_id IS NOT NULL ORDER BY id OFFSET 200 LIMIT 1)
"""


def lists(connection: Connection) -> dict[str, tuple[str, str | None]]:
    """Return paths, and who asks for them, by what they show."""
    ids = "SELECT id FROM flow_documents WHERE path = 'lineage-{}' AND version = 4"
    first, other = (connection.execute(text(ids.format(n))).scalar() for n in (1, 77))
    middle = connection.execute(
        text("SELECT id FROM flow_runs ORDER BY id OFFSET (SELECT count(*) / 2 FROM flow_runs)")
    ).scalar()
    every = "/api/v2/instances"
    return {
        "newest of everybody": (every, None),
        "a page in the middle": (f"{every}?before={middle}", None),
        "failed ones": (f"{every}?status=failed", None),
        "paused ones, there are none": (f"{every}?status=paused", None),
        "of a user": (every, "user-17"),
        "of the largest blueprint": (f"{every}?blueprint_id={first}", None),
        "of another blueprint": (f"{every}?blueprint_id={other}", None),
        "of a blueprint and a user": (f"{every}?blueprint_id={other}", "user-17"),
        "analytics of the largest blueprint": (f"/api/v2/blueprints/{first}/analytics", None),
        "usage of everybody": ("/api/v2/analytics/usage", None),
    }


def measure(port: int, path: str, user: str | None) -> list[float]:
    """Ask for a list, and return the milliseconds of each answer."""
    headers = {"X-User-Id": user} if user else {}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    times = []
    for _ in range(REQUESTS + 3):
        began = time.perf_counter()
        with urllib.request.urlopen(request, timeout=60) as answer:
            json.load(answer)
        times.append((time.perf_counter() - began) * 1000)
    return sorted(times[3:])


@contextmanager
def service() -> Iterator[int]:
    """Run the HTTP service; gives its port."""
    port, log = free_port(), Path(os.environ["FLOWQ_HOME"], "api.log")
    command = [sys.executable, "-m", "flowq.entrypoints.cli", "api", "--port", str(port)]
    with process(command, log=log):
        wait_until(lambda: is_up(port), what="the service answers")
        yield port


def is_up(port: int) -> bool:
    """Return whether the service answers."""
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
    except OSError:
        return False
    return True


def main() -> None:
    """Print two tables: half of the runs are instances, and 200 of the oldest are."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    with servers.infrastructure():
        engine = create_engine(os.environ["FLOWQ_DATABASE_URL"], isolation_level="AUTOCOMMIT")
        with engine.connect() as connection, service() as port:
            insert_runs(connection, runs)
            many = {"blueprints": BLUEPRINTS, "versions": VERSIONS}
            connection.execute(text(_DOCUMENTS), many)
            connection.execute(text(_INSTANCES), many)
            for share in ("half of them are instances", "200 old ones are instances"):
                connection.execute(text("VACUUM ANALYZE"))
                print(f"{runs:,} runs, {share}; load {os.getloadavg()[0]:.1f}")
                for name, (path, user) in lists(connection).items():
                    times = measure(port, path, user)
                    p95, middle = times[int(0.95 * len(times)) - 1], statistics.median(times)
                    print(f"{name:<36} {middle:>6.0f} ms {p95:>6.0f} ms   {path}", flush=True)
                connection.execute(text(_RARE))
        engine.dispose()


if __name__ == "__main__":
    main()
