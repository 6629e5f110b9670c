"""`@step`: makes a Python function something that flows can call and workers can run.

For a type checker a `Step` has the type of the function it wraps: within a flow a call returns a
`Ref`, but is typed as the result, so that `page.title` and the next step's argument are checked.
Calls of async steps are typed as Any: a `Ref` within a flow, a coroutine outside.
"""

import functools
import inspect
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, cast, overload

from flowq.authoring.calls.callee import Callee
from flowq.authoring.calls.invoke import Mapped, call, call_map
from flowq.authoring.calls.options import (
    UNSET,
    Duration,
    ErrorType,
    Options,
    Unset,
    changed,
    retry_policy,
)
from flowq.authoring.calls.tracing import caller
from flowq.authoring.definitions.caching import CacheOption, cache_of
from flowq.authoring.definitions.functions import checked
from flowq.authoring.definitions.limiting import (
    ConcurrencyOption,
    RateOption,
    concurrency_of,
    rates_of,
)
from flowq.authoring.definitions.middleware import middleware_of
from flowq.authoring.naming import registered_name
from flowq.core.errors import InvalidFlow
from flowq.core.retries import RetryPolicy
from flowq.core.spec import CacheSpec, StepKind
from flowq.engine.registry.callables import late_names, names_around
from flowq.engine.registry.registry import RegisteredStep, registry
from flowq.engine.runtime.context import StepContext, current
from flowq.engine.runtime.middleware import Middleware

P = ParamSpec("P")
R = TypeVar("R")


class Step(Generic[P, R]):
    """A function that can be a step of a flow; made by `@step`."""

    def __init__(self, step_type: RegisteredStep, options: Options) -> None:
        if inspect.isfunction(step_type.function):
            given = vars(step_type.function).items()
            vars(self).update({name: one for name, one in given if not hasattr(Step, name)})
        functools.update_wrapper(self, step_type.function, updated=())
        self.type = step_type
        self._options = options
        self.callee = Callee(
            StepKind.STEP,
            step_type.name,
            step_type.function,
            step_type.signature,
            readers=lambda: step_type.parameters,
            ready=step_type.check,
            owner=step_type.owner,
        )

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the step: returns a Ref in a graph, an awaitable in a program, else the result.

        Raises:
            InvalidFlow: the arguments do not fit the function, or cannot be stored.
        """
        return cast(R, call(self.callee, self._options, args, kwargs))

    def map(
        self,
        items: Iterable[Any],
        /,
        *,
        tolerate: int | str | None = None,
        **constants: Any,
    ) -> Mapped[R]:
        """Run the step once for each item, in parallel; the result is the list of results.

        Args:
            items: A list, or the result of a step that returns one. The item is passed to the first
                parameter without a constant.
            tolerate: How many items may fail, `3` or `"5%"`; each becomes a `StepFailure`. A
                parameter of this name has priority; then use `.options(tolerate=…)`.
            constants: Arguments that are the same for all items.

        Raises:
            InvalidFlow: the arguments do not fit the function, or cannot be stored.
        """
        constants, tolerate = self.callee.map_arguments(tolerate, constants)
        options = self._options if tolerate is None else changed(self._options, tolerate=tolerate)
        return cast(Mapped[R], call_map(self.callee, options, items, constants))

    def options(
        self,
        *,
        retries: int | None = None,
        retry: RetryPolicy | None = None,
        retry_delay: Duration | None = None,
        backoff: float | None = None,
        retry_on: ErrorType | Iterable[ErrorType] | None = None,
        timeout: Duration | Unset | None = UNSET,
        queue: str | Unset | None = UNSET,
        cache: CacheOption | Unset = UNSET,
        concurrency: ConcurrencyOption | Unset = UNSET,
        rate: RateOption | Unset = UNSET,
        allow_failure: bool | Unset = UNSET,
        when: Any = UNSET,
        after: Any = UNSET,
        accept_skipped: bool | Unset = UNSET,
        tolerate: int | str | Unset | None = UNSET,
        key: str | Unset | None = UNSET,
        lazy: bool | Unset = UNSET,
        log_prints: bool | Unset = UNSET,
        local: bool | Unset = UNSET,
    ) -> "Step[P, R]":
        """Return a copy of this step with other options.

        Args:
            retries: As for `@step`, like all options down to `rate`; those left out do not change.
            retry: A whole policy instead.
            retry_delay: Before the second attempt.
            backoff: How many times longer each further delay is.
            retry_on: Exceptions after which it is retried.
            timeout: For one attempt.
            queue: Celery queue.
            cache: The cache; a key function can only be given to `@step`.
            concurrency: How many may run at once.
            rate: How many may begin within a time.
            allow_failure: The run continues when it fails; dependents get a `StepFailure`.
            when: A Ref, a comparison of Refs or a plain value; false skips it and its dependents.
            after: Results of steps that must end first, one or a list.
            accept_skipped: Run although some steps before it were skipped; their results are None.
            tolerate: For `.map`: how many items may fail, `3` or `"5%"`.
            key: The key of the node, instead of the function's name.
            lazy: In a program: the result comes as a `LazyResult`.
            log_prints: Keep printed lines as logged ones.
            local: In a program: as for `@step`.

        Raises:
            InvalidFlow: a value is invalid.
        """
        policy = functools.partial(retry_policy, self._options.retry, retry=retry, retries=retries)
        given = {"timeout": timeout, "queue": queue, "allow_failure": allow_failure, "when": when}
        given |= {"after": after, "accept_skipped": accept_skipped, "tolerate": tolerate}
        given |= {"key": key, "lazy": lazy, "cache": _cache_of_call(cache)}
        given |= {"log_prints": log_prints, "local": local}
        given |= self._limits(concurrency, rate)
        retried = policy(retry_delay=retry_delay, backoff=backoff, retry_on=retry_on)
        return Step(self.type, changed(self._options, retry=retried, **given))

    def _limits(self, concurrency: Any, rate: Any) -> dict[str, Any]:
        name, names = self.type.name, self.type.key_names
        limits: dict[str, Any] = {}
        if not isinstance(concurrency, Unset):
            limits["concurrency"] = concurrency_of(concurrency, name, names)
        if not isinstance(rate, Unset):
            limits["rate"] = rates_of(rate, name, names)
        return limits

    def __repr__(self) -> str:
        return f"<Step {self.type.name}>"


class StepMaker(Protocol):
    """The decorator that `@step(...)` with options returns."""

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, Any]], /) -> Step[P, Any]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Step[P, R]: ...


class StepDecorator:
    """The type of `step`: `@step`, `@step(retries=2)` and `step.context()`."""

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, Any]], /) -> Step[P, Any]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Step[P, R]: ...
    @overload
    def __call__(
        self,
        function: None = None,
        /,
        *,
        name: str | None = None,
        retries: int | None = None,
        retry: RetryPolicy | None = None,
        retry_delay: Duration | None = None,
        backoff: float | None = None,
        retry_on: ErrorType | Iterable[ErrorType] | None = None,
        timeout: Duration | None = None,
        queue: str | None = None,
        cache: CacheOption = None,
        concurrency: ConcurrencyOption = None,
        rate: RateOption = None,
        allow_failure: bool = False,
        middleware: Iterable[Middleware] = (),
        log_prints: bool = False,
        local: bool = False,
    ) -> StepMaker: ...
    def __call__(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        retries: int | None = None,
        retry: RetryPolicy | None = None,
        retry_delay: Duration | None = None,
        backoff: float | None = None,
        retry_on: ErrorType | Iterable[ErrorType] | None = None,
        timeout: Duration | None = None,
        queue: str | None = None,
        cache: CacheOption = None,
        concurrency: ConcurrencyOption = None,
        rate: RateOption = None,
        allow_failure: bool = False,
        middleware: Iterable[Middleware] = (),
        log_prints: bool = False,
        local: bool = False,
    ) -> Any:
        """Make a function a step.

        Args:
            function: A `def` or `async def` function.
            name: Name of its Celery task; `{module}.{function}` when left out.
            retries: Attempts after the first.
            retry: A whole policy, instead of the other retry options.
            retry_delay: Before the second attempt, as a timedelta or in seconds; 1 s when left out.
            backoff: How many times longer each further delay is; 2 when left out.
            retry_on: Exceptions after which it is retried; by default all.
            timeout: For one attempt, as a timedelta or in seconds.
            queue: Celery queue; by default that of `task_routes`.
            cache: Reuse results of equal inputs up to this age: a time, True for a day, a `Cache`.
            concurrency: How many may run at once over all workers: a number, or a `Concurrency`.
            rate: How many may begin, or how many tokens they may use, within a time over all
                workers: `"60/minute"`, `"90000 tokens/minute"`, a `Rate`, or several.
            allow_failure: The run continues when it fails; dependents get a `StepFailure`.
            middleware: Code around the function in each attempt, the outermost first; that of
                `flowq.use` runs around it.
            log_prints: Keep printed lines as logged ones.
            local: In a program: the program's own process runs it, without a message.

        Raises:
            InvalidFlow: it cannot be a step, or a value is invalid.
        """
        policy = functools.partial(retry_policy, RetryPolicy(), retry=retry, retries=retries)
        cached, cache_key = cache_of(cache)
        given = {"timeout": timeout, "queue": queue, "allow_failure": allow_failure}
        given |= {"log_prints": log_prints, "local": local}
        retried = policy(retry_delay=retry_delay, backoff=backoff, retry_on=retry_on)
        options = changed(Options(), retry=retried, cache=cached, **given)

        around = middleware_of(middleware, "@step")

        def decorate(function: Callable[..., Any]) -> Step[..., Any]:
            defined = _define(function, name, options, cache_key, around)
            return defined.options(concurrency=concurrency, rate=rate)

        return decorate if function is None else decorate(function)

    @staticmethod
    def context() -> StepContext:
        """Return the running attempt: run id, step id, attempt, idempotency key, logger.

        Raises:
            FlowqError: no attempt is running here.
        """
        return current()


def _cache_of_call(value: CacheOption | Unset) -> CacheSpec | Unset | None:
    """Return the cache of a call's options.

    Raises:
        InvalidFlow: a value is invalid, or there is a key function.
    """
    if isinstance(value, Unset):
        return UNSET
    spec, key = cache_of(value)
    if key is not None:
        raise InvalidFlow(
            f"options(cache=…) has a key function ({caller()})",
            hint="pass it to @step(cache=…), so that workers can find it",
        )
    return spec


def _define(
    function: Any,
    name: str | None,
    options: Options,
    cache_key: Callable[..., Any] | None,
    middleware: tuple[Middleware, ...],
) -> Step[..., Any]:
    if isinstance(function, Step) or isinstance(getattr(function, "callee", None), Callee):
        raise InvalidFlow(
            f"@step is given {function!r}, which is not a function ({caller()})",
            hint="put @step above a `def` or `async def`, once; a flow is called as it is",
        )
    function = checked(function, "step")
    step_type = RegisteredStep(
        registered_name(function) if name is None else name,
        function,
        cache_key,
        names=names_around(function),
        middleware=middleware,
    )
    made: Step[..., Any] = Step(step_type, options)  # refuses unreadable signatures
    with late_names():
        assert step_type.hints is not None
    registry.add_step(step_type)
    return made


step = StepDecorator()
