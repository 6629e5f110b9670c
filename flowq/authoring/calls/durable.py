"""Calls in a running `async def` flow: each is recorded, and returns an awaitable.

The arguments are real values. JSON values are recorded at the call, so later changes of a list have
no effect. A result of a call that is no JSON (bytes, a file, a table), or a long text, is recorded
as a reference to that call and never copied.
"""

from collections.abc import Coroutine, Iterable, Mapping
from typing import Any, TypeVar

from flowq.authoring.calls.callee import Callee
from flowq.authoring.calls.options import UNSET, Options, tolerance
from flowq.authoring.calls.templates import ValueLocation, to_template, to_templates
from flowq.authoring.calls.tracing import caller
from flowq.authoring.naming import short_name
from flowq.core.errors import InvalidFlow
from flowq.core.spec import CallSpec, FlowSpec, MapSpec, StepKind, StepSpec
from flowq.engine.replay import Execution

T = TypeVar("T")


class _Literals:
    """The owner of the inputs of a run, which contain no references."""

    def __init__(self, flow: str) -> None:
        self.flow = flow

    def reference_of(self, _value: object) -> None:
        """Return None: there are no results yet."""


def budgeted_program(
    flow: str, definition: Any, facts: Mapping[str, Any], inputs: Mapping[str, Any]
) -> FlowSpec:
    """Return the spec of a run of an `async def` flow, with the budgets of the flow.

    Args:
        flow: Registered name.
        definition: The function or class that defines it.
        facts: The options of the flow.
        inputs: The inputs of the run.

    Raises:
        InvalidFlow: an input cannot be stored.
    """
    spec = program_spec(flow, short_name(definition, flow), inputs)
    budgets = {key: facts[key] for key in ("budget", "monthly_budget") if facts[key] is not None}
    return spec.model_copy(update=budgets) if budgets else spec


def program_spec(flow: str, label: str, inputs: Mapping[str, Any]) -> FlowSpec:
    """Return the spec of a run of an `async def` flow: one node, the program itself.

    Raises:
        InvalidFlow: an input cannot be stored.
    """
    owner = _Literals(flow)
    node = StepSpec(
        key=label,
        name=flow,
        kind=StepKind.PROGRAM,
        arguments={
            name: to_template(value, ValueLocation(owner, f"input {name!r}"))
            for name, value in inputs.items()
        },
    )
    return FlowSpec(name=flow, steps=(node,), output={"$ref": label})


def program_call(
    program: Execution,
    callee: Callee,
    options: Options,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> Coroutine[Any, Any, Any]:
    """Record a call.

    Raises:
        InvalidFlow: the arguments do not fit or cannot be stored, or an option has no meaning here.
        InvalidInput: the inputs of a flow do not fit its signature.
    """
    if callee.check is not None and not args:
        callee.check(kwargs)  # reports all problems, which `bind` does not
    arguments = callee.bind(args, kwargs).arguments
    if callee.check is not None and args:
        callee.check(arguments)
    return _record(program, callee, options, arguments, None)


def program_map(
    program: Execution,
    callee: Callee,
    options: Options,
    items: Any,
    constants: Mapping[str, Any],
) -> Coroutine[Any, Any, Any]:
    """Record the call of a map.

    Raises:
        InvalidFlow: as `program_call`, or `items` is no list.
    """
    parameter, bound = callee.bind_map(constants)
    arguments = {name: value for name, value in bound.arguments.items() if name != parameter}
    if isinstance(items, str | bytes | Mapping) or not isinstance(items, Iterable):
        raise InvalidFlow(
            f"{callee.kind} {callee.label!r} is mapped over a {type(items).__name__} ({caller()})",
            hint="give a list",
        )
    return _record(program, callee, options, arguments, (parameter, list(items)))


def _record(
    program: Execution,
    callee: Callee,
    options: Options,
    arguments: Mapping[str, Any],
    mapped: tuple[str, list[Any]] | None,
) -> Coroutine[Any, Any, Any]:
    _refuse_order(callee, options)
    if options.local and mapped is not None:
        raise InvalidFlow(
            f"{callee.kind} {callee.label!r} has local= and is mapped ({caller()})",
            hint="leave it out: items of a map run side by side on all workers",
        )
    key = program.new_key(options.key or callee.label)
    if options.when is not UNSET and not options.when:
        return _skipped()

    def place(subject: str) -> ValueLocation:
        return ValueLocation(program, f"{subject} of {callee.kind} {key!r}")

    readers = callee.readers()
    spec = CallSpec(
        lazy=options.lazy,
        local=options.local,
        key=key,
        name=callee.name,
        kind=callee.kind,
        arguments={
            name: to_template(value, place(f"argument {name!r}"), readers.get(name))
            for name, value in callee.flat(arguments).items()
        },
        map=MapSpec(
            parameter=mapped[0],
            items=to_templates(mapped[1], place("the list"), readers.get(mapped[0])),
            tolerance=tolerance(options.tolerate),
        )
        if mapped
        else None,
        **options.spec_fields(),
    )
    return program.add(spec)


def _refuse_order(callee: Callee, options: Options) -> None:
    if options.after:
        raise InvalidFlow(
            f"{callee.kind} {callee.label!r} has after= in an `async def` flow ({caller()})",
            hint="await the step that has to run before it",
        )
    if options.accept_skipped:
        raise InvalidFlow(
            f"{callee.kind} {callee.label!r} has accept_skipped= in an `async def` flow "
            f"({caller()})",
            hint="leave it out: the result of a skipped step is None, which the flow can test",
        )


async def _skipped() -> None:
    """Return None, as a step whose condition was false."""
