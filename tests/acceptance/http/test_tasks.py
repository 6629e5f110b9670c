"""A task outlives the server that has started it, and every reader gets the same frames."""

import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from subprocess import Popen

import httpx2

from tests.tools import servers
from tests.tools.cluster import ROOT, Cluster
from tests.tools.documents import HELLO, HELLO_FRAMES
from tests.tools.http_service import frames, masked
from tests.tools.waiting import wait_until

APP = "flowq.entrypoints.http.app:create_app"


@contextmanager
def server(cluster: Cluster, name: str) -> Iterator[tuple[str, Popen[bytes]]]:
    """Run a server; give its address."""
    port = servers.free_port()
    command = [sys.executable, "-m", "uvicorn", "--factory", "--port", str(port), APP]
    log, url = cluster.folder / f"{name}.log", f"http://127.0.0.1:{port}"
    with servers.process(command, env=cluster.environment, cwd=ROOT, log=log) as running:

        def answers() -> bool:
            assert running.poll() is None, log.read_text()
            try:
                return httpx2.get(f"{url}/health").is_success
            except httpx2.TransportError:
                return False

        wait_until(answers, timeout=60, what=f"{url} answers")
        yield url, running


def test_another_server_sends_every_frame_to_every_reader(cluster: Cluster) -> None:
    with server(cluster, "first") as (url, running):
        task_id = httpx2.post(f"{url}/send_data", json=HELLO).json()["task_id"]
        running.send_signal(signal.SIGKILL)
        running.wait(60)

    with server(cluster, "second") as (url, _), ThreadPoolExecutor(3) as pool:
        streams = [f"{url}/get_data/{task_id}"] * 2 + [f"{url}/v2/get_data/{task_id}"]
        reading = [pool.submit(httpx2.get, stream, timeout=120) for stream in streams]
        wait_until(
            lambda: "RUNNING" == httpx2.get(f"{url}/task_status/{task_id}").json()["status"],
            what="the task is there",
        )
        with cluster.worker("--pool=solo", app="tests.acceptance.apps.bare_app"):
            one, two, typed = [each.result(120) for each in reading]
        late = httpx2.get(streams[0], timeout=60)

        assert HELLO_FRAMES == masked(one.text)
        assert one.content == two.content == late.content
        events = frames(typed.text)
        assert ("WORKFLOW_STARTED", "WORKFLOW_COMPLETED") == (events[0].event, events[-1].event)
        for place in (0, len(events) // 2, len(events) - 2):
            known = {"Last-Event-ID": str(events[place].id)}
            again = httpx2.get(streams[2], headers=known, timeout=60)
            assert events[place + 1 :] == frames(again.text)
