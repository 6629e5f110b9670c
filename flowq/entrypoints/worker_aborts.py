"""Records the failure of a step when Celery aborts its task: revoked, timed out, refused.

Celery keeps the ids of revoked tasks for hours, and passes them to new workers. All messages of a
step have the id of the step run, so a revoked step can never run again: it fails with
`TaskRevoked`, whether it was queued or running. A hard time limit fails the attempt; `retries`
apply. A task that ends before its first line, for example by `before_start` of the app's own task
class, fails with the error that ended it.

Most of the signals come in the main process, in the thread that serves the broker. That thread must
not wait for a database, so another one records. If the process dies before that, the sweeper
resends the step, and it is aborted again.
"""

import logging
import os
from collections.abc import Callable
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, Final
from uuid import UUID

from celery import signals
from celery.exceptions import TimeLimitExceeded

from flowq import bootstrap
from flowq.core.errors import StepError, StepTimeout, TaskRevoked, Unavailable
from flowq.core.ids import StepRunId
from flowq.engine.attempts.abort import abort_attempt
from flowq.entrypoints.direct_calls import is_id_of_step

logger = logging.getLogger(__name__)

#: Set on the request of a task whose attempt has begun.
_BEGUN: Final = "flowq_begun"


class Recorder:
    """Records the ends of attempts in its own thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._pid = 0
        self._queue: SimpleQueue[Callable[[], object]] = SimpleQueue()

    def put(self, task_id: str, error: Exception, *, begun: bool) -> None:
        """Record soon that an attempt has failed."""
        step_id = _step_of(task_id)
        if step_id is None:
            return
        with self._lock:
            if self._pid != os.getpid():
                self._pid, self._queue = os.getpid(), SimpleQueue()
                Thread(target=_work, args=(self._queue,), name="flowq-cuts", daemon=True).start()
        self._queue.put(lambda: abort_attempt(bootstrap.engine(), step_id, error, begun=begun))


def _work(queue: "SimpleQueue[Callable[[], object]]") -> None:
    while True:
        work = queue.get()
        try:
            work()
        except Unavailable as error:
            logger.warning("an interrupted step is left to the sweeper: %s", error)
        except Exception:
            # Other attempts must still be recorded.
            logger.exception("the outcome of an attempt was not recorded")


_recorder = Recorder()


def connect(is_step: Callable[[Any], bool]) -> None:
    """Connect Celery's signals; may be called twice.

    Args:
        is_step: Tells whether a task is a step's, on an app that has flowq.
    """
    _Heard.is_step = staticmethod(is_step)
    signals.task_revoked.connect(_revoked)
    signals.task_failure.connect(_failed)
    signals.task_postrun.connect(_ended)


def begins(task: Any) -> None:
    """Mark that the attempt of a task has begun; from now on it records its end itself."""
    setattr(task.request, _BEGUN, True)


class _Heard:
    is_step: Callable[[Any], bool] = staticmethod(lambda _: False)


def _revoked(sender: Any, request: Any, expired: bool, terminated: bool, **_: Any) -> None:  # noqa: FBT001 - Celery gives them by name
    if _Heard.is_step(sender):
        how = "has expired" if expired else "was terminated" if terminated else "was revoked"
        error = TaskRevoked(
            f"its Celery task {how}",
            hint="Celery keeps revoked ids: start a new run instead",
        )
        _recorder.put(request.id, error, begun=False)


def _failed(sender: Any, task_id: str, exception: BaseException, **_: Any) -> None:
    """Handle a hard time limit, in the main process."""
    if isinstance(exception, TimeLimitExceeded) and _Heard.is_step(sender):
        seconds = exception.args[0] if exception.args else "?"
        error = StepTimeout(
            f"took longer than Celery's hard time limit of {seconds} s; its process was killed"
        )
        _recorder.put(task_id, error, begun=True)


def _ended(sender: Any, task_id: str, state: str, retval: Any, **_: Any) -> None:
    """Handle the end of a task, in its process; its attempt may not have begun."""
    if not _Heard.is_step(sender) or getattr(sender.request, _BEGUN, False):
        return
    step_id = _step_of(task_id)
    if step_id is not None:
        error = retval if isinstance(retval, Exception) else None
        error = error or StepError(f"Celery ended its task as {state} before it began")
        abort_attempt(bootstrap.engine(), step_id, error)


def _step_of(task_id: str) -> StepRunId | None:
    """Return the step run of a task; None for a direct call."""
    return StepRunId(UUID(task_id)) if is_id_of_step(task_id) else None
