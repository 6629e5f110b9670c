"""Handles messages of steps that a worker does not know.

In a rolling deployment old workers get steps of the new code. That is no failure: the message is
dropped, and the sweeper resends the step, with growing delays, until a worker that knows it takes
it. Celery would log each message with a traceback, and report a failed task to Flower. Instead each
step type gets one warning, repeated after a while with a count. Celery still handles other unknown
tasks, and messages that are not from flowq.
"""

import logging
import time
from typing import Any, Final

from celery import bootsteps

from flowq.entrypoints.direct_calls import is_id_of_step

logger = logging.getLogger(__name__)

#: Minimum seconds between two warnings about a step type.
_QUIET: Final = 60.0


class UnknownSteps(bootsteps.StartStopStep):
    """Replaces the consumer's handler of unknown tasks."""

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
