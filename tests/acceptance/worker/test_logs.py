"""What steps log in real workers is kept: while they run, when they end, and after a kill."""

import os
import shutil
import signal
from itertools import pairwise
from pathlib import Path

import pytest

from flowq.core.ids import RunId
from flowq.engine.logs import reading
from tests.acceptance.apps.operating import logging_flows as flows
from tests.tools.cluster import PATIENT, Cluster, cluster_on
from tests.tools.waiting import wait_until

APP = "tests.acceptance.apps.operating.logging_flows"
POOLS = {"prefork": ["--pool=prefork"], "threads": ["--pool=threads"]}


@pytest.fixture(params=list(POOLS))
def pool(request: pytest.FixtureRequest) -> list[str]:
    return [*POOLS[request.param], "--concurrency=1"]


def lines(cluster: Cluster, run_id: RunId) -> list[str]:
    found = reading.lines(cluster.engine, run_id)
    return [f"{line.where} {line.level_name} {line.logger} {line.message}" for line in found]


def test_worker_that_ends_has_written_all(
    sqlite_template: Path, tmp_path: Path, pool: list[str]
) -> None:
    url = f"sqlite:///{shutil.copy(sqlite_template, tmp_path / 'flowq.db')}"
    with cluster_on(url, tmp_path, **PATIENT) as cluster:
        with cluster.worker(*pool, app=APP):
            run_id = cluster.submit(flows.many, n=3)
            cluster.result(run_id)

        assert sorted(lines(cluster, run_id)) == [
            f"awaits INFO {APP} awaits 3",
            "says INFO print prints 3",
            f"says INFO {APP} says 3",
            f"says WARNING {APP} of the task 3",
        ]
        log = (tmp_path / "worker.log").read_text()
        assert "prints what nobody keeps" in log
        assert "says 3" in log


@pytest.mark.parametrize("kind", ["gevent", "threads"])
def test_attempts_that_take_turns_in_a_process_have_their_own_lines(
    sqlite_template: Path, tmp_path: Path, kind: str
) -> None:
    url = f"sqlite:///{shutil.copy(sqlite_template, tmp_path / 'flowq.db')}"
    with cluster_on(url, tmp_path, **PATIENT) as cluster:
        with cluster.worker(f"--pool={kind}", "--concurrency=4", app=APP):
            run_id = cluster.submit(flows.together, count=2, folder=str(tmp_path))
            cluster.result(run_id)
        found = reading.lines(cluster.engine, run_id)

    said = [(line.where, line.message) for line in found]
    assert sorted(said) == [(f"takes_turns[{n}]", f"of {n}") for n in (0, 1) for _ in range(20)]
    turns = [one for one, other in pairwise(said) if one != other]
    assert len(turns) > 1, "they ran at the same time"


def test_lines_of_a_killed_worker_are_kept(sqlite_template: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{shutil.copy(sqlite_template, tmp_path / 'flowq.db')}"
    pool = ["--pool=prefork", "--concurrency=1"]
    with cluster_on(url, tmp_path, **PATIENT) as cluster, cluster.worker(*pool, app=APP):
        run_id = cluster.submit(flows.killed, folder=str(tmp_path))
        [first] = wait_until(lambda: lines(cluster, run_id), what="the line is kept while it runs")
        os.kill(int(first.rpartition(" ")[2]), signal.SIGKILL)
        cluster.lapse()

        assert cluster.result(run_id) == 2
        found = wait_until(
            lambda: (all_ := lines(cluster, run_id))[1:] and all_, what="the second attempt logs"
        )

    assert found[0] == first
    assert [f"waits INFO {APP} attempt {n} in" for n in (1, 2)] == [
        line.rpartition(" ")[0] for line in found
    ]
