"""`flowq api` as it is deployed: killed, started again in several processes; Redis is emptied."""

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen

import httpx2

from tests.tools import servers
from tests.tools.cluster import ROOT, Cluster
from tests.tools.http_service import Frame, Listener
from tests.tools.session.processes import run
from tests.tools.waiting import wait_until

APP = "tests.acceptance.apps.http_flows"
API = [sys.executable, "-m", "flowq.entrypoints.cli", "api"]


@contextmanager
def api(cluster: Cluster, port: int, *options: str) -> Iterator[Popen[bytes]]:
    """Run the service, from when it answers."""
    log, url = cluster.folder / "api.log", f"http://127.0.0.1:{port}/health"
    command = [*API, APP, "--port", str(port), *options]
    with servers.process(command, env=cluster.environment, cwd=ROOT, log=log) as running:

        def answers() -> bool:
            assert running.poll() is None, log.read_text()
            try:
                return httpx2.get(url).is_success
            except httpx2.TransportError:
                return False

        wait_until(answers, timeout=60, what=f"{url} answers")
        yield running


def ended_steps(frames: list[Frame]) -> list[str]:
    return [json.loads(one.data)["step"] for one in frames if one.event == "STEP_COMPLETED"]


def test_reader_loses_nothing_whatever_ends_under_it(cluster: Cluster, tmp_path: Path) -> None:
    port = servers.free_port()
    address = f"http://127.0.0.1:{port}/api"
    body = {"inputs": {"folder": str(tmp_path), "count": 6}}

    def let_go(*numbers: int) -> None:
        for number in numbers:
            (tmp_path / str(number)).touch()

    with cluster.worker("--pool=solo", app=APP):
        with api(cluster, port) as running:
            run_id = httpx2.post(f"{address}/flows/tests.relay/runs", json=body).json()["id"]
            listener = Listener(f"{address}/runs/{run_id}/events")
            with listener.listening():
                let_go(0, 1)
                listener.until("STEP_COMPLETED", 2)
                running.send_signal(signal.SIGKILL)
                running.wait(60)
                wait_until(lambda: listener.ended, what="the connection ends")
            listener.ended = False
        let_go(2)
        with api(cluster, port, "--workers", "2"):
            with listener.listening():
                let_go(3)
                listener.until("STEP_COMPLETED", 4)
                listener.until("STEP_STARTED", 5)  # then nothing happens until a step is let go
            assert [f"s{number}" for number in range(4)] == ended_steps(listener.frames)
            assert 1 == listener.names.count("WORKFLOW_STARTED")

            received = len(listener.frames)
            cluster.redis.delete(f"flowq:run:{run_id}:events")
        with api(cluster, port):
            with listener.listening():
                let_go(4, 5)
                listener.until("WORKFLOW_COMPLETED")
            again = listener.frames[received:]
            assert "WORKFLOW_STARTED" == again[0].event
            assert sorted(f"s{number}" for number in range(6)) == sorted(ended_steps(again))
            answer = httpx2.get(f"{address}/runs/{run_id}/result?wait=30", timeout=60)
            assert {"result": f"{tmp_path}/5"} == answer.json()


def test_what_is_wrong_is_said_before_anything_is_served(cluster: Cluster) -> None:
    for arguments, said in [
        (["--host", "0.0.0.0"], "FLOWQ_HTTP_AUTH=tokens"),
        (["no_such_file.py"], "there is no file no_such_file.py"),
    ]:
        done = run([*API, *arguments], env=cluster.environment, cwd=ROOT)
        assert 2 == done.returncode
        assert said in done.stderr
