"""Programs that a worker continues in the task of the step that they waited for.

The process that ends a call of a program it keeps in memory runs the program on, without a message.
The row has the program's end as always. Celery has no task for it, so this reports the ends that
Flower should show under the program's own task: its first message had that id.
"""

import logging
from typing import Any

from celery import Task

from flowq.engine.attempts.outcomes import AttemptEnding
from flowq.engine.attempts.run import resume_program
from flowq.engine.engine import Engine
from flowq.engine.model.programs import ResumedProgram
from flowq.engine.runtime.causes import message_of

logger = logging.getLogger(__name__)


def continue_program(task: "Task[Any, Any]", engine: Engine, program: ResumedProgram) -> None:
    """Run a program until it waits again or ends; raises nothing, since the step has ended.

    A retry of the program is left to the sweeper, which reads when it is due.

    Args:
        task: That of the step.
    """
    try:
        ended = resume_program(engine, program)
    except Exception:
        run_id, key = program.claim.run_id, program.claim.key
        text = "%s of run %s could not be continued; the sweeper will handle it"
        logger.exception(text, key, run_id, extra={"action": "run", "run_id": str(run_id)})
        return
    if ended.ending is AttemptEnding.FAILED and ended.error is not None:
        error = f"{type(ended.error).__name__}({message_of(ended.error)!r})"
        _report(task, program, "task-failed", exception=error, traceback="")
    elif ended.ending is AttemptEnding.CANCELLED:
        _report(task, program, "task-revoked", terminated=False, signum=None, expired=False)


def _report(task: "Task[Any, Any]", program: ResumedProgram, event: str, **fields: Any) -> None:
    """Send an event of the program's task; one that is lost is missing in Flower's list only."""
    try:
        with task.app.events.default_dispatcher(hostname=task.request.hostname) as dispatcher:
            dispatcher.send(event, uuid=str(program.claim.id), **fields)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with the broker
        logger.warning("an event was not sent: %s", error, extra={"action": "event"})
