"""All ports of the engine: what it asks of the world, in its own words.

    Records       the rows: the truth about runs and steps        adapters/records
    Cache         small results, for a while                      adapters/results/redis.py
    ObjectStore   large results                                   adapters/results/objects.py
    Dispatcher    sends batches to workers                        adapters/dispatch
    Events        tells those who wait for a run                  adapters/events

Some have a file of their own: what finds rows that contradict each other, `invariant_port`, and
what the sweeper asks, `sweep_port`.

Each port has one contract suite under tests/contract that every adapter passes. The values that go
through them stand in `rows`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol, TypeVar

from flowq.core.ids import BatchId, LeaseToken, RunId, StepRunId
from flowq.core.states import RunState, StepState
from flowq.engine.cancel_port import RunCancels, StepCancels
from flowq.engine.invariant_port import Invariants
from flowq.engine.return_port import StepReturns
from flowq.engine.rows import (
    Batch,
    Claim,
    Definition,
    ListedObject,
    Message,
    NewRun,
    NewStep,
    Outcome,
    RunEnding,
    RunView,
    StepPlace,
    StoredStep,
    Together,
)
from flowq.engine.sweep_port import Sweeps

T = TypeVar("T")


class Cache(Protocol):
    """Keeps small values for a limited time; may forget any of them at any moment."""

    def put(self, key: str, data: bytes) -> None:
        """Keep `data` under `key`. Never raises for a cache that is away: the row has the value."""

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the values in the order of `keys`; None for what is not there."""


class ObjectStore(Protocol):
    """Keeps large values under keys, durably."""

    def put(self, key: str, data: bytes | Path) -> None:
        """Write an object, streaming when `data` is a file.

        Raises:
            StoreUnavailable: the store refuses or does not answer.
        """

    def get(self, key: str) -> bytes:
        """Read an object whole.

        Raises:
            ResultMissing: there is none.
            StoreUnavailable: the store refuses or does not answer.
        """

    def stream(self, key: str) -> Iterator[bytes]:
        """Read an object in parts of a few MiB; raises as `get`."""

    def delete(self, keys: Sequence[str]) -> None:
        """Delete objects; one that is not there is no error."""

    def size(self, key: str) -> int | None:
        """Size of an object in bytes; None when there is none. Raises `StoreUnavailable`."""

    def list(self, prefix: str, *, after: str = "") -> Iterator[Sequence[ListedObject]]:
        """Give the objects under a prefix page by page, in the order of their keys.

        Args:
            prefix: Leading parts of keys, whole ones.
            after: Begin behind this key.

        Raises:
            StoreUnavailable: the store refuses or does not answer, between two pages too.
        """

    def check(self) -> None:
        """Write, read and delete a small object; raises `StoreUnavailable`."""


class Dispatcher(Protocol):
    """Sends step runs to workers. May lose or double what it sends: the records are the truth."""

    def send(self, batches: Sequence[Batch]) -> None:
        """Send batches.

        Raises:
            RedisUnavailable: nothing, or not everything, was sent.
        """

    def send_advance(self, batches: Sequence[BatchId]) -> None:
        """Ask a worker to advance these batches; raises as `send`."""

    def send_collect(self) -> None:
        """Ask a worker to delete what is old; raises as `send`."""

    def queue_of(self, message: Message) -> str:
        """Name of the queue that a message goes to."""

    def depth(self, queue: str) -> int:
        """How many messages wait in a queue; raises as `send`."""


class Events(Protocol):
    """Wakes those who wait. May stay silent: the records are the truth."""

    def run_ended(self, run_id: RunId) -> None:
        """Wake whoever waits for a run; never raises."""

    def listening(self, run_id: RunId) -> AbstractContextManager[Callable[[float], None]]:
        """Give a function that waits for the end of a run, for so many seconds at most."""


class RunRows(RunCancels, Protocol):
    """Guarded reads and writes of runs, within one transaction."""

    def insert(self, runs: Sequence[NewRun], resend_after: timedelta) -> set[RunId]:
        """Insert runs with their steps, but for those whose id or idempotency key is taken.

        Args:
            runs: The runs.
            resend_after: When a step that is queued at once is due to be sent again.

        Returns:
            The ids of those that were inserted.
        """

    def with_keys(
        self, flow_name: str, keys: Sequence[str]
    ) -> dict[str, tuple[RunId, Mapping[str, Any]]]:
        """From the idempotency keys that runs of a flow have to the run and its inputs."""

    def among(self, run_ids: Sequence[RunId]) -> set[RunId]:
        """Those of the ids that runs have."""

    def definition(self, run_id: RunId) -> Definition | None:
        """Read what never changes about a run."""

    def status(self, run_id: RunId) -> RunState | None:
        """Read the state of a run."""

    def find(self, text: str) -> list[tuple[RunId, str]]:
        """Runs whose id begins with `text`, a few at most, with the names of their flows."""

    def view(self, run_id: RunId) -> RunView | None:
        """A run with its steps as they stand now."""

    def views(
        self, *, status: RunState | None = None, flow_name: str | None = None, limit: int = 50
    ) -> list[RunView]:
        """The newest runs, without their steps."""

    def stop(self, run_id: RunId, *, error: str | None = None) -> bool:
        """→ `cancelling`: nothing new begins. Keeps the first error."""

    def ending(self, run_id: RunId) -> RunEnding | None:
        """What decides whether, and how, a run is at its end."""

    def close(
        self,
        run_id: RunId,
        state: RunState,
        *,
        outputs: Any = None,
        outputs_of: str | None = None,
        error: str | None = None,
        if_clean: bool = False,
    ) -> bool:
        """Close a run with its totals, progress and time, in one statement.

        Args:
            run_id: The run.
            state: How it ended.
            outputs: What it returned, for people to read.
            outputs_of: Or the key of the step whose recorded outputs these are.
            error: Why it failed; an error that is recorded already is kept.
            if_clean: Only if all its steps have ended and none has failed.

        Returns:
            False when the run is closed already.
        """

    def roll_up(self, run_id: RunId) -> bool:
        """Write progress and totals of a run that is going on."""


class StepRows(StepCancels, StepReturns, Protocol):
    """Guarded reads and writes of step runs, within one transaction."""

    def claim(
        self,
        step_id: StepRunId,
        *,
        token: LeaseToken,
        lease: timedelta,
        worker: str,
        reads: Sequence[str] = (),
    ) -> Claim | None:
        """Take one attempt of a queued, or due retrying, step of a running run.

        Args:
            step_id: The step run.
            token: Token of the new lease.
            lease: Length of the lease.
            worker: Who takes it.
            reads: Keys of nodes of the same run, to be returned in `Claim.rows`.
        """

    def complete(self, claim: Claim, outcome: Outcome, *, advanced: bool) -> bool:
        """`running` → `completed`, if the lease still holds."""

    def fail(self, claim: Claim, outcome: Outcome, *, advanced: bool) -> bool:
        """`running` → `failed`, if the lease still holds."""

    def retry(
        self, claim: Claim, outcome: Outcome, delay: timedelta, *, recovered: bool = False
    ) -> bool:
        """`running` → `retrying` until `delay` from now, if the lease still holds.

        When `recovered`, the attempt counts as a recovery and not as a failure of the step.
        """

    def wait(self, claim: Claim) -> bool:
        """`running` → `waiting` for a child run, if the lease still holds."""

    def end_waiting(self, step_id: StepRunId, state: StepState, outcome: Outcome) -> bool:
        """`waiting` → `completed` or `failed`; False when it is not waiting."""

    def settle(
        self,
        run_id: RunId,
        keys: Sequence[str],
        state: StepState,
        *,
        reason: str | None = None,
        map_size: int | None = None,
    ) -> list[str]:
        """End nodes that need no attempt (skipped, cancelled, failed, completed maps).

        They count as advanced: the caller goes on with their dependents in the same transaction.

        Returns:
            The keys that this call has ended.
        """

    def queue(
        self,
        run_id: RunId,
        batch: BatchId,
        keys: Sequence[str],
        resend_after: timedelta,
        *,
        ended: int = 0,
    ) -> list[str]:
        """`pending` → `queued` for nodes whose open dependencies are `ended` that just ended.

        Returns:
            The keys that this call has queued.
        """

    def node(self, step_id: StepRunId) -> StepPlace | None:
        """Where a step run stands."""

    def expand(
        self,
        run_id: RunId,
        key: str,
        items: Sequence[NewStep],
        batch: BatchId,
        resend_after: timedelta,
    ) -> bool:
        """`pending` → `running` for a map, with its items as `queued`; False when done before."""

    def advance(
        self, run_id: RunId, batch: BatchId | None, keys: Sequence[str] | None = None
    ) -> dict[str, StepState]:
        """Mark ended nodes, of a batch or by key, as advanced; returns those this call marked."""

    def release(self, run_id: RunId, counts: Mapping[str, int]) -> list[str]:
        """Count ended dependencies down.

        Args:
            run_id: The run.
            counts: From a step's key to how many of its dependencies have just ended.

        Returns:
            Keys of pending steps that now have no open dependency.
        """

    def ready(self, run_id: RunId) -> list[str]:
        """Keys of all pending steps without open dependencies."""

    def states(self, run_id: RunId, keys: Iterable[str]) -> dict[str, StepState]:
        """States of nodes (for a map: of the map, not of its items)."""

    def cancel_open(self, run_id: RunId, key: str | None = None) -> int:
        """Cancel every step of a run, or every item of one map, that no worker holds."""

    def has_open(self, run_id: RunId, key: str | None = None) -> bool:
        """Tell whether any step of the run, or any item of one map, has not ended."""

    def counts(self, run_id: RunId, key: str) -> dict[StepState, int]:
        """How many items of a map are in each state."""

    def failed(self, run_id: RunId) -> list[StoredStep]:
        """The failed nodes of a run, first failure first."""

    def first_failed_item(self, run_id: RunId, key: str) -> StoredStep | None:
        """The item of a map that failed first."""

    def stored(self, run_id: RunId, keys: Sequence[str]) -> list[StoredStep]:
        """Nodes by key, as readers of results see them."""

    def item(self, run_id: RunId, key: str, index: int) -> StoredStep | None:
        """One item of a map."""

    def items(self, run_id: RunId, key: str) -> list[StoredStep]:
        """All items of a map, in order."""

    def copies(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Durable copies of small results by their result keys, for those the cache has lost."""


class Transaction(Protocol):
    """Rows within one database transaction."""

    @property
    def runs(self) -> RunRows:
        """The runs."""

    @property
    def steps(self) -> StepRows:
        """The step runs."""

    @property
    def sweeps(self) -> Sweeps:
        """What the sweeper asks."""

    @property
    def invariants(self) -> Invariants:
        """What must hold between the rows."""


class Records(Protocol):
    """The database.

    Both methods raise `DatabaseUnavailable`, `DatabaseNotMigrated` or `DatabaseTooNew`.
    """

    def write(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` in one transaction and commit; again from its start after a deadlock."""

    def single(self, work: Callable[[Transaction], T]) -> T:
        """Run one statement, or reads, without the round trips of a transaction."""

    def joined(self, session: object) -> "Joined":
        """Take part in a transaction of the caller's.

        Raises:
            InvalidInput: that is no session, or one on another database.
        """

    def complete_and_release(
        self,
        claim: Claim,
        outcome: Outcome,
        dependents: Sequence[str],
        together: Together | None = None,
    ) -> dict[str, tuple[int, StepState]] | None:
        """Complete a step and count its dependents down by one, both or neither.

        This is the way of most steps, so it has a method of its own: a database that can do it in
        one statement spares a transaction.

        Args:
            claim: The attempt.
            outcome: What it leaves.
            dependents: Keys of all that wait for it.
            together: When those that reach zero can be queued by this statement, and as what. That
                a sibling completed at the same moment may be missed: then they stay pending.

        Returns:
            From each dependent to its open dependencies and its state; None when the lease is lost
            and nothing was changed.
        """


class Joined(Protocol):
    """A transaction of the caller's."""

    def work(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` within it; raises as `Records.write`."""

    def when_ended(self, then: Callable[[], None]) -> None:
        """Call `then` once, when it was committed or rolled back as a whole."""
