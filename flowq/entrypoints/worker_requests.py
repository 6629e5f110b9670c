"""The Celery request classes of flowq's tasks; Celery imports this module by its name.

A step's task can be terminated in every pool. Where the pool cannot stop the code (threads, solo),
the attempt fails nevertheless: its result is ignored, and the coroutine of an `async def` step is
cancelled. flowq's own tasks advance runs; they are never revoked.
"""

from typing import Any

from celery.worker.request import Request


class StepRequest(Request):
    """The request of a step's task."""

    _announce_revoked: Any

    def terminate(self, pool: Any, signal: Any = None) -> None:
        """End the task."""
        try:
            super().terminate(pool, signal=signal)
        except NotImplementedError:
            self._announce_revoked("terminated", True, str(signal or ""), False)


class OwnRequest(Request):
    """The request of one of flowq's own tasks."""

    def revoked(self) -> bool:
        """Return False: it cannot be revoked."""
        return False
