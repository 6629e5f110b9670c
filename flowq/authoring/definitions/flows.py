"""`@flow`: a function whose calls of steps make a run; a graph, or a durable program.

A `def` function is traced when a run is submitted: it gets the checked inputs as real values, so
`if` and `for` over them are plain Python, and Refs in place of results. Its calls and its return
value are the `FlowSpec` of that run.

An `async def` function runs on the workers, over real values. When it waits it is suspended, and
later replayed over the records of its run (see `flowq.engine.replay`); its `FlowSpec` has one node,
the program itself.

Called within another flow, a flow is a child run. Called outside a flow it is plain Python, which
is one way to test it.
"""

import functools
import inspect
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, Literal, ParamSpec, Self, TypeVar, Unpack, cast, overload

from flowq.authoring.calls.callee import Callee
from flowq.authoring.calls.durable import budgeted_program
from flowq.authoring.calls.input_schemas import json_schema
from flowq.authoring.calls.inputs import InputSchema
from flowq.authoring.calls.invoke import Mapped, call, call_map, refuse_of_runs
from flowq.authoring.calls.options import UNSET, Options, Unset, changed
from flowq.authoring.calls.templates import ValueLocation, to_template
from flowq.authoring.calls.tracing import Trace, caller, during
from flowq.authoring.definitions.enqueueing import Enqueueing
from flowq.authoring.definitions.functions import checked
from flowq.authoring.definitions.queueing import QueueingOptions, queueing_of
from flowq.authoring.naming import registered_name
from flowq.core.errors import InvalidFlow
from flowq.core.graph import Graph
from flowq.core.limits.budgets import Budget, budget_of
from flowq.core.spec import FailurePolicy, FlowSpec, StepKind
from flowq.engine.registry.callables import late_names, names_around
from flowq.engine.registry.registry import RegisteredFlow, registry
from flowq.engine.runs.options import SubmitOptions

P = ParamSpec("P")
R = TypeVar("R")


class Flow(Enqueueing[P, R]):
    """A graph of steps, written as a function; made by `@flow`."""

    def __init__(
        self,
        flow_type: RegisteredFlow,
        function: Callable[..., Any],
        inputs: InputSchema,
        options: Options,
        submission: Mapping[str, Any],
    ) -> None:
        functools.update_wrapper(self, function)
        self.type = flow_type
        self._function = function
        self._inputs = inputs
        self.call_options = options
        self.submission = submission
        self.callee = Callee(
            StepKind.FLOW,
            flow_type.name,
            function,
            inputs.signature,
            self._check_arguments,
            lambda: inputs.adapters,
            ready=inputs.ready,
            owner=flow_type.subject if isinstance(flow_type.subject, type) else None,
        )

    def spec(self, *args: P.args, **kwargs: P.kwargs) -> FlowSpec:
        """Return the graph of a run with these inputs, without running anything.

        Raises:
            InvalidInput: an input is missing, unknown or of the wrong type.
            InvalidFlow: the flow's definition cannot run with them.
            Exception: what the flow's function itself raises.
        """
        spec = self.type.trace(self.type.validate(self._inputs.bind(args, kwargs)))
        Graph.of(spec)  # checks it
        return spec

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the flow: within another one as a child run, else as plain Python.

        Raises:
            InvalidFlow: the inputs do not fit the function, or cannot be stored.
            InvalidInput: in an `async def` flow: an input is of the wrong type.
        """
        refuse_of_runs(self.callee, self.submission)
        return cast(R, call(self.callee, self.call_options, args, kwargs))

    def _check_arguments(self, arguments: Mapping[str, Any]) -> None:
        self.type.validate(self.callee.flat(arguments))

    def map(
        self,
        items: Iterable[Any],
        /,
        *,
        tolerate: int | str | None = None,
        **constants: Any,
    ) -> Mapped[R]:
        """Start a child run for each item; arguments as in `Step.map`.

        Raises:
            InvalidFlow: the inputs do not fit the function, or cannot be stored.
        """
        refuse_of_runs(self.callee, self.submission)
        constants, tolerate = self.callee.map_arguments(tolerate, constants)
        options = (
            self.call_options if tolerate is None else changed(self.call_options, tolerate=tolerate)
        )
        return cast(Mapped[R], call_map(self.callee, options, items, constants))

    def options(
        self,
        *,
        when: Any = UNSET,
        after: Any = UNSET,
        allow_failure: bool | Unset = UNSET,
        accept_skipped: bool | Unset = UNSET,
        tolerate: int | str | Unset | None = UNSET,
        key: str | Unset | None = UNSET,
        lazy: bool | Unset = UNSET,
        **of_run: Unpack[SubmitOptions],
    ) -> Self:
        """Return a copy of this flow with other options.

        Args:
            when: For a child run, like those below: false skips it; see `Step.options`.
            after: Results of steps that must end first, one or a list.
            allow_failure: The run continues when the child fails.
            accept_skipped: Run although some of the steps before it were skipped.
            tolerate: For `.map`: how many child runs may fail, `3` or `"5%"`.
            key: The key of the node, instead of the function's name.
            lazy: In a program: the result comes as a `LazyResult`.
            of_run: For `enqueue`: the options of a run, such as `session`; see `SubmitOptions`.

        Raises:
            InvalidFlow: a value is invalid.
        """
        for name in of_run.keys() - SubmitOptions.__annotations__.keys():
            raise TypeError(f"options() got an unexpected keyword argument {name!r}")
        options = changed(
            self.call_options,
            when=when,
            after=after,
            allow_failure=allow_failure,
            accept_skipped=accept_skipped,
            tolerate=tolerate,
            key=key,
            lazy=lazy,
        )
        merged = {**self.submission, **of_run}
        return type(self)(self.type, self._function, self._inputs, options, merged)

    def __repr__(self) -> str:
        return f"<Flow {self.type.name}>"


class AsyncFlow(Flow[P, R]):
    """A durable program, written as an `async def` function; made by `@flow`."""

    # `enqueue` is typed by the value; a call, as of every coroutine function, must be awaited.
    def __call__(  # type: ignore[override]
        self, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, R]:
        """Call the flow: within another one as a child run, else as plain Python; to be awaited.

        Raises:
            InvalidFlow: the inputs do not fit the function, or cannot be stored.
            InvalidInput: in an `async def` flow: an input is of the wrong type.
        """
        return cast(Coroutine[Any, Any, R], super().__call__(*args, **kwargs))


class FlowMaker:
    """The decorator that `@flow(...)` with options returns."""

    def __init__(self, name: str | None, queueing: QueueingOptions, **facts: Any) -> None:
        self._name = name
        self._queueing = queueing
        self._facts = facts

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncFlow[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Flow[P, R]: ...
    def __call__(self, function: Callable[..., Any], /) -> Flow[..., Any]:
        """Make a function a flow.

        Raises:
            InvalidFlow: it cannot be a flow.
        """
        function = _checked(function)
        name = registered_name(function) if self._name is None else self._name
        inputs = InputSchema(
            name, getattr(function, "__name__", name), function, names_around(function)
        )
        with late_names():
            inputs.resolve()
        is_program = inspect.iscoroutinefunction(function)
        if is_program and self._facts["on_failure"] is not FailurePolicy.FAIL_FAST:
            raise InvalidFlow(
                f"flow {name!r} is an `async def` function and has on_failure= ({caller()})",
                hint="a program handles failures itself: catch flowq.errors.StepFailed where it "
                "awaits a step",
            )
        flow_type = RegisteredFlow(
            name=name,
            trace=functools.partial(budgeted_program, name, function, self._facts)
            if is_program
            else functools.partial(_trace, function, name, self._facts),
            validate=inputs.check,
            read=inputs.read,
            verify=inputs.verify,
            annotation=lambda: inputs.returns,
            program=function if is_program else None,
            bind=inputs.bind,
            subject=function,
            input_schema=functools.partial(json_schema, inputs),
            queueing=queueing_of(name, self._queueing, inputs.signature.parameters),
        )
        registry.add_flow(flow_type)
        kind = AsyncFlow if is_program else Flow
        return kind(flow_type, function, inputs, Options(), {})


@overload
def flow(function: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncFlow[P, R]: ...
@overload
def flow(function: Callable[P, R], /) -> Flow[P, R]: ...
@overload
def flow(
    *,
    name: str | None = None,
    on_failure: Literal["fail_fast", "continue"] = "fail_fast",
    budget: Budget | None = None,
    monthly_budget: Budget | None = None,
    **queueing: Unpack[QueueingOptions],
) -> FlowMaker: ...
def flow(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    on_failure: Literal["fail_fast", "continue"] = "fail_fast",
    budget: Budget | None = None,
    monthly_budget: Budget | None = None,
    **queueing: Unpack[QueueingOptions],
) -> Any:
    """Make a function a flow.

    Args:
        function: A `def` function that calls steps, or an `async def` function that awaits them.
        name: Unique name; `{module}.{function}` when left out.
        on_failure: Of a `def` flow. After a failed step, `fail_fast` begins nothing new; `continue`
            runs everything that does not depend on it. In both cases the run fails, unless the step
            has `allow_failure`.
        budget: What calls of models may cost in each run, with its child runs.
        monthly_budget: What they may cost in all runs of this flow in a month (UTC).
        queueing: When its runs begin, beside others: `singleton` and `debounce`, each with a key;
            and `fair_by`, whose steps take turns; see `QueueingOptions`.

    Raises:
        InvalidInput: a budget is not positive.
        InvalidFlow: it cannot be a flow, or a value is invalid.
    """
    try:
        policy = FailurePolicy(on_failure)
    except ValueError:
        raise InvalidFlow(
            f"on_failure is {on_failure!r} ({caller()})",
            hint=f"one of: {', '.join(FailurePolicy)}",
        ) from None
    budgets = {"budget": budget_of(budget), "monthly_budget": budget_of(monthly_budget)}
    maker = FlowMaker(name, queueing, on_failure=policy, **budgets)
    return maker if function is None else maker(function)


def _checked(function: Any) -> Any:
    function = checked(function, "flow")
    if not inspect.isfunction(function):
        raise InvalidFlow(
            f"@flow is given {function!r}, which is not a function ({caller()})",
            hint="put @flow above a `def`, once; steps are made with @step",
        )
    return function


def _trace(
    function: Callable[..., Any],
    name: str,
    facts: Mapping[str, Any],
    inputs: Mapping[str, Any],
) -> FlowSpec:
    """Run a flow's function on checked inputs and return the graph it describes."""
    trace = Trace(name)
    with during(trace):
        returned = function(**inputs)
    code = inspect.unwrap(function).__code__
    output = to_template(returned, ValueLocation(trace, "the return value", code=code))
    return FlowSpec(name=name, steps=tuple(trace.steps), output=output, **facts)
