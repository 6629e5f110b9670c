"""Fault points: named places on the way of a run where a test can break things.

flowq itself knows nothing of them. `install` and `injected` stand before its ports (see
`tests.tools.faults.wrappers`) and call a hook at each point; a worker process under test takes its
hook from CHAOS_FAULTS (see `tests.tools.faults.text`). A hook may end the process, raise, or wait.
No transaction is open then. A point named `after_…` is reached when the write has happened: raising
there is the fault "done, but the caller got an error".
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import TypeAlias


class FaultPoint(StrEnum):
    """The places, in the order in which a run passes them."""

    BEFORE_SUBMIT = "before_submit"  #: Inputs are checked; nothing is recorded.
    AFTER_SUBMIT = "after_submit"  #: The run is committed; nothing of it was sent.
    BEFORE_CLAIM = "before_claim"  #: A message has arrived.
    AFTER_CLAIM = "after_claim"  #: The lease is recorded; its answer has come.
    BEFORE_CODE = "before_code"  #: Inputs are loaded; the user's code has not begun.
    BEFORE_CALL = "before_call"  #: The call of a model has its row; the model was not asked.
    AFTER_ANSWER = "after_answer"  #: It has answered; what that has used is not recorded.
    AFTER_CALL = "after_call"  #: It is; the answer is no result yet.
    AFTER_CODE = "after_code"  #: The user's code has returned.
    BEFORE_RESULT = "before_result"  #: The result is about to be written to its store.
    AFTER_RESULT = "after_result"  #: It is written; no row names it.
    BEFORE_COMPLETE = "before_complete"  #: The row is about to be completed.
    AFTER_COMPLETE = "after_complete"  #: It is; what it queued was not sent.
    BEFORE_FAIL = "before_fail"  #: A failed attempt is about to be recorded.
    AFTER_FAIL = "after_fail"  #: It is, as a retry or as a failure.
    BEFORE_ADVANCE = "before_advance"  #: A batch has ended, or steps are to be decided.
    AFTER_ADVANCE = "after_advance"  #: That is committed; what it queued was not sent.
    BEFORE_SUSPEND = "before_suspend"  #: A program waits; what it has called is not recorded.
    AFTER_SUSPEND = "after_suspend"  #: It is; nothing of it was sent.
    BEFORE_WAKE = "before_wake"  #: What a program has called has ended; it sleeps.
    AFTER_WAKE = "after_wake"  #: It is queued, if that was all; it was not sent.
    BEFORE_PUBLISH = "before_publish"  #: Messages are about to go to the broker.
    AFTER_PUBLISH = "after_publish"  #: They have gone.
    BEFORE_FINISH = "before_finish"  #: All steps may have ended; the run is open.
    AFTER_FINISH = "after_finish"  #: The run is closed; no event was published.
    BEFORE_CANCEL = "before_cancel"  #: Someone cancels a run; nothing is recorded.
    AFTER_CANCEL = "after_cancel"  #: It is; child runs and running steps know nothing of it.
    BEFORE_PAUSE = "before_pause"  #: Someone pauses a run; nothing is recorded.
    AFTER_PAUSE = "after_pause"  #: It and its child runs are paused.
    BEFORE_RESUME = "before_resume"  #: Someone resumes a run; nothing is recorded.
    AFTER_RESUME = "after_resume"  #: They go on; what was queued is not sent.
    BEFORE_RENEW = "before_renew"  #: The heartbeat is about to renew the leases.
    BEFORE_SWEEP = "before_sweep"  #: A pass of the sweeper begins.
    BEFORE_COLLECT = "before_collect"  #: What is old is about to be deleted.
    AFTER_DELETE = "after_delete"  #: The rows of an old run are gone; its objects are not.


Hook: TypeAlias = Callable[[FaultPoint], None]

_hook: Hook | None = None


def is_hooked() -> bool:
    """Return whether anybody wants to know of points."""
    return _hook is not None


def reach(point: FaultPoint) -> None:
    """Pass a point; whatever the hook raises is raised here."""
    if _hook is not None:
        _hook(point)


def install(hook: Hook | None) -> None:
    """Call `hook` at every point from now on; None ends that."""
    global _hook  # noqa: PLW0603 - one process has one hook
    from tests.tools.faults.wrappers import wrap_ports

    wrap_ports()
    _hook = hook


@contextmanager
def injected(hook: Hook) -> Iterator[None]:
    """Call `hook` at every point within the block."""
    before = _hook
    install(hook)
    try:
        yield
    finally:
        install(before)
