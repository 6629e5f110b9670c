"""Whatever a step raises on a real worker fails it once, and the worker goes on, in each pool."""

from collections import Counter
from pathlib import Path

import pytest

from tests.acceptance.apps import worker_flows as flows
from tests.tools.cluster import Cluster
from tests.tools.raising import ERRORS, class_of


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo", "gevent"])
def test_what_a_step_raises_fails_it_once(cluster: Cluster, tmp_path: Path, pool: str) -> None:
    names = sorted(ERRORS)
    with cluster.worker(f"--pool={pool}", "--concurrency=2") as worker:
        sync, coroutines = cluster.run(flows.raising, names=names, folder=str(tmp_path), timeout=60)
        assert worker.poll() is None
        assert cluster.run(flows.wide, count=2) == [0, 2]

    assert [item.error for item in sync] == [class_of(name) for name in names]
    assert [item.error for item in coroutines] == [
        class_of(name, in_coroutine=True) for name in names
    ]
    called = Counter((tmp_path / "calls.log").read_text().splitlines())
    assert called == dict.fromkeys(names, 2)
