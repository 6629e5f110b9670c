"""An app whose own task class refuses some tasks before their first line."""

import os
from collections.abc import Callable
from typing import Any

from celery import Celery, Task
from celery.exceptions import Ignore, Reject

import flowq
from tests.acceptance.apps import program_flows, worker_flows

REFUSED: dict[str, Callable[[], Exception]] = {
    "raise": lambda: ValueError("not today"),
    "reject": lambda: Reject("not today", requeue=False),
    "ignore": lambda: Ignore("not today"),
}


class Strict(Task[Any, Any]):
    """Refuses what is called so."""

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        for word, error in REFUSED.items():
            if self.name.endswith(f"_{word}_refused"):
                raise error()


url = os.environ["FLOWQ_REDIS_URL"]
app = flowq.install(Celery("strict", broker=url, backend=url, task_cls=Strict))
flows, programs = worker_flows, program_flows
