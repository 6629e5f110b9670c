"""Calls while a flow is traced: each adds a node to the trace and returns a Ref to its result."""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import TypeAdapter

from flowq.authoring.calls.callee import Callee
from flowq.authoring.calls.options import UNSET, Options, tolerance
from flowq.authoring.calls.refs import Ref
from flowq.authoring.calls.templates import (
    ValueLocation,
    to_condition,
    to_reference,
    to_template,
    to_templates,
)
from flowq.authoring.calls.tracing import Trace, caller
from flowq.core.errors import InvalidFlow
from flowq.core.references import Template
from flowq.core.spec import MapSpec, StepSpec


def add_call(
    trace: Trace,
    callee: Callee,
    options: Options,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> Ref:
    """Add the node of a call.

    Raises:
        InvalidFlow: the arguments do not fit or cannot be stored, or an option has no meaning here.
    """
    arguments = callee.bind(args, kwargs).arguments
    return _add(trace, callee, options, arguments, None)


def add_map(
    trace: Trace,
    callee: Callee,
    options: Options,
    items: Any,
    constants: Mapping[str, Any],
) -> Ref:
    """Add the node of a map.

    Raises:
        InvalidFlow: as `add_call`, or `items` is no list.
    """
    parameter, bound = callee.bind_map(constants)
    arguments = {name: value for name, value in bound.arguments.items() if name != parameter}
    return _add(trace, callee, options, arguments, (parameter, items))


def _add(
    trace: Trace,
    callee: Callee,
    options: Options,
    arguments: Mapping[str, Any],
    mapped: tuple[str, Any] | None,
) -> Ref:
    if options.lazy:
        raise InvalidFlow(
            f"{callee.kind} {callee.label!r} has lazy= in a `def` flow ({caller()})",
            hint="leave it out: a graph passes all results by reference",
        )
    if options.local:
        raise InvalidFlow(
            f"{callee.kind} {callee.label!r} has local= in a `def` flow ({caller()})",
            hint="leave it out: each step of a graph is a task; or make the flow `async def`",
        )
    key = trace.new_key(callee.label, options.key)

    def place(subject: str) -> ValueLocation:
        return ValueLocation(trace, f"{subject} of {callee.kind} {key!r}")

    readers = callee.readers()
    step = StepSpec(
        key=key,
        name=callee.name,
        kind=callee.kind,
        arguments={
            name: to_template(value, place(f"argument {name!r}"), readers.get(name))
            for name, value in arguments.items()
        },
        map=_map(mapped, options, place("the list"), readers) if mapped else None,
        when=None if options.when is UNSET else _when(options.when, place("the condition (when=)")),
        after=_after(options.after, place("after=")),
        **options.spec_fields(),
    )
    return trace.add(step)


def _map(
    mapped: tuple[str, Any],
    options: Options,
    place: ValueLocation,
    readers: Mapping[str, TypeAdapter[Any]],
) -> MapSpec:
    parameter, items = mapped
    if not isinstance(items, Ref):
        if isinstance(items, str | bytes | Mapping) or not isinstance(items, Iterable):
            raise place.error(
                f"to map over is a {type(items).__name__}",
                "give a list, or the result of a step that returns one",
            )
        items = to_templates(list(items), place, readers.get(parameter))
    else:
        items = to_template(items, place)
    return MapSpec(
        parameter=parameter,
        items=items,
        tolerance=tolerance(options.tolerate),
    )


def _when(value: Any, place: ValueLocation) -> Template | None:
    condition = to_condition(value, place)
    # A constant true value is no condition.
    return None if condition is True else condition


def _after(refs: tuple[Any, ...], place: ValueLocation) -> tuple[str, ...]:
    keys: dict[str, None] = {}
    for ref in refs:
        if not isinstance(ref, Ref):
            raise place.error(
                f"contains a {type(ref).__name__}",
                "give the result of a call of a step, or a list of such results",
            )
        keys[to_reference(ref, place).step] = None
    return tuple(keys)
