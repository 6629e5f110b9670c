"""Starting runs of a flow, in synchronous code and in async code.

The names for async code are the same with the prefix `a`, as in Django.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Generic, ParamSpec, TypeVar, Unpack, cast, overload

from flowq.authoring.calls.callee import Callee
from flowq.authoring.calls.inputs import InputSchema
from flowq.authoring.calls.invoke import refuse_enqueue
from flowq.authoring.calls.options import Options
from flowq.core.limits.budgets import Budget
from flowq.engine.registry.registry import RegisteredFlow
from flowq.engine.runs.options import SubmitOptions

if TYPE_CHECKING:
    from flowq.client import Run

P = ParamSpec("P")
R = TypeVar("R")

#: Options of `enqueue` beside inputs.
_SUBMISSION: Final = SubmitOptions.__annotations__


class Enqueueing(Generic[P, R]):
    """The part of a flow that starts runs."""

    type: RegisteredFlow
    callee: Callee
    call_options: Options
    submission: Mapping[str, Any]
    _inputs: InputSchema

    @overload
    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> "Run[R]": ...
    # No type can add parameters to others: with an option, inputs are checked only at the call.
    @overload
    def enqueue(self, *args: Any, idempotency_key: str | None, **inputs: Any) -> "Run[R]": ...
    @overload
    def enqueue(
        self, *args: Any, deadline: datetime | timedelta | None, **inputs: Any
    ) -> "Run[R]": ...
    @overload
    def enqueue(self, *args: Any, user_id: str | None, **inputs: Any) -> "Run[R]": ...
    @overload
    def enqueue(
        self, *args: Any, metadata: Mapping[str, Any] | None, **inputs: Any
    ) -> "Run[R]": ...
    @overload
    def enqueue(self, *args: Any, budget: Budget | None, **inputs: Any) -> "Run[R]": ...
    @overload
    def enqueue(self, *args: Any, priority: int | None, **inputs: Any) -> "Run[R]": ...
    @overload
    def enqueue(self, *args: Any, delay: timedelta | None, **inputs: Any) -> "Run[R]": ...
    @overload
    def enqueue(self, *args: Any, at: datetime | None, **inputs: Any) -> "Run[R]": ...
    @overload
    def enqueue(self, *args: Any, session: object, **inputs: Any) -> "Run[R]": ...
    def enqueue(self, *args: Any, **kwargs: Any) -> "Run[R]":
        """Submit a run with these inputs and return immediately.

        Beside the inputs it takes the options of a run: `idempotency_key`, `deadline`, `session`,
        `user_id`, `metadata`, `budget`, `priority`, `delay`, `at`. If the flow has a parameter of
        one of these names, it is an input; then give the option with
        `flow.options(session=…).enqueue(…)`.

        Raises:
            InvalidInput: an input is missing, unknown, too large or of the wrong type; a run with
                other inputs has the idempotency key; the session is on another database.
            InvalidFlow: the flow's definition cannot run with them.
            Unavailable: the database cannot be used now.
        """
        # Not at the top: the client loads SQLAlchemy, which a module of steps does not need.
        from flowq.client import submit  # noqa: PLC0415 - see above

        inputs, options = self._submitted(args, kwargs)
        return submit(self.type, inputs, **options)

    def enqueue_many(
        self,
        inputs: "Iterable[Mapping[str, Any]]",
        *,
        idempotency_keys: Iterable[str] | None = None,
        **options: Unpack[SubmitOptions],
    ) -> "list[Run[R]]":
        """Submit many runs at once: if one of them is refused, none is recorded.

        Args:
            inputs: The inputs of each run, by parameter: `[{"x": 1}, {"x": 2}]`.
            idempotency_keys: The key of each run, in the same order.
            options: `deadline`, `session`, `user_id`, `metadata`, `budget`, `priority`,
                `delay`, `at`, the same for all of them.

        Raises:
            InvalidInput: an input is missing, unknown, too large or of the wrong type; says which.
            InvalidFlow: the flow's definition cannot run with them.
            Unavailable: the database cannot be used now.
        """
        refuse_enqueue(self.callee, self.call_options)
        from flowq.client import submit_many  # noqa: PLC0415 - as in `enqueue`

        merged = cast(SubmitOptions, {**self.submission, **options})
        return submit_many(self.type, inputs, idempotency_keys=idempotency_keys, **merged)

    @overload
    async def aenqueue(self, *args: P.args, **kwargs: P.kwargs) -> "Run[R]": ...
    @overload
    async def aenqueue(
        self, *args: Any, idempotency_key: str | None, **inputs: Any
    ) -> "Run[R]": ...
    @overload
    async def aenqueue(
        self, *args: Any, deadline: datetime | timedelta | None, **inputs: Any
    ) -> "Run[R]": ...
    @overload
    async def aenqueue(self, *args: Any, user_id: str | None, **inputs: Any) -> "Run[R]": ...
    @overload
    async def aenqueue(
        self, *args: Any, metadata: Mapping[str, Any] | None, **inputs: Any
    ) -> "Run[R]": ...
    @overload
    async def aenqueue(self, *args: Any, budget: Budget | None, **inputs: Any) -> "Run[R]": ...
    @overload
    async def aenqueue(self, *args: Any, priority: int | None, **inputs: Any) -> "Run[R]": ...
    @overload
    async def aenqueue(self, *args: Any, delay: timedelta | None, **inputs: Any) -> "Run[R]": ...
    @overload
    async def aenqueue(self, *args: Any, at: datetime | None, **inputs: Any) -> "Run[R]": ...
    @overload
    async def aenqueue(self, *args: Any, session: object, **inputs: Any) -> "Run[R]": ...
    async def aenqueue(self, *args: Any, **kwargs: Any) -> "Run[R]":
        """Like `enqueue`, without blocking the event loop; raises the same.

        `session` is an `AsyncSession` on flowq's database.
        """
        from flowq.client import asubmit  # noqa: PLC0415 - as in `enqueue`

        inputs, options = self._submitted(args, kwargs)
        return await asubmit(self.type, inputs, **options)

    async def aenqueue_many(
        self,
        inputs: "Iterable[Mapping[str, Any]]",
        *,
        idempotency_keys: Iterable[str] | None = None,
        **options: Unpack[SubmitOptions],
    ) -> "list[Run[R]]":
        """Like `enqueue_many`, without blocking the event loop; raises the same."""
        refuse_enqueue(self.callee, self.call_options)
        from flowq.client import asubmit_many  # noqa: PLC0415 - as in `enqueue`

        merged = cast(SubmitOptions, {**self.submission, **options})
        return await asubmit_many(self.type, inputs, idempotency_keys=idempotency_keys, **merged)

    def _submitted(
        self, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[Mapping[str, Any], SubmitOptions]:
        """Separate inputs from options of the run."""
        refuse_enqueue(self.callee, self.call_options)
        own = self._inputs.signature.parameters
        given = {name: kwargs[name] for name in kwargs if name in _SUBMISSION and name not in own}
        inputs = {name: value for name, value in kwargs.items() if name not in given}
        options = cast(SubmitOptions, {**self.submission, **given})
        return self._inputs.bind(tuple(args), inputs), options
