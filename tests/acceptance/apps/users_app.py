"""A Celery app that somebody had before flowq: own settings, an own task, results of its own."""

import os
from pathlib import Path

from celery import Celery

import flowq
from tests.acceptance.apps import worker_flows

app = Celery("users", broker=os.environ["FLOWQ_REDIS_URL"], backend=os.environ["FLOWQ_REDIS_URL"])
app.conf.task_routes = {"tests.acceptance.apps.worker_flows.double": {"queue": "maths"}}
app.conf.worker_prefetch_multiplier = 4


@app.task
def multiply(left: int, right: int) -> int:
    return left * right


@app.task
def touch(path: str) -> None:
    Path(path).touch()


flowq.install(app)
flows = worker_flows
