"""A graph of LangGraph whose worker dies in the middle of it goes on from its checkpoint."""

import os
import signal
from pathlib import Path

import pytest

from flowq.pipeline.executing.program import nodes
from tests.tools import servers
from tests.tools.cluster import Cluster
from tests.tools.waiting import wait_until

servers.require("langgraph.checkpoint.sqlite")

APP = "tests.acceptance.apps.pipeline_app"
GRAPHS = "tests.integration.pipeline.graphs"


@pytest.mark.parametrize("remembers", ["with a checkpointer", "without"])
def test_a_graph_goes_on_after_a_crash(cluster: Cluster, tmp_path: Path, remembers: str) -> None:
    """With a checkpointer where it was; without one from the beginning."""
    cluster.environment["CHECKPOINTS"] = str(tmp_path / "checkpoints.db")
    saver = f"{GRAPHS}:sqlite_saver" if remembers != "without" else None
    workflow = {
        "name": "crashing",
        "graph": f"{GRAPHS}:crashing",
        "thread": "c1",
        "checkpointer": saver,
    }
    state = {"folder": str(tmp_path), "trail": ["given"]}

    with cluster.worker("--pool=prefork", "--concurrency=1", app=APP, stop=signal.SIGKILL) as one:
        run_id = cluster.submit(nodes, workflow=workflow, state=state)
        wait_until((tmp_path / "tried").exists, what="the node has begun")
        cluster.lapse()  # of the process, which ends itself there
        result = cluster.result(run_id)
        os.killpg(one.pid, signal.SIGKILL)
        one.wait(60)

    assert ["given", "counted", "fragile"] == result["state"]["trail"]
    assert 2 == len((tmp_path / "tried").read_text())
    assert (1 if saver else 2) == len((tmp_path / "counted").read_text())
