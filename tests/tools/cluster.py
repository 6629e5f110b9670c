"""Real workers: processes of their own on a real broker and database, ended by their ids."""

import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from subprocess import Popen
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import Any

import redis
import uuid_utils.compat as uuids
from celery import Celery
from celery.events import EventReceiver
from sqlalchemy import update

from flowq.adapters.dispatch.app import make_app
from flowq.adapters.dispatch.celery import CeleryDispatcher
from flowq.adapters.embedded import EmbeddedValkey
from flowq.adapters.events.memory import MemoryEvents
from flowq.adapters.records.database import SqlRecords
from flowq.adapters.records.sql.tables import FlowStepRun
from flowq.adapters.results.objects import open_store
from flowq.authoring.definitions.flows import Flow
from flowq.core.ids import RunId
from flowq.core.states import TERMINAL_RUN_STATES, RunState
from flowq.engine.advance.finish import output
from flowq.engine.engine import Engine, Policies
from flowq.engine.model.rows import RunView, StepView
from flowq.engine.registry.registry import registry
from flowq.engine.results.store import ResultStore
from flowq.engine.runs import submission
from tests.tools import servers
from tests.tools.waiting import wait_until

ROOT = Path(__file__).parents[2]
#: Everything that waits for a period does so soon.
QUICK = {
    "FLOWQ_SWEEP_SECONDS": "0.3",
    "FLOWQ_RESEND_SECONDS": "1.5",
    "FLOWQ_LEASE_SECONDS": "3",
}
#: No lease is lost, however busy the machine is. What needs the loss of one calls `Cluster.lapse`.
PATIENT = {"FLOWQ_LEASE_SECONDS": "600"}
_LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass
class Cluster:
    """A broker, a database and a folder for large results; and this process as their client."""

    redis_url: str
    database_url: str
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        results_url = (self.folder / "results").as_uri()
        self.environment = {
            **os.environ,
            **QUICK,
            "FLOWQ_HOME": str(self.folder / "home"),
            "FLOWQ_REDIS_URL": self.redis_url,
            "FLOWQ_DATABASE_URL": self.database_url,
            "FLOWQ_RESULTS_URL": results_url,
            "PYTHONPATH": str(ROOT),
            **self.environment,
        }
        self.app: Celery = make_app("client", self.redis_url)
        self.records = SqlRecords(self.database_url)
        self.engine = Engine(
            records=self.records,
            results=ResultStore(None, lambda: open_store(results_url), 1024 * 1024),
            dispatcher=CeleryDispatcher(self.app),
            events=MemoryEvents(),
            registry=registry,
            new_id=uuids.uuid7,
            chance=lambda: 0.0,
            worker="client",
            policies=Policies(resend_after=timedelta(seconds=1.5)),
        )

    def close(self) -> None:
        """Close the connections of this process."""
        self.records.close()
        self.app.close()

    @property
    def redis(self) -> Any:
        """A client of the broker."""
        return redis.Redis.from_url(self.redis_url.replace("redis+socket://", "unix://"))

    def submit(self, flow: Flow[..., Any], **inputs: Any) -> RunId:
        """Submit a run."""
        return submission.submit(self.engine, flow.type, inputs)

    def view(self, run_id: RunId) -> RunView:
        """The run as it stands now."""
        view = self.records.autocommit(lambda tx: tx.runs.view(run_id))
        assert view is not None
        return view

    def step(self, run_id: RunId, key: str) -> StepView:
        """One step of it."""
        return next(step for step in self.view(run_id).steps if step.key == key)

    def wait(self, run_id: RunId, *, timeout: float = 60) -> RunView:
        """Wait until a run has ended."""

        def ended() -> bool:
            status = self.records.autocommit(lambda tx: tx.runs.status(run_id))
            return status in TERMINAL_RUN_STATES

        try:
            wait_until(ended, timeout=timeout, what=f"run {run_id} ends")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.view(run_id)}\n{self.logs()}") from None
        return self.view(run_id)

    def run(self, flow: Flow[..., Any], *, timeout: float = 60, **inputs: Any) -> Any:
        """Submit a run, wait for it and return its output."""
        return self.result(self.submit(flow, **inputs), timeout=timeout)

    def result(self, run_id: RunId, *, timeout: float = 60) -> Any:
        """Wait for a run that has to complete, and return its output."""
        view = self.wait(run_id, timeout=timeout)
        assert view.status is RunState.COMPLETED, f"{view.error}\n{self.logs()}"
        return output(self.engine, self.engine.definitions.get(run_id).definition)

    def lapse(self) -> None:
        """Let every lease expire now, as if its worker had been silent for the time of it."""
        self._turn_back(lease_expires_at=_LONG_AGO)

    def wake(self) -> None:
        """Let all that sleeps be due now."""
        self._turn_back(wake_at=_LONG_AGO)

    def _turn_back(self, **times: datetime) -> None:
        given = [getattr(FlowStepRun, name).is_not(None) for name in times]
        with self.records.engine.begin() as connection:
            connection.execute(update(FlowStepRun).where(*given).values(**times))

    def logs(self) -> str:
        """The ends of what its workers have said."""
        return "\n".join(
            f"--- {log.name}\n{log.read_text()[-3000:]}"
            for log in sorted(self.folder.glob("*.log"))
        )

    @contextmanager
    def worker(
        self,
        *options: str,
        name: str = "worker",
        app: str = "tests.acceptance.apps.worker_app",
        environment: Mapping[str, str] | None = None,
        stop: signal.Signals = signal.SIGTERM,
        may_die: bool = False,
    ) -> Iterator[Popen[bytes]]:
        """Run a worker, from when it is ready; `stop` ends it.

        Args:
            may_die: Whether it may have died by then, of a fault that the test has asked for.
        """
        log = self.folder / f"{name}.log"
        command = [sys.executable, "-m", "celery", "-A", app, "worker", "--loglevel=INFO"]
        command += ["--without-mingle", "--without-gossip", f"--hostname={name}@here", *options]
        env = {**self.environment, **(environment or {})}
        log.unlink(missing_ok=True)
        with servers.process(command, env=env, cwd=ROOT, log=log, stop=stop) as running:
            wait_until(
                lambda: running.poll() is not None or f"{name}@here ready" in log.read_text(),
                timeout=180,
                what=f"worker {name} is ready: {log.read_text()}",
            )
            assert may_die or running.poll() is None, log.read_text()
            yield running

    @contextmanager
    def events(self) -> Iterator[list[dict[str, Any]]]:
        """Listen to what workers tell Flower."""
        heard: list[dict[str, Any]] = []
        broken: list[BaseException] = []
        listening = Event()
        app = make_app("listener", self.redis_url)
        handlers = {"*": heard.append, "test-probe": lambda _: listening.set()}
        with app.connection_for_read() as connection, app.events.default_dispatcher() as probe:
            receiver = EventReceiver(connection, app=app, handlers=handlers)

            def listen() -> None:
                try:
                    for _ in receiver.itercapture(limit=None, timeout=None, wakeup=False):
                        pass
                except BaseException as error:  # noqa: BLE001 - raised where it was asked for
                    broken.append(error)

            thread = Thread(target=listen, daemon=True)
            thread.start()

            def hears() -> bool:
                probe.send("test-probe")
                return listening.wait(0.1)

            wait_until(hears, what="events are heard")
            try:
                yield heard
            except AssertionError as error:
                kinds = Counter(one["type"] for one in heard)
                error.add_note(f"heard: {kinds}; still listening: {thread.is_alive()}")
                raise
            finally:
                receiver.should_stop = True
                thread.join(60)
                for fault in broken:
                    raise fault


@contextmanager
def cluster_on(database_url: str, folder: Path, **environment: str) -> Iterator[Cluster]:
    """Run a broker and make a cluster of it and a database."""
    with servers.valkey() as url:
        cluster = Cluster(url, database_url, folder, dict(environment))
        yield cluster
        cluster.close()


@contextmanager
def cluster_with_redis(database_url: str, folder: Path) -> Iterator[tuple[Cluster, EmbeddedValkey]]:
    """Make a cluster of a database and a broker of its own, which a test may stop and start."""
    with TemporaryDirectory(prefix="flowq-redis-") as home, ExitStack() as stack:
        valkey = EmbeddedValkey(Path(home))
        stack.callback(valkey.stop)
        valkey.ensure()
        cluster = Cluster(valkey.url, database_url, folder)
        stack.callback(cluster.close)
        yield cluster, valkey
