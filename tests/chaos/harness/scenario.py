"""One scenario: servers, workers that are killed, runs whose outcome is known, and what is checked.

However a scenario ends, the same must hold: every run has ended with the right result; every
completed step has left an effect, and no attempt two; every step and run was recorded once and
never changed after; the rows fit each other. What was measured becomes one line of the report.
"""

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from random import Random
from subprocess import Popen
from threading import Event, Thread
from typing import Any, TypeAlias
from uuid import UUID

from sqlalchemy import NullPool, create_engine, make_url, text

from flowq.authoring.definitions.flows import Flow
from flowq.core.ids import RunId
from flowq.core.states import TERMINAL_RUN_STATES, RunState
from flowq.engine.advance.finish import output
from flowq.engine.sweeper.invariants import check as invariants
from tests.chaos.harness import audit
from tests.chaos.harness.breakable import children
from tests.chaos.harness.flows import LEDGER
from tests.tools.cluster import Cluster
from tests.tools.faults.points import FaultPoint
from tests.tools.waiting import wait_until

LEASE = 2.0
RESEND = 2.0
SWEEP = 0.3
#: The points that every worker passes; cancels and pauses come from elsewhere, and nothing is
#: deleted here.
POINTS = sorted(
    set(FaultPoint)
    - {FaultPoint.BEFORE_CANCEL, FaultPoint.AFTER_CANCEL}
    - {FaultPoint.BEFORE_PAUSE, FaultPoint.AFTER_PAUSE}
    - {FaultPoint.BEFORE_RESUME, FaultPoint.AFTER_RESUME}
    - {FaultPoint.AFTER_DELETE, FaultPoint.BEFORE_COLLECT}
)
#: What a scenario sets lower than anyone should in production.
HASTE = {
    "FLOWQ_LEASE_SECONDS": str(LEASE),
    "FLOWQ_RESEND_SECONDS": str(RESEND),
    "FLOWQ_RESEND_MAX_SECONDS": str(2 * RESEND),
    "FLOWQ_SWEEP_SECONDS": str(SWEEP),
}


@dataclass
class Figures:
    """A line of the report."""

    scenario: str
    runs: int = 0
    kills: int = 0
    duplicates: int = 0  #: Attempts of a step beyond its first.
    lost: int = 0  #: Runs that did not end.
    doubled: int = 0  #: Records that were written twice, or changed after their end.
    recovery: float | None = None  #: Seconds; see `Scenario.slowest_recovery`.
    seconds: float = 0.0
    ok: bool = False
    note: str = ""  #: What else was measured, for people.


@dataclass(frozen=True)
class Expected:
    """What a run has to come to: an output, or a state and a part of its error.

    Attributes:
        accepts: Looks at an output that cannot be foretold to the letter.
        may_be_cancelled: It may also end as cancelled.
    """

    output: Any = None
    accepts: Callable[[Any], bool] | None = None
    status: RunState = RunState.COMPLETED
    error: str = ""
    may_be_cancelled: bool = False


@dataclass
class Scenario:
    """A cluster whose workers and servers are about to suffer.

    Attributes:
        seed: Of every dice in it.
        deaths: When each process was killed or stopped, by its id; seconds since 1970.
    """

    name: str
    cluster: Cluster
    seed: int
    figures: Figures
    deaths: dict[int, float] = field(default_factory=dict)
    runs: dict[RunId, Expected] = field(default_factory=dict)
    _workers: ExitStack = field(default_factory=ExitStack)
    _outages: list[float] = field(default_factory=list)
    _are_replaced: bool = False  #: Whether one that dies as soon as it is ready does no harm.

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self.folder = self.cluster.folder / "scenario"
        self.folder.mkdir()
        # Without a pool: a scenario may end every connection there is.
        url = make_url(self.cluster.database_url)
        patience = {"timeout": 60} if url.get_backend_name() == "sqlite" else {}
        self.engine = create_engine(url, poolclass=NullPool, connect_args=patience)
        audit.install(self.engine)

    @property
    def ledger(self) -> Path:
        """The file that the steps write to."""
        return Path(self.cluster.environment[LEDGER])

    def worker(
        self, name: str = "worker", *options: str, pool: str = "prefork", slots: int = 2, **env: str
    ) -> Popen[bytes]:
        """Start a worker, which lives until the scenario ends; return when it is ready."""
        options = (f"--pool={pool}", f"--concurrency={slots}", *options)
        return self._workers.enter_context(
            self.cluster.worker(
                *options,
                name=name,
                app="tests.chaos.harness.app",
                environment=env,
                stop=signal.SIGKILL,
                may_die=self._are_replaced,
            )
        )

    @contextmanager
    def kept_alive(self, names: Sequence[str], **options: Any) -> Iterator[dict[str, Popen[bytes]]]:
        """Have workers that are started again when they have died, as a service manager does."""
        born = Counter(names)
        self._are_replaced = True
        alive = {name: self.worker(f"{name}-1", **options) for name in names}

        def look() -> None:
            for name, worker in list(alive.items()):
                if worker.poll() is not None:
                    born[name] += 1
                    alive[name] = self.worker(f"{name}-{born[name]}", **options)

        with self.monkey(look, every=(0.05, 0.1)):
            yield alive

    def submit(self, flow: Flow[..., Any], expected: Any, **inputs: Any) -> RunId:
        """Submit a run of which the outcome is known."""
        if not isinstance(expected, Expected):
            expected = Expected(expected)
        run_id = self.cluster.submit(flow, **inputs)
        self.runs[run_id] = expected
        return run_id

    # --- Breaking ----------------------------------------------------------------------------

    def kill(self, worker: Popen[bytes]) -> None:
        """Kill a worker with its children, as a power cut does."""
        self._dies(worker.pid, *children(worker.pid))
        with suppress(ProcessLookupError):  # it has just died of something else
            os.killpg(worker.pid, signal.SIGKILL)
        worker.wait(60)

    def kill_main(self, worker: Popen[bytes]) -> None:
        """Kill a worker's main process alone; its children are orphans."""
        self._dies(worker.pid)
        worker.kill()
        worker.wait(60)

    def kill_child(self, pid: int) -> None:
        """Kill one child process."""
        self._dies(pid)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def freeze(self, worker: Popen[bytes]) -> None:
        """Stop a worker and its children (SIGSTOP), though not in a write to SQLite.

        Whoever stops there keeps the lock of the file, so that all stop: docs/concepts/faults.md.
        """
        with self.engine.connect() as connection:
            if connection.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN IMMEDIATE")  # now nobody else is in a write
            self._dies(worker.pid, *children(worker.pid))
            os.killpg(worker.pid, signal.SIGSTOP)

    def thaw(self, worker: Popen[bytes]) -> None:
        """Let a frozen worker go on."""
        os.killpg(worker.pid, signal.SIGCONT)

    def _dies(self, *pids: int) -> None:
        self.deaths |= dict.fromkeys(pids, time.time())
        self.figures.kills += 1

    @contextmanager
    def outage(self) -> Iterator[None]:
        """Mark the time in which something is away; what comes after it is the recovery."""
        yield
        self._outages.append(time.time())

    def pause(self, seconds: float) -> None:
        """Let a fault last: its length is what is tested."""
        time.sleep(seconds)

    @contextmanager
    def monkey(self, deed: Callable[[], None], *, every: tuple[float, float]) -> Iterator[None]:
        """Do something again and again beside the block, at times that the seed decides."""
        over = Event()
        failures: list[BaseException] = []

        def play() -> None:
            while not over.wait(self.random.uniform(*every)):
                try:
                    deed()
                except BaseException as error:  # noqa: BLE001 - raised again below
                    failures.append(error)
                    return

        thread = Thread(target=play, name="monkey", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(300)  # it may be starting a worker
        if failures:
            raise failures[0]

    def wait_for_file(self, pattern: str, *, timeout: float = 120) -> Path:
        """Wait until a step has made a file in the scenario's folder."""
        found = wait_until(
            lambda: sorted(self.folder.glob(pattern)), timeout=timeout, what=f"there is {pattern}"
        )
        return found[-1]

    def faults(self) -> list[str]:
        """Return the points where CHAOS_FAULTS with `@2` has struck."""
        folder = Path(self.cluster.environment["FLOWQ_HOME"]) / "faults"
        return sorted(one.name[:-2].partition("-")[2] for one in folder.glob("*.2"))

    # --- Checking ----------------------------------------------------------------------------

    def check(self, *, timeout: float = 300) -> None:
        """Wait until every run has ended, and hold everything against what must be so."""
        self.figures.runs = len(self.runs)
        try:
            wait_until(lambda: not self.open_runs(), timeout=timeout, what="all runs end")
        finally:
            self._measure()
        for run_id, expected in self.runs.items():
            view = self.cluster.view(run_id)
            if expected.may_be_cancelled and view.status is RunState.CANCELLED:
                continue
            assert view.status is expected.status, (view.error, view)
            if expected.status is RunState.COMPLETED:
                definition = self.cluster.engine.definitions.get(run_id).definition
                found = output(self.cluster.engine, definition)
                accepted = expected.accepts or expected.output.__eq__
                assert accepted(found), (found, expected)
            else:
                assert expected.error in str(view.error)
        twice = audit.recorded_twice(audit.read(self.engine))
        assert twice == [], "\n".join(twice)
        caps = int(self.cluster.environment.get("FLOWQ_MAX_RECOVERIES", "5"))
        broken = invariants(self.cluster.records, grace=timedelta(0), max_recoveries=caps)
        assert broken == []
        self._check_ledger()

    def open_runs(self) -> list[RunId]:
        """Return the runs that have not ended, child runs too."""
        with self.engine.connect() as connection:
            rows = connection.execute(text("SELECT id, status FROM flow_runs")).all()
        return [RunId(UUID(str(row[0]))) for row in rows if row[1] not in TERMINAL_RUN_STATES]

    def effects(self) -> list[dict[str, Any]]:
        """Return what the steps have written to the ledger."""
        if not self.ledger.exists():
            return []
        return [json.loads(line) for line in self.ledger.read_text().splitlines()]

    def _check_ledger(self) -> None:
        effects = self.effects()
        attempts = Counter((one["step"], one["attempt"]) for one in effects)
        assert [one for one, count in attempts.items() if count > 1] == [], "an attempt ran twice"
        query = text(
            "SELECT id, step_key, map_index FROM flow_step_runs WHERE status = 'completed'"
            " AND map_size IS NULL AND (observed IS NULL OR spec IS NOT NULL)"  # no program
            " AND coalesce(CAST(spec AS TEXT), '') NOT LIKE '%\"timer\"%'"
            " AND coalesce(CAST(spec AS TEXT), '') NOT LIKE '%\"signal\"%'"
            " AND llm_request_id IS NULL AND id NOT IN"  # models keep their own account
            " (SELECT parent_step_run_id FROM flow_runs WHERE parent_step_run_id IS NOT NULL)"
        )
        with self.engine.connect() as connection:
            rows = connection.execute(query).all()
        had = {one["step"] for one in effects}
        without = [tuple(row) for row in rows if str(row[0]).replace("-", "") not in had]
        assert without == [], "completed without having run"

    def _measure(self) -> None:
        changes = audit.read(self.engine)
        effects = self.effects()
        self.figures.lost = len(self.open_runs())
        self.figures.doubled = len(audit.recorded_twice(changes))
        self.figures.duplicates = len(effects) - len({one["step"] for one in effects})
        self.figures.recovery = self.slowest_recovery(changes)

    def slowest_recovery(self, changes: list[audit.Change]) -> float | None:
        """Return the longest time that something took to go on, in seconds.

        After a kill: until each step that died with it was attempted again. After an outage: until
        any step was.
        """
        claims = [one.at for one in changes if one.kind == "step" and one.after == "running"]
        after = [
            min((at - end for at in claims if at >= end), default=None) for end in self._outages
        ]
        known = [seconds for seconds in after if seconds is not None]
        return max([*known, *audit.recoveries(changes, self.deaths)], default=None)

    def close(self) -> None:
        """End the workers, also frozen ones."""
        self._workers.close()
        self.cluster.close()


#: The fixture that plays a scenario on a database.
Play: TypeAlias = Callable[..., AbstractContextManager[Scenario]]


@contextmanager
def scenario(
    name: str,
    report: list[Figures],
    *,
    redis_url: str,
    database_url: str,
    folder: Path,
    seed: int,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Scenario]:
    """Play a scenario; its figures go into the report, its logs to whoever sees it fail."""
    given = {**HASTE, LEDGER: str(folder / "ledger.jsonl"), **(environment or {})}
    figures = Figures(name)
    report.append(figures)
    began = time.monotonic()
    played = Scenario(name, Cluster(redis_url, database_url, folder, given), seed, figures)
    try:
        yield played
        figures.ok = True
    except BaseException as error:
        states = [str(played.cluster.view(run_id)) for run_id in played.open_runs()[:3]]
        note = [f"seed {seed}: FLOWQ_CHAOS_SEED={seed} repeats it", *states, played.cluster.logs()]
        error.add_note("\n".join(note))
        raise
    finally:
        figures.seconds = time.monotonic() - began
        played.close()


def as_json(report: list[Figures]) -> str:
    """Return the report for a machine."""
    return json.dumps([asdict(one) for one in report], indent=2)


def as_table(report: list[Figures]) -> list[str]:
    """Return the report for a person."""
    width = max(len(one.scenario) for one in report)
    head = f"{'scenario':{width}}  runs  kills  duplicates  lost  doubled  recovery     time"
    lines = [head, "-" * len(head)]
    for one in report:
        recovery = "-" if one.recovery is None else f"{one.recovery:.1f} s"
        lines.append(
            f"{one.scenario:{width}}  {one.runs:4}  {one.kills:5}  {one.duplicates:10}"
            f"  {one.lost:4}  {one.doubled:7}  {recovery:>8}  {one.seconds:5.1f} s"
            f"{'' if one.ok else '  FAILED'}"
        )
    return lines + [f"{one.scenario}: {one.note}" for one in report if one.note]
