"""A real Flower with the Flows tab, and clients that listen to its streams as browsers do."""

import http.client
import json
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from flowq.core.ids import RunId
from tests.tools import servers
from tests.tools.cluster import ROOT, Cluster
from tests.tools.waiting import wait_until


@contextmanager
def stream(
    url: str, headers: Mapping[str, str], after: str | None, read: Callable[[Any], None]
) -> Iterator[Any]:
    """Open a stream, and have its answer, which is given, read to the end of the block.

    Args:
        after: Id of the last event that is known, if there is one.
        read: Reads the answer in a thread, until it ends or is closed.
    """
    given = {**headers, **({"Last-Event-ID": after} if after else {})}
    answer = urllib.request.urlopen(urllib.request.Request(url, headers=given), timeout=60)
    thread = threading.Thread(target=read, args=[answer], daemon=True)
    thread.start()
    try:
        yield answer
    finally:
        # It may have ended by itself, or do so now.
        found = getattr(getattr(answer.fp, "raw", None), "_sock", None)
        with suppress(OSError):
            if found is not None:
                found.shutdown(socket.SHUT_RDWR)
        thread.join(60)
        answer.close()


@dataclass
class Client:
    """Listens to a stream and merges what it receives, as a page does."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    id: str = ""
    lines: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    heard: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    ended: bool = False

    @contextmanager
    def listening(self) -> Iterator["Client"]:
        """Listen until the end of the block."""
        with stream(self.url, self.headers, self.id, self._listen) as answer:
            assert "text/event-stream" in answer.headers["Content-Type"]
            yield self

    def _listen(self, answer: Any) -> None:
        try:
            for raw in answer:
                line = raw.decode().rstrip("\n")
                if line.startswith("id: "):
                    self.id = line[4:]
                elif line.startswith("data: "):
                    self._hear(json.loads(line[6:]))
            self.ended = True
        except (OSError, ValueError, http.client.HTTPException):
            return  # it was left in the middle of a piece

    def _hear(self, news: dict[str, Any]) -> None:
        self.heard.append((time.time(), news))
        for kind in ("run", "steps", "runs"):
            for line in news.get(kind, []):
                self.lines[kind, line.get("key") or line.get("id") or ""] = line

    def step(self, key: str) -> dict[str, Any]:
        return self.lines.get(("steps", key), {})

    def run(self, run_id: RunId | None = None) -> dict[str, Any]:
        return self.lines.get(("runs", str(run_id)) if run_id else ("run", ""), {})

    def until(self, what: str, **wanted: Any) -> None:
        """Wait until a line, `run` or a step's key, has these values."""

        def so() -> bool:
            line = self.run() if what == "run" else self.step(what)
            return all(line.get(name) == value for name, value in wanted.items())

        try:
            wait_until(so, timeout=60, what=f"{what} is {wanted}")
        except AssertionError as error:
            raise AssertionError(f"{error}; heard {self.heard[-5:]}") from None


@contextmanager
def flower(
    cluster: Cluster, *options: str, prefix: str = "", port: int = 0, **environment: str
) -> Iterator[str]:
    """Run Flower with the tab; give its address."""
    port = port or servers.free_port()
    log = cluster.folder / f"flower-{uuid4().hex[:6]}.log"
    command = [
        sys.executable,
        "-m",
        "celery",
        "-A",
        "tests.acceptance.apps.worker_app",
        "dashboard",
    ]
    command += ["--address=127.0.0.1", f"--port={port}", f"--url_prefix={prefix}", *options]
    env = {**cluster.environment, **environment}
    url = f"http://127.0.0.1:{port}" + (f"/{prefix}" if prefix else "")
    with servers.serving(command, f"{url}/healthcheck", env=env, cwd=ROOT, log=log):
        yield url
    assert "Traceback" not in log.read_text(), log.read_text()[-4000:]


def code(url: str, **headers: str) -> int:
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
