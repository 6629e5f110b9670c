"""Waiting for the end of a run in a thread: its row has the end, an event says when to look."""

import time
from typing import Final

from flowq import bootstrap
from flowq.client.events import refuse_to_hold_a_worker
from flowq.core.errors import ResultTimeout, RunNotFound
from flowq.core.ids import RunId
from flowq.core.states import TERMINAL_RUN_STATES, RunState
from flowq.engine.waits.explain import timed_out

#: Seconds after which a waiter reads the row without a notification.
LOOK_AGAIN: Final = 1.0


def standing(run_id: RunId) -> tuple[RunState, RunId | None]:
    """Return the state of a run now, and as which run it continues.

    Raises:
        RunNotFound: there is no such run.
    """
    found = bootstrap.engine().records.autocommit(lambda tx: tx.runs.status_and_next(run_id))
    if found is None:
        raise not_there(run_id)
    return found


def wait(
    run_id: RunId, flow_name: str, timeout: float | None, deadline: float | None
) -> tuple[RunState, RunId | None]:
    """Wait until a run has ended; return its state, and as which run it continues.

    Args:
        timeout: The seconds that were given, for the error.
        deadline: On the clock of `time.monotonic`; None waits without limit.

    Raises:
        ResultTimeout: it has not ended by then.
        WouldBlock: it has not ended, and a worker runs this.
    """
    if (found := standing(run_id))[0] in TERMINAL_RUN_STATES:
        return found
    refuse_to_hold_a_worker(run_id, flow_name)
    with bootstrap.engine().events.listening(run_id) as rest:
        while (found := standing(run_id))[0] not in TERMINAL_RUN_STATES:
            left = LOOK_AGAIN if deadline is None else deadline - time.monotonic()
            if left <= 0:
                raise too_late(run_id, found[0], timeout)
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
