"""Records the model calls of steps: the part of the engine that `flowq.llm` uses.

    calls = context.model_calls            of the attempt that runs, see `StepContext`
    await calls.admit("openai", "gpt-…")   guards and budgets may refuse; gives the call's id
    call = calls.start(…)                  recorded before it is made
    call.recorded                          wait for it, then make the call
    call.end(…)                            recorded with what it used, once
    await calls.settle()                   warns if much of a budget is spent by now

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
from itertools import chain, repeat
from typing import Final, Protocol
from uuid import UUID

from flowq.core.usage import AppliedPrice, CostStatus, RequestStatus, Tokens, Usage
from flowq.engine.model.model_calls import Caller, EndedRequest, StartedRequest
from flowq.engine.ports import ObjectStore, Tracing
from flowq.engine.ports.tracing import CallSpan, active
from flowq.engine.runtime.request_log import RequestLog

logger = logging.getLogger(__name__)

#: Raises to refuse a call; gets the caller, the provider and the model.
Guard = Callable[[Caller, str, str], None]
#: Seconds between two attempts to reserve a call that has to wait for running ones.
_PAUSES: Final = (0.02, 0.05, 0.1, 0.2, 0.5)
_LONGEST_PAUSE: Final = 1.0

_ERROR_LIMIT = 2000
_NAME_LIMIT = 200
_PROVIDER_LIMIT = 100


@dataclass(frozen=True, slots=True)
class AskedCall:
    """A call that asks whether its budgets allow it.

    Attributes:
        id: Of its row.
        model_id: `provider:model`.
        bound: What it uses at most, if it has a token limit. `unpriced` is 1 if the cost of that is
            unknown.
        nested: Whether it is made inside an open call, which then never ends while this one waits.
    """

    id: UUID
    caller: Caller
    model_id: str
    bound: Usage | None = None
    nested: bool = False


class CallBudgets(Protocol):
    """The budgets of an attempt's calls."""

    def reserve(self, asked: AskedCall) -> bool:
        """Reserve a call; return whether it may be made now. Raises if it never may."""

    def release(self, call_id: UUID) -> None:
        """Delete the reservation of a call that is not made."""

    def warn(self, caller: Caller) -> None:
        """Warn if a call has spent the share of a budget at which a warning is given."""


@dataclass(frozen=True, slots=True)
class ModelCall:
    """A call of a model that is recorded as started."""

    id: UUID
    recorded: "asyncio.Future[None]"  #: Done once it is recorded; its error says why it is not.
    _caller: Caller
    _log: RequestLog | None
    _model: str = ""
    _presumed: Decimal = Decimal(0)
    _span: CallSpan | None = None
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
        prompt: str | None = None,
        answer: str | None = None,
        price: AppliedPrice | None = None,
    ) -> "asyncio.Future[None]":
        """Record how the call has ended."""
        if self._span is not None:
            self._span.end(status, tokens or Tokens())
        if self._log is None:
            return _done()
        if cost is None and self._caller.meters and not self._presumed:
            _warn(self._model)
        text = _storable(error)
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
                price=price,
                prompt=_storable(prompt),
                answer=_storable(answer),
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
        budgets: Reserves each call; None without a budget.
        tracing: Makes a span of each call; None makes none.
    """

    log: RequestLog | None
    new_id: Callable[[], UUID]
    caller: Caller = field(default_factory=Caller)
    guards: Sequence[Guard] = ()
    objects: Callable[[], ObjectStore] | None = None
    presumed: Decimal = Decimal(0)
    budgets: CallBudgets | None = None
    tracing: Tracing | None = None

    async def admit(
        self,
        provider: str,
        model: str,
        bound: Callable[[], Usage | None] | None = None,
        *,
        nested: bool = False,
    ) -> UUID:
        """Wait until a call may be made, and return its id.

        A call under a budget waits while running calls may spend all that is left. It needs no
        connection meanwhile.

        Args:
            bound: Computes what it uses at most; asked only if there is a budget.
            nested: Whether it is made inside an open call; then it does not wait.

        Raises:
            FlowqError: a guard or a budget refuses it.
        """
        call_id = self.new_id()
        for guard in self.guards:
            await asyncio.to_thread(guard, self.caller, provider, model)
        if self.budgets is None:
            return call_id
        model_id = f"{provider[:_PROVIDER_LIMIT]}:{model[:_NAME_LIMIT]}"
        asked = AskedCall(call_id, self.caller, model_id, bound() if bound else None, nested)
        # The calls that it waits for may run in other processes, so nothing here can signal it.
        for pause in chain(_PAUSES, repeat(_LONGEST_PAUSE)):
            if await _undone_if_cancelled(self.budgets, asked):
                break
            await asyncio.sleep(pause)
        return call_id

    async def settle(self) -> None:
        """Give the warnings of budgets after the end of a call is recorded."""
        if self.budgets is not None:
            await asyncio.to_thread(self.budgets.warn, self.caller)

    def start(self, call_id: UUID, provider: str, model: str) -> ModelCall:
        """Record a call that is about to be made, and that `admit` gave this id."""
        started = StartedRequest(
            call_id, self.caller, provider[:_PROVIDER_LIMIT], model[:_NAME_LIMIT]
        )
        recorded = self.log.write(started) if self.log else _done()
        name = f"{started.provider}:{started.model}"
        tracing = active(self.tracing)
        make = tracing.model_call if tracing is not None else None
        span = make(self.caller, started.provider, started.model) if make else None
        return ModelCall(started.id, recorded, self.caller, self.log, name, self.presumed, span)


def _storable(text: str | None) -> str | None:
    """Return text that every database can store."""
    if text is None:
        return None
    return text.replace("\0", "\N{SYMBOL FOR NULL}").encode(errors="backslashreplace").decode()


async def _undone_if_cancelled(budgets: CallBudgets, asked: AskedCall) -> bool:
    """Reserve a call in a thread; if it is not awaited any more, delete the reservation."""
    reserving = asyncio.ensure_future(asyncio.to_thread(budgets.reserve, asked))
    try:
        return await asyncio.shield(reserving)
    except asyncio.CancelledError:
        loop = asyncio.get_running_loop()

        def undo(done: "asyncio.Future[bool]") -> None:
            if not done.cancelled() and done.exception() is None and done.result():
                loop.run_in_executor(None, budgets.release, asked.id)

        reserving.add_done_callback(undo)
        raise


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
