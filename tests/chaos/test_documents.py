"""F1 for documents: servers and workers are killed, and each client sees its task to the end."""

import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from subprocess import Popen
from typing import Any
from uuid import UUID

import httpx2
import pytest

from flowq.core.ids import RunId
from tests.chaos.harness.documents import chain
from tests.chaos.harness.scenario import Expected, Play, Scenario
from tests.tools import servers
from tests.tools.cluster import ROOT
from tests.tools.http_service import Frame, parse
from tests.tools.waiting import wait_until


class Service:
    """A server on one port, which is started again when it has died."""

    def __init__(self, chaos: Scenario) -> None:
        self._chaos = chaos
        self._stack = ExitStack()
        self._port = servers.free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self.running = self._start()

    def _start(self) -> Popen[bytes]:
        app = "tests.chaos.harness.documents:make"
        command = [sys.executable, "-m", "uvicorn", "--factory", "--port", str(self._port), app]
        environment, log = self._chaos.cluster.environment, self._chaos.cluster.folder / "http.log"
        return self._stack.enter_context(
            servers.process(command, env=environment, cwd=ROOT, log=log)
        )

    def answers(self) -> bool:
        try:
            return httpx2.get(f"{self.url}/health", timeout=5).is_success
        except httpx2.TransportError:
            return False

    def look(self) -> None:
        """Start it again if it has died."""
        if self.running.poll() is not None:
            self.running = self._start()

    def kill(self) -> None:
        """Kill it, if it is up."""
        if self.answers():
            self._chaos.kill(self.running)

    @contextmanager
    def kept_alive(self) -> Iterator[None]:
        with self._stack, self._chaos.monkey(self.look, every=(0.05, 0.1)):
            wait_until(self.answers, timeout=60, what="the server answers")
            yield


def read(url: str, headers: dict[str, str]) -> Iterator[Frame]:
    """Yield the frames of a stream, until it ends or its server dies."""
    try:
        with httpx2.stream("GET", url, headers=headers, timeout=60) as answer:
            block = b""
            for line in answer.iter_lines():
                block += f"{line}\n".encode()
                if not line:
                    found, block = parse(block), b""
                    if found is not None:
                        yield found
    except httpx2.TransportError:
        return


def follow_v1(service: Service, task_id: str) -> list[dict[str, Any]]:
    """Read a task until a stream has ended, each time from its first frame."""

    def ended() -> list[dict[str, Any]] | None:
        frames = [json.loads(one.data) for one in read(f"{service.url}/get_data/{task_id}", {})]
        return frames if frames and frames[-1]["is_complete"] else None

    return wait_until(ended, timeout=600, what=f"task {task_id} ends") or []


def follow_v2(service: Service, task_id: str) -> list[Frame]:
    """Read the events of a task, each time after the last one that has come."""
    events: list[Frame] = []

    def ended() -> bool:
        known = {"Last-Event-ID": str(events[-1].id)} if events else {}
        for one in read(f"{service.url}/v2/get_data/{task_id}", known):
            if one.event == "WORKFLOW_STARTED":
                events.clear()
            events.append(one)
        return bool(events) and events[-1].id == "end"

    wait_until(ended, timeout=600, what=f"task {task_id} ends")
    return events


@pytest.mark.chaos
@pytest.mark.parametrize("documents, length, pause", [(6, 10, 0.5), (200, 3, 0.2)])
def test_kills_of_servers_and_workers_lose_no_frame(
    play: Play, sqlite_url: str, documents: int, length: int, pause: float
) -> None:
    kills = 6 if documents < 100 else 20
    with (
        play(sqlite_url, FLOWQ_MAX_RECOVERIES="50") as chaos,
        chaos.kept_alive(["one", "two"], slots=2) as workers,
    ):
        service = Service(chaos)
        document, contents = chain(length, pause)
        with service.kept_alive(), ThreadPoolExecutor(12) as pool:
            tasks = []
            for _ in range(documents):
                answer = httpx2.post(f"{service.url}/send_data", json=document, timeout=60)
                tasks.append(answer.json()["task_id"])
                chaos.runs[RunId(UUID(tasks[-1]))] = Expected(contents)
            following = [
                (pool.submit(follow_v1, service, task), pool.submit(follow_v2, service, task))
                for task in tasks
            ]

            def kill() -> None:
                if chaos.random.random() < 0.6:
                    service.kill()
                elif (worker := chaos.random.choice(list(workers.values()))).poll() is None:
                    chaos.kill(worker)

            with chaos.monkey(kill, every=(0.5, 1.5)):
                wait_until(
                    lambda: chaos.figures.kills >= kills or not chaos.open_runs(),
                    timeout=600,
                    what=f"{kills} kills",
                )
            read_all = [(frames.result(600), events.result(600)) for frames, events in following]
        chaos.check()
        assert chaos.figures.kills >= 3

    for frames, events in read_all:
        check_v1(frames, contents)
        check_v2(events, contents)


def check_v1(frames: list[dict[str, Any]], contents: dict[str, str]) -> None:
    """Check that a reader has got each content once, in order, and the end."""
    assert [{key: value} for key, value in contents.items()] == [
        frame["data"]["data"] for frame in frames[:-1]
    ]
    assert "COMPLETED" == frames[-1]["task_status"]["status"]


def check_v2(events: list[Frame], contents: dict[str, str]) -> None:
    """Check that a reader has got each event once, and with them each content."""
    assert len({one.id for one in events}) == len(events)
    updated = [json.loads(one.data) for one in events if one.event == "BLOCK_UPDATED"]
    assert contents == {one["block_id"]: one["content"] for one in updated}
    assert len(contents) == len(updated)
    assert ("WORKFLOW_STARTED", "WORKFLOW_COMPLETED") == (events[0].event, events[-1].event)
