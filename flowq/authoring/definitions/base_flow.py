"""`BaseFlow`: a durable program as a class, with a dict of inputs and a dict of outputs.

    class Articles(BaseFlow):
        flow_name = "articles"

        class Inputs(BaseModel):
            url: str

        async def _execute_flow_logic(self, inputs: dict) -> dict: …

`await Articles().execute({"url": …})` works everywhere: within another flow it is a child run;
anywhere else it is a run in this process, by the engine and with records like all others.
`Articles.enqueue({"url": …})` runs it on the workers.

The class is registered when it is defined. The engine makes a new instance for each replay, so
attributes of an instance are not part of the run.
"""

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Unpack, cast

from pydantic import BaseModel

from flowq.authoring.calls.durable import budgeted_program
from flowq.authoring.calls.input_schemas import json_schema
from flowq.authoring.calls.inputs import AnyInputs, InputSchema, ModelInputs
from flowq.authoring.calls.invoke import call, refuse_enqueue
from flowq.authoring.calls.options import Options
from flowq.authoring.calls.tracing import active, caller
from flowq.authoring.definitions.flows import AsyncFlow
from flowq.authoring.definitions.queueing import Queueing, QueueingOptions, queueing_of
from flowq.core.errors import InvalidFlow, InvalidInput
from flowq.core.limits.budgets import Budget, BudgetSpec, budget_of
from flowq.engine.registry.registry import RegisteredFlow, registry
from flowq.engine.runs.options import SubmitOptions

if TYPE_CHECKING:
    from flowq.client import Run


class BaseFlow:
    """Base of flows that are written as classes.

    Attributes:
        flow_name: The flow's unique name; required.
        Inputs: The model of the inputs; without it any dict is accepted.
        budget: What calls of models may cost in each run, with its child runs, as for `@flow`.
        monthly_budget: What they may cost in all runs of this flow in a month (UTC).
        singleton, singleton_by, debounce, debounce_by, fair_by: As for `@flow`.
        flow: The flow as made by `@flow`, for `options`, `map` and `enqueue_many`.
    """

    flow_name: ClassVar[str]
    Inputs: ClassVar[type[BaseModel]]
    budget: ClassVar[Budget | None] = None
    monthly_budget: ClassVar[Budget | None] = None
    flow: ClassVar[AsyncFlow[..., dict[str, Any]]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Register a flow; a class without logic is a base class.

        Raises:
            InvalidFlow: it lacks a `flow_name` or its logic, or its name is taken.
            InvalidInput: a budget is not positive.
        """
        super().__init_subclass__(**kwargs)
        logic = cls._execute_flow_logic
        if logic is BaseFlow._execute_flow_logic:
            if "flow_name" in cls.__dict__:
                raise _wrong(cls, "does not define _execute_flow_logic", _WRITE)
            return
        if not inspect.iscoroutinefunction(logic):
            raise _wrong(cls, "has an _execute_flow_logic that is not `async def`", _WRITE)
        if inspect.isabstract(cls) and "flow_name" not in cls.__dict__:
            return
        name = _name_of(cls)
        _check_makeable(cls)
        cls.flow = _define(cls, name)

    async def _execute_flow_logic(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Run the logic of the flow; written by its author."""
        raise NotImplementedError

    def execute(self, inputs: Mapping[str, Any] | None = None) -> Awaitable[dict[str, Any]]:
        """Run the flow, in another flow as a child run, else in this process; return its outputs.

        Args:
            inputs: Its inputs, by name.

        Raises:
            InvalidInput: they do not fit `Inputs`; nothing was recorded.
            RunCancelled: someone has cancelled the run.
            StepFailed: in another flow: the child run has failed.
            Exception: in this process: what the flow's logic raised.
        """
        given = _as_dict(type(self), inputs)
        if active() is not None:
            result: Awaitable[dict[str, Any]] = call(
                self.flow.callee, self.flow.call_options, (), given
            )
            return result
        # Not at the top: the client loads SQLAlchemy, which a module of flows does not need.
        from flowq.client import execute  # noqa: PLC0415 - see above

        self.flow.type.validate(given)  # raises at the call, not at the await
        return asyncio.to_thread(execute, self.flow.type, given)

    @classmethod
    def enqueue(
        cls, inputs: Mapping[str, Any] | None = None, **options: Unpack[SubmitOptions]
    ) -> "Run[dict[str, Any]]":
        """Submit a run for the workers and return immediately.

        Args:
            inputs: Its inputs, by name.
            options: `idempotency_key`, `deadline`, `session`, `user_id`, `metadata`, `budget`,
                `priority`, `delay`, `at`.

        Raises:
            InvalidInput: the inputs do not fit `Inputs`, or an option is invalid.
            Unavailable: the database cannot be used now.
        """
        refuse_enqueue(cls.flow.callee, cls.flow.call_options)
        from flowq.client import submit  # noqa: PLC0415 - as in `execute`

        return submit(cls.flow.type, _as_dict(cls, inputs), **options)

    @classmethod
    async def aenqueue(
        cls, inputs: Mapping[str, Any] | None = None, **options: Unpack[SubmitOptions]
    ) -> "Run[dict[str, Any]]":
        """Like `enqueue`, without blocking the event loop; raises the same.

        `session` is an `AsyncSession` on flowq's database.
        """
        refuse_enqueue(cls.flow.callee, cls.flow.call_options)
        from flowq.client import asubmit  # noqa: PLC0415 - as in `execute`

        return await asubmit(cls.flow.type, _as_dict(cls, inputs), **options)


_WRITE = "write: async def _execute_flow_logic(self, inputs: dict) -> dict"


def _name_of(cls: type[BaseFlow]) -> str:
    name = getattr(cls, "flow_name", None)
    if name is None:
        raise _wrong(cls, "has no flow_name", 'give it one: flow_name = "…"')
    if not isinstance(name, str) or not name:
        raise _wrong(cls, f"has the flow_name {name!r}", "give it text")
    for base in cls.__mro__[1:]:
        if "flow" in vars(base) and getattr(base, "flow_name", None) == name:
            raise _wrong(
                cls, f"has the flow_name of {base.__qualname__}", "give the class its own flow_name"
            )
    return name


def _check_makeable(cls: type[BaseFlow]) -> None:
    """Check that a worker can make an instance and call its logic with the inputs."""
    if inspect.isabstract(cls):
        # Its metaclass has not listed them yet.
        lacks = (
            name for name in dir(cls) if getattr(getattr(cls, name, 0), "__isabstractmethod__", 0)
        )
        raise _wrong(
            cls, f"is abstract; it does not define {', '.join(lacks)}", "define the missing methods"
        )
    if hasattr(cls, "on_failure"):
        raise _wrong(
            cls,
            "has on_failure, which is for `def` flows",
            "a program handles failures itself: catch flowq.errors.StepFailed where it awaits a "
            "step",
        )
    logic = inspect.getattr_static(cls, "_execute_flow_logic")
    instance = () if isinstance(logic, staticmethod | classmethod) else (None,)
    try:
        inspect.signature(cls).bind()
        inspect.signature(cls._execute_flow_logic).bind(*instance, {})
    except TypeError as error:
        raise _wrong(cls, f"cannot be created by a worker: {error}", _WRITE) from None


def _define(cls: type[BaseFlow], name: str) -> AsyncFlow[..., dict[str, Any]]:
    inputs = _inputs_of(cls, name)
    facts = {one: _budget_of(cls, one) for one in ("budget", "monthly_budget")}

    async def program(**given: Any) -> dict[str, Any]:
        return await cls()._execute_flow_logic(given)  # noqa: SLF001 - of this very class

    program.__module__, program.__doc__ = cls.__module__, cls.__doc__
    program.__name__, program.__qualname__ = cls.__name__, cls.__qualname__
    flow_type = RegisteredFlow(
        name=name,
        trace=functools.partial(budgeted_program, name, cls, facts),
        validate=inputs.check,
        read=inputs.read,
        verify=inputs.verify,
        annotation=lambda: dict[str, Any],
        program=program,
        bind=functools.partial(_bind, cls),
        subject=cls,
        input_schema=functools.partial(json_schema, inputs),
        queueing=_queueing_of(cls, name),
    )
    registry.add_flow(flow_type)
    return AsyncFlow(flow_type, program, inputs, Options(), {})


def _bind(cls: type[BaseFlow], args: tuple[Any, ...], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return inputs that are given as one dict, as for `execute`, or by name."""
    if len(args) > 1:
        raise InvalidInput(
            f"flow {cls.flow_name!r} is given {len(args)} positional inputs",
            hint="give one dict of inputs, or inputs by name",
        )
    return {**_as_dict(cls, *args), **inputs} if args else dict(inputs)


def _inputs_of(cls: type[BaseFlow], name: str) -> InputSchema:
    model = getattr(cls, "Inputs", None)
    if model is None:
        return AnyInputs(name, name)
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        raise _wrong(
            cls, "has an Inputs that is not a pydantic model", "class Inputs(BaseModel): …"
        )
    return ModelInputs(name, name, model)


def _budget_of(cls: type[BaseFlow], name: str) -> BudgetSpec | None:
    try:
        return budget_of(getattr(cls, name))
    except InvalidInput as error:
        raise InvalidInput(
            f"flow class {cls.__qualname__}: {name}: {error.message} ({caller()})", hint=error.hint
        ) from error


def _queueing_of(cls: type[BaseFlow], name: str) -> Queueing | None:
    given = {option: getattr(cls, option, None) for option in QueueingOptions.__annotations__}
    model: type[BaseModel] | None = getattr(cls, "Inputs", None)
    names = None if model is None else model.model_fields
    return queueing_of(name, cast(QueueingOptions, given), names)


def _as_dict(cls: type[BaseFlow], inputs: Any) -> dict[str, Any]:
    if isinstance(inputs, BaseModel):
        return dict(inputs)
    if inputs is not None and not isinstance(inputs, Mapping):
        raise InvalidInput(
            f"flow {cls.flow_name!r} is given {type(inputs).__name__} as its inputs",
            hint="give a dict: {name: value}",
        )
    return {str(name): value for name, value in (inputs or {}).items()}


def _wrong(cls: type, problem: str, hint: str) -> InvalidFlow:
    return InvalidFlow(f"flow class {cls.__qualname__} {problem} ({caller()})", hint=hint)
