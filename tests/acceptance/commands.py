"""Commands as a person types them: real processes, in a folder of their own."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import httpx2

from flowq.adapters.embedded import EmbeddedValkey
from tests.tools import servers
from tests.tools.session.processes import Process, run
from tests.tools.waiting import wait_until

ROOT = Path(__file__).parents[2]
FLOWQ = [sys.executable, "-m", "flowq.entrypoints.cli"]

#: The first frame of an error that nothing has caught, in a process that was started either way.
_UNCAUGHT = re.compile(
    r'^Traceback \(most recent call last\):\n  File "(<frozen runpy>|.*/forkserver.py)"',
    re.MULTILINE,
)
FLOWS = """
import time
from pathlib import Path

from flowq import flow, step


@step
def numbers(n: int) -> list[int]:
    return list(range(n))


@step(retries=1, retry_delay=0.01)
def double(x: int) -> int:
    if x == 1 and step.context().attempt == 1:
        raise OSError("not yet")
    return 2 * x


@step
def picky(x: int) -> int:
    if x == 2:
        raise ValueError(f"{x} is not for me")
    return x


@step
def add(xs: list[int]) -> int:
    return sum(xs)


@step
def greenlets() -> bool:
    import socket

    return socket.socket.__module__.startswith("gevent")


@flow
def green() -> bool:
    return greenlets()


@step
def wait_for(file: str) -> str:
    while not Path(file).exists():
        time.sleep(0.01)
    return "it came"


@flow
def good(n: int) -> int:
    return add(double.map(numbers(n)))


@flow
def bad(n: int = 4) -> int:
    return add(picky.map(numbers(n)))


@flow
def patient(file: str) -> str:
    return wait_for(file)
"""


@dataclass
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, as one JSON document."""
        return json.loads(self.out)


@dataclass
class Shell:
    """A folder with `flows.py`, and the environment in which commands are typed there.

    Attributes:
        cold: Whether each process starts from nothing: see `tests.tools.session.processes`.
    """

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    cold: bool = False

    def __post_init__(self) -> None:
        # How wide a terminal is does not matter where there is none; some runners set it.
        own = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("FLOWQ_") and name != "COLUMNS"
        }
        self.environment = own | {"PYTHONPATH": str(ROOT), **self.environment}
        (self.folder / "flows.py").write_text(FLOWS)

    @property
    def home(self) -> Path:
        return Path(self.environment.get("FLOWQ_HOME", self.folder / ".flowq"))

    def flowq(self, *arguments: str, **variables: str) -> Done:
        """Type `flowq …` and wait for its end."""
        environment = self.environment | variables
        done = run([*FLOWQ, *arguments], cwd=self.folder, env=environment, cold=self.cold)
        assert not _UNCAUGHT.search(done.stderr), done.stderr
        return Done(done.returncode, done.stdout, done.stderr)

    def until(self, words: str, *arguments: str) -> Done:
        """Type `flowq …` until it prints these words, and return that.

        A command that asks workers waits a second for them; a busy machine may take longer.
        """

        def typed() -> Done | None:
            done = self.flowq(*arguments)
            return done if words in done.out else None

        return cast("Done", wait_until(typed, what=f"flowq {arguments} prints {words!r}"))

    def python(self, code: str, *, given: str = "") -> str:
        """Run code in this folder; see `python`."""
        return python(code, self.environment, folder=self.folder, given=given, cold=self.cold)

    @contextmanager
    def begun(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """Type `flowq …` and look at it while it runs."""
        process = Process[str](
            [*FLOWQ, *arguments],
            cold=self.cold,
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    @contextmanager
    def worker(
        self, *options: str, target: str = "flows.py", name: str = "worker"
    ) -> Iterator[Path]:
        """Have a worker that is ready; gives its log."""
        log = self.folder / f"{name}.log"
        command = [*FLOWQ, "worker", target, "--concurrency", "1", *options]
        with servers.process(command, cwd=self.folder, env=self.environment, log=log) as process:

            def is_ready() -> bool:
                assert process.poll() is None, log.read_text()
                return "ready." in log.read_text()

            wait_until(is_ready, timeout=60, what="the worker is ready")
            yield log

    @contextmanager
    def flower(self, *options: str, target: str = "flows.py") -> Iterator[str]:
        """Have a Flower with the Flows tab; gives its address."""
        with self.flower_of([*FLOWQ, "flower", target], *options) as address:
            yield address

    @contextmanager
    def flower_of(self, command: list[str], *options: str) -> Iterator[str]:
        """Have a Flower that a command starts; gives its address, with its prefix."""
        port, log = servers.free_port(), self.folder / "flower.log"
        prefix = "".join(
            "/" + option.partition("=")[2] for option in options if "url_prefix" in option
        )
        address = f"http://127.0.0.1:{port}{prefix}"
        command = [*command, f"--port={port}", "--address=127.0.0.1", *options]
        health = f"{address}/healthcheck"
        with servers.serving(command, health, env=self.environment, cwd=self.folder, log=log):
            yield address

    def stop_server(self) -> None:
        """End the embedded server of this folder, if there is one."""
        EmbeddedValkey(self.home).stop()


def hears(flower: str, login: tuple[str, str] | None = None) -> None:
    """Wait until a Flower hears a worker: of a task that ends before it never learns."""

    def has_heard() -> bool:
        answer = httpx2.get(f"{flower}/metrics", auth=login)
        assert answer.is_success, answer.text
        return "flower_events_total{" in answer.text

    wait_until(has_heard, what="Flower hears a worker")


def python(
    code: str,
    environment: Mapping[str, str],
    *,
    folder: Path = ROOT,
    given: str = "",
    cold: bool = False,
) -> str:
    """Run code in a process of its own, where warnings are errors; return what it prints."""
    command = [sys.executable, "-W", "error", "-c", code]
    done = run(command, cwd=folder, env=environment, given=given, cold=cold)
    assert 0 == done.returncode, done.stderr
    return done.stdout.strip()


def interrupt(process: subprocess.Popen[str]) -> Done:
    """Press Ctrl-C, and wait for the end."""
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    return Done(process.returncode, out, err)
