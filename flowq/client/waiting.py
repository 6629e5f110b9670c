"""Waiting for the end of a run in a thread: its row has the end, an event says when to look."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from flowq import bootstrap
from flowq.client.events import refuse_to_hold_a_worker
from flowq.core.errors import ResultTimeout, RunNotFound
from flowq.core.ids import RunId
from flowq.core.states import TERMINAL_RUN_STATES, RunState
from flowq.engine.model.rows import StoredStep
from flowq.engine.waits.explain import timed_out

#: Seconds after which a waiter reads the row without a notification.
LOOK_AGAIN: Final = 1.0


@dataclass(frozen=True, slots=True)
class FoundRun:
    """What a read of the row of a run has found."""

    state: RunState
    following: RunId | None = None  #: The run as which it continues.
    nodes: Sequence[StoredStep] = ()  #: Nodes that its output names, if it has completed.


def read_status(run_id: RunId, *, output: bool = False) -> FoundRun:
    """Return what the row of a run says now.

    Args:
        output: Read the nodes that its output names in the same round trip, if they are a few, and
            this process knows the run.

    Raises:
        RunNotFound: there is no such run.
    """
    engine = bootstrap.engine()
    known = engine.definitions.cached(run_id) if output else None
    keys = known.output_reads if known else ()
    found = engine.records.autocommit(lambda tx: tx.steps.status_and_nodes(run_id, keys))
    if found is None:
        raise not_there(run_id)
    return FoundRun(*found)


def wait(
    run_id: RunId,
    flow_name: str,
    timeout: float | None,
    deadline: float | None,
    *,
    output: bool = False,
) -> FoundRun:
    """Wait until a run is terminal; return what its row says then.

    Args:
        timeout: The seconds that were given, for the error.
        deadline: On the clock of `time.monotonic`; None waits without limit.
        output: As of `read_status`.

    Raises:
        ResultTimeout: it has not ended by then.
        WouldBlock: it has not ended, and a worker runs this.
    """
    if (found := read_status(run_id, output=output)).state in TERMINAL_RUN_STATES:
        return found
    refuse_to_hold_a_worker(run_id, flow_name)
    with bootstrap.engine().events.listening(run_id) as rest:
        while (found := read_status(run_id, output=output)).state not in TERMINAL_RUN_STATES:
            left = LOOK_AGAIN if deadline is None else deadline - time.monotonic()
            if left <= 0:
                raise too_late(run_id, found.state, timeout)
            rest(min(LOOK_AGAIN, left))
    return found


def too_late(run_id: RunId, state: RunState, timeout: float | None) -> ResultTimeout:
    """Return the error of a run that has not ended in time."""
    assert timeout is not None
    return timed_out(bootstrap.engine(), run_id, f"is still {state}", timeout)


def not_there(run_id: RunId) -> RunNotFound:
    """Return the error of a run that cannot be found."""
    return RunNotFound(
        f"there is no run {run_id}",
        hint="it was deleted, or the transaction that enqueued it is not committed",
    )
