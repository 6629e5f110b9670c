"""A step that arrives at a worker which does not know it.

In a deployment that rolls, old workers get steps of the new code. That is no failure: the message
is dropped, and the sweeper sends the step again, later each time, until a worker takes it that
knows it. Celery would print the whole message with a traceback for each, and tell Flower that the
task has failed. Here it is one warning for each step type, and again after a while with a count.
Other tasks that are unknown, and messages that are none of flowq's, stay Celery's to complain of.
"""

import logging
import time
from typing import Any, Final

from celery import bootsteps

from flowq.entrypoints.direct_calls import is_id_of_step

logger = logging.getLogger(__name__)

#: Seconds in which one step type is warned of once.
_QUIET: Final = 60.0


class UnknownSteps(bootsteps.StartStopStep):
    """Answers for steps that a worker's consumer does not know."""

    requires = ("celery.worker.consumer:Tasks",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._said: dict[str, tuple[float, int]] = {}
        others = parent.on_unknown_task

        def on_unknown_task(body: Any, message: Any, error: Exception) -> None:
            headers = message.headers or {}
            name, step_id, run_id = (headers.get(one) for one in ("task", "id", "root_id"))
            if not is_id_of_step(str(step_id)) or run_id in (None, step_id):
                others(body, message, error)
                return
            message.reject_log_error(logger, parent.connection_errors)
            self._say(str(name), str(step_id), str(run_id))

        parent.on_unknown_task = on_unknown_task

    def _say(self, name: str, step_id: str, run_id: str) -> None:
        now = time.monotonic()
        before, more = self._said.get(name, (now - _QUIET, 0))
        if now - before < _QUIET:
            self._said[name] = before, more + 1
            return
        self._said[name] = now, 0
        logger.warning(
            "step %s is not defined on this worker; run step %s%s stays queued for a worker that "
            "knows it. Start workers with the module that defines it",
            name,
            step_id,
            f" (and {more} others in the last minutes)" if more else "",
            extra={"action": "defer", "run_id": run_id, "step_id": step_id},
        )
