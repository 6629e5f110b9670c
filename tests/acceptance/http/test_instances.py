"""An instance outlives its client, the server that has started it, and its worker."""

import json
import os
import signal

import httpx2

from tests.acceptance.http.test_tasks import server
from tests.tools.cluster import Cluster
from tests.tools.playbooks.blueprints import data, node
from tests.tools.waiting import wait_until

ROUNDS = 8


def test_instance_goes_on_whatever_ends_around_it(cluster: Cluster) -> None:
    """Each iteration counts once: none is lost, and none is done twice."""
    loop = node("l", "loop", max_iterations=ROUNDS)
    seen = node("v", "variable", name="seen", value="{{ (seen | default([])) + [iteration] }}")
    blueprint = data("s>l l>v v>w w>l l>e", l=loop, v=seen, w=node("w", "delay", seconds=0.3))

    with cluster.worker("-P", "solo", name="first") as worker, server(cluster, "one") as (url, api):
        made = httpx2.post(f"{url}/api/v2/blueprints", json=blueprint).json()["id"]
        with httpx2.stream("POST", f"{url}/api/v2/blueprints/{made}/stream", timeout=60) as answer:
            lines = (json.loads(line) for line in answer.iter_lines() if line)
            timer = next(one for one in lines if one.get("step", "").startswith("w#"))
            os.killpg(worker.pid, signal.SIGKILL)
            api.send_signal(signal.SIGKILL)
            api.wait(60)
    cluster.lapse()
    instance = timer["instance_id"]
    with cluster.worker("-P", "solo", name="second"), server(cluster, "two") as (url, _):

        def shown() -> dict[str, object]:
            found: dict[str, object] = httpx2.get(f"{url}/api/v2/instances/{instance}").json()
            return found

        wait_until(lambda: shown()["status"] == "completed", what="the instance is completed")
        output = shown()["output_data"]

    assert isinstance(output, dict)
    assert output["seen"] == list(range(1, ROUNDS + 1))
