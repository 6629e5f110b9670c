"""Limits how many executions a user may begin within a time.

All processes of an installation count together, in Redis: no window of that length ever has more.
While Redis is away nothing passes, since nobody could count it.
"""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

from flowq import bootstrap
from flowq.adapters.moving_window import MemoryWindow, RedisWindow
from flowq.authoring.calls.tracing import active
from flowq.authoring.definitions.steps import step
from flowq.core.errors import InvalidFlow
from flowq.pipeline.context import ExecutionContext
from flowq.pipeline.errors import NotExecutable, RateLimitExceeded
from flowq.pipeline.protocols import Next
from flowq.pipeline.result import ExecutionResult

_GLOBAL = "global"


@dataclass(frozen=True)
class RateLimitingMiddleware:
    """Passes on at most so many executions in any window of a time.

    Attributes:
        max_requests: How many.
        window_seconds: The length of the window.
        per_user: Whether each user has a window, or all together one.
        backend: `redis`, or `memory` for this object alone; None: Redis where there is one.
    """

    max_requests: int = 60
    window_seconds: float = 60
    per_user: bool = True
    backend: Literal["redis", "memory"] | None = None
    _memory: MemoryWindow = field(
        default_factory=MemoryWindow, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        most: Any = self.max_requests
        if isinstance(most, bool) or not isinstance(most, int) or not 0 < most <= 1_000_000:
            raise InvalidFlow(f"max_requests is {most!r}", hint="give a number from 1 to 1,000,000")
        seconds: Any = self.window_seconds
        right = isinstance(seconds, int | float) and not isinstance(seconds, bool)
        if not right or not 0.001 <= seconds <= 1e7:
            raise InvalidFlow(f"window_seconds is {seconds!r}", hint="give seconds, up to 1e7")
        if self.backend not in ("redis", "memory", None):
            raise InvalidFlow(f"backend is {self.backend!r}", hint="redis, memory or None")

    async def __call__(
        self, workflow: Any, context: ExecutionContext, call_next: Next
    ) -> ExecutionResult:
        """Pass on an execution that the limit allows.

        Raises:
            RateLimitExceeded: it allows none now.
            RedisUnavailable: Redis does not answer.
        """
        waits = await self._turn(self._caller(context.user_id))
        if waits:
            raise RateLimitExceeded(
                f"Rate limit exceeded: {self.max_requests} requests per "
                f"{self.window_seconds:g} seconds",
                hint=f"try again in {waits:.1f} seconds",
                retry_after=timedelta(seconds=waits),
            )
        return await call_next(workflow, context)

    def to_json(self) -> dict[str, Any]:
        """Return the arguments with which it is made again on a worker.

        Raises:
            NotExecutable: it counts in memory.
        """
        if self.backend == "memory":
            raise NotExecutable(
                "a rate limit in memory counts in one process only",
                hint="leave backend= out, so that it counts in Redis",
            )
        names = ("max_requests", "window_seconds", "per_user")
        return {name: getattr(self, name) for name in names}

    def get_remaining_requests(self, user_id: str | None = None) -> int:
        """Return how many executions a user may begin now."""
        window = self._window()
        return window.left(self._caller(user_id), self.max_requests, self.window_seconds)

    def reset_user(self, user_id: str) -> None:
        """Forget the executions of a user."""
        self._window().forget(self.max_requests, self.window_seconds, self._caller(user_id))

    def reset_all(self) -> None:
        """Forget the executions of all users."""
        self._window().forget(self.max_requests, self.window_seconds)

    async def _turn(self, caller: str) -> float:
        limit = (caller, self.max_requests, self.window_seconds)
        if active() is not None:
            self.to_json()  # in memory, each replay would count again
            awaitable: Any = turn(*limit)
            waits: float = await awaitable
            return waits
        window = self._window()
        if isinstance(window, MemoryWindow):
            return window.take(*limit)
        return await asyncio.to_thread(window.take, *limit)

    def _window(self) -> RedisWindow | MemoryWindow:
        in_redis = self.backend == "redis" or (self.backend is None and bootstrap.has_redis())
        return bootstrap.moving_window() if in_redis else self._memory

    def _caller(self, user_id: str | None) -> str:
        return f"user:{user_id}" if self.per_user and user_id else _GLOBAL


@step(name="flowq.pipeline.turn", retries=5, retry_delay=0.5)
def turn(caller: str, number: int, seconds: float) -> float:
    """Take a request of a caller; recorded for replays. Returns as `RedisWindow.take`."""
    return bootstrap.moving_window().take(caller, number, seconds)
