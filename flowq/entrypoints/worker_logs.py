"""Keeps what steps log in a worker: installs the handler in each process that runs steps.

Celery sets up the loggers of a worker, in the main process and in spawned children, and its task
loggers do not propagate. So the handler is installed after that, on both. Other processes have no
such handler: their logging is the user's alone.
"""

import logging

from celery.utils.log import task_logger

from flowq import bootstrap
from flowq.engine.runtime.log_capture import LogCapture, install


def keep_logs() -> None:
    """Keep what steps log in this process, if the settings say so; safe to call twice."""
    chosen = bootstrap.settings()
    if not chosen.logs:
        return
    handler = LogCapture(logging.getLevelNamesMapping()[chosen.logs_level], bootstrap.flush_logs)
    loggers = [logging.getLogger()]
    if not task_logger.propagate:
        loggers.append(task_logger)
    install(handler, loggers)
