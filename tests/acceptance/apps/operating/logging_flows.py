"""Flows that log, in the ways that workers have."""

import logging
import os
import time
from pathlib import Path

from celery.utils.log import get_task_logger

import flowq
from flowq import flow, step

log = logging.getLogger(__name__)
task_log = get_task_logger(__name__)


@step(log_prints=True)
def says(n: int) -> int:
    log.info("says %d", n)
    task_log.warning("of the task %d", n)
    print("prints", n)
    return n


@step
def prints(n: int) -> int:
    print("prints what nobody keeps")
    return n


@step
async def awaits(n: int) -> int:
    log.info("awaits %d", n)
    return n


@step
def waits(folder: str) -> int:
    """Log a line, and wait for a file in the first attempt."""
    attempt = step.context().attempt
    log.info("attempt %d in %d", attempt, os.getpid())
    while attempt == 1 and not Path(folder, "go").exists():
        time.sleep(0.05)
    return attempt


@step
def takes_turns(n: int, count: int, folder: str) -> int:
    """Log lines, each when all the others have logged as many."""
    for line in range(20):
        log.info("of %d", n)
        Path(folder, f"turn-{line}-{n}").touch()
        while not all(Path(folder, f"turn-{line}-{one}").exists() for one in range(count)):
            time.sleep(0.005)
    return n


@flow(name="logging.together")
def together(count: int, folder: str) -> list[int]:
    return takes_turns.map(list(range(count)), count=count, folder=folder)


@flow(name="logging.many")
def many(n: int) -> list[int]:
    return [says(n), prints(n), awaits(n)]


@flow(name="logging.killed")
def killed(folder: str) -> int:
    return waits(folder)


app = flowq.celery_app()
