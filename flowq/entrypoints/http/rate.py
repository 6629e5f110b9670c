"""Limits the requests of each user to FLOWQ_HTTP_RATE, before a body is read.

All servers count together, in Redis. `Retry-After` says when the next request is allowed.
"""

import asyncio
import math

from starlette.types import ASGIApp, Receive, Scope, Send

from flowq import bootstrap
from flowq.core.limits.slots import parse_rate
from flowq.entrypoints.http.auth import Caller
from flowq.entrypoints.http.problems import Problem, answer


class RequestRates:
    """Middleware that counts the requests of each user; `Authentication` comes before it.

    Args:
        app: The next app.
        rate: The value of FLOWQ_HTTP_RATE.
    """

    def __init__(self, app: ASGIApp, rate: str) -> None:
        self._app = app
        self._rate = rate
        number, period, _ = parse_rate(rate)
        self._requests = bootstrap.request_rate(number, period)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request within the rate."""
        caller: Caller | None = scope.get("state", {}).get("caller")
        if caller is not None:
            waits = await asyncio.to_thread(self._requests.take, caller.user_id)
            if waits:
                message = f"the user {caller.user_id} has sent more requests than {self._rate}"
                hint = "try again after the seconds of Retry-After"
                problem = Problem(error="TooManyRequests", message=message, hint=hint)
                headers = {"Retry-After": str(math.ceil(waits))}
                await answer(429, problem, headers)(scope, receive, send)
                return
        await self._app(scope, receive, send)
