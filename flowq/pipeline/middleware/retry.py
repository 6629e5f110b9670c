"""Repeats an execution that has failed.

`max_retries=3` is four attempts: `@step(retries=3)` counts so too, `RetryPolicy(max_attempts=3)` is
three. Each attempt of recorded nodes is a run of its own, in which all nodes run again; retries of
one node are options of a step.
"""

import asyncio
import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from typing import Any, Final

from flowq.core.errors import BudgetExceeded, InvalidFlow, RunCancelled
from flowq.pipeline.context import ExecutionContext
from flowq.pipeline.errors import NotExecutable, RateLimitExceeded, ValidationError, is_one_of
from flowq.pipeline.protocols import Next
from flowq.pipeline.result import ExecutionResult

#: Another attempt would end in the same way, or is not wanted.
_NEVER: Final = (
    *(ValidationError, RateLimitExceeded, BudgetExceeded, RunCancelled),
    *(NotExecutable, InvalidFlow),
)
#: Seconds of a pause at most.
_LONGEST: Final = 86_400.0


@dataclass(frozen=True)
class RetryMiddleware:
    """Repeats a failed execution after a pause that grows.

    Attributes:
        max_retries: Attempts after the first.
        initial_backoff_seconds: Before the second attempt.
        backoff_multiplier: How many times longer each further pause is; a day is the longest.
        retryable_exceptions: After which of them; None: after all but those that are final.
    """

    max_retries: int = 3
    initial_backoff_seconds: float = 1.0
    backoff_multiplier: float = 2.0
    retryable_exceptions: tuple[type[BaseException], ...] | None = None

    def __post_init__(self) -> None:
        retries: Any = self.max_retries
        if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
            raise InvalidFlow(f"max_retries is {retries!r}", hint="give a number from 0")
        for name in ("initial_backoff_seconds", "backoff_multiplier"):
            value: Any = getattr(self, name)
            right = isinstance(value, int | float) and not isinstance(value, bool)
            if not right or not math.isfinite(value) or value < 0:
                raise InvalidFlow(f"{name} is {value!r}", hint="give a number from 0")
        given: Any = self.retryable_exceptions
        if given is not None:
            kinds = tuple(given) if isinstance(given, Iterable) else (given,)
            if not all(isinstance(one, type) and issubclass(one, Exception) for one in kinds):
                raise InvalidFlow(
                    f"retryable_exceptions has something that is no exception: {kinds!r}",
                    hint="give classes: retryable_exceptions=(ConnectionError, TimeoutError)",
                )
            object.__setattr__(self, "retryable_exceptions", kinds)

    async def __call__(
        self, workflow: Any, context: ExecutionContext, call_next: Next
    ) -> ExecutionResult:
        """Execute until it succeeds, fails for good, or no attempt is left.

        Raises:
            Exception: that of the last attempt.
        """
        for number in count():
            try:
                result = await call_next(workflow, context)
            except Exception as error:
                if number >= self.max_retries or not self._may_follow(error):
                    raise
                pause = self._pause(number, getattr(error, "retry_after", None))
            else:
                result.metadata["attempts"] = number + 1
                return result
            await asyncio.sleep(pause)  # in a program a recorded sleep
        raise AssertionError("the loop has no end")

    def _may_follow(self, error: Exception) -> bool:
        if is_one_of(error, _NEVER):
            return False
        wanted = self.retryable_exceptions
        return wanted is None or is_one_of(error, wanted)

    def _pause(self, number: int, asked: Any) -> float:
        try:
            pause = self.initial_backoff_seconds * self.backoff_multiplier**number
        except OverflowError:
            pause = _LONGEST
        least = asked.total_seconds() if isinstance(asked, timedelta) else 0.0
        return min(max(pause, least), _LONGEST)
