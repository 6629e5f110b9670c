"""Records the model calls of steps: the part of the engine that `flowq.llm` uses.

    calls = context.model_calls            of the attempt that runs, see `StepContext`
    calls.check("openai", "gpt-…")         guards may refuse; budgets are guards
    call = calls.start("openai", "gpt-…")  recorded before it is made
    call.recorded                          wait for it, then make the call
    call.end(…)                            recorded with what it used, once

All this is called from coroutines, and both futures are done when the database has committed. The
transaction that ends a call adds its usage to its step's row, even if another worker holds the
step's lease by then: it was paid for.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from uuid import UUID

from flowq.core.usage import CostStatus, RequestStatus, Tokens
from flowq.engine.model.model_calls import Caller, EndedRequest, StartedRequest
from flowq.engine.ports import ObjectStore
from flowq.engine.runtime.request_log import RequestLog

logger = logging.getLogger(__name__)

#: Raises to refuse a call; gets the caller, the provider and the model.
Guard = Callable[[Caller, str, str], None]

_ERROR_LIMIT = 2000
_NAME_LIMIT = 200
_PROVIDER_LIMIT = 100


@dataclass(frozen=True, slots=True)
class ModelCall:
    """A call of a model that is recorded as started."""

    id: UUID
    recorded: "asyncio.Future[None]"  #: Done once it is recorded; its error says why it is not.
    _caller: Caller
    _log: RequestLog | None
    _model: str = ""
    _presumed: Decimal = Decimal(0)
    _began: float = field(default_factory=time.monotonic)

    def end(
        self,
        status: RequestStatus,
        *,
        tokens: Tokens | None = None,
        cost: Decimal | None = None,
        cost_status: CostStatus = CostStatus.UNKNOWN,
        error: str | None = None,
        object_key: str | None = None,
    ) -> "asyncio.Future[None]":
        """Record how the call has ended."""
        if self._log is None:
            return _done()
        if cost is None and self._caller.meters and not self._presumed:
            _warn(self._model)
        text = None if error is None else error.encode(errors="backslashreplace").decode()
        return self._log.write(
            EndedRequest(
                self.id,
                self._caller,
                status,
                tokens or Tokens(),
                cost,
                cost_status,
                round((time.monotonic() - self._began) * 1000),
                text[:_ERROR_LIMIT] if text else None,
                object_key,
                self._presumed,
            )
        )


@dataclass(frozen=True, slots=True)
class ModelCalls:
    """The calls of models by one caller.

    Attributes:
        log: Writes them; None records nothing.
        new_id: Makes a UUIDv7.
        guards: Called before each call, in order.
        objects: Returns the store for what models produce, e.g. images.
        presumed: USD that budgets count for a call of unknown cost.
    """

    log: RequestLog | None
    new_id: Callable[[], UUID]
    caller: Caller = field(default_factory=Caller)
    guards: Sequence[Guard] = ()
    objects: Callable[[], ObjectStore] | None = None
    presumed: Decimal = Decimal(0)

    def check(self, provider: str, model: str) -> None:
        """Let the guards check a call; they may read the database.

        Raises:
            FlowqError: a guard refuses it.
        """
        for guard in self.guards:
            guard(self.caller, provider, model)

    def start(self, provider: str, model: str) -> ModelCall:
        """Record a call that is about to be made."""
        started = StartedRequest(
            self.new_id(), self.caller, provider[:_PROVIDER_LIMIT], model[:_NAME_LIMIT]
        )
        recorded = self.log.write(started) if self.log else _done()
        name = f"{started.provider}:{started.model}"
        return ModelCall(started.id, recorded, self.caller, self.log, name, self.presumed)


@cache
def _warn(model: str) -> None:
    """Warn once for each model that a budget does not count all that is spent."""
    logger.warning(
        "the cost of a call of %s is unknown, and budgets in USD do not count it: FLOWQ_PRICES "
        "sets prices, FLOWQ_UNKNOWN_COST_USD sets the amount that such calls count for",
        model,
    )


def _done() -> "asyncio.Future[None]":
    done = asyncio.get_running_loop().create_future()
    done.set_result(None)
    return done
