"""Calls outside traces and programs: steps and flows are ordinary functions.

So a flow can be tested without a broker and a database. Such a flow follows the options that change
its result: `when`, and `StepFailure`s. Retries, timeouts, queues and order have no meaning here,
and a skipped step is None for later steps. A step that is called outside any flow raises what its
function raises.
"""

import inspect
from collections.abc import Mapping
from typing import Any

from flowq.authoring.calls.callee import Callee
from flowq.authoring.calls.options import UNSET, Options, tolerance
from flowq.authoring.calls.refs import Condition, Ref
from flowq.authoring.calls.tracing import (
    PLAIN,
    active,
    as_no_flow,
    as_plain_program,
    caller,
    during,
)
from flowq.core.errors import InvalidFlow, InvalidInput, StepError, StepFailed
from flowq.core.results import StepFailure
from flowq.core.spec import StepKind
from flowq.engine.advance.passed_failures import PassedFailure, refuse_by_model
from flowq.engine.registry.registry import registry
from flowq.engine.results.codecs import coerce


def run_call(
    callee: Callee,
    options: Options,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> Any:
    """Run a call; that of an `async def` flow must be awaited.

    Raises:
        InvalidFlow: a Ref is passed, or a flow that runs as plain Python calls an async step.
        Exception: whatever the function raises.
    """
    in_flow = _check(callee, options, [*args, *kwargs.values()])
    if callee.kind is StepKind.FLOW and callee.is_async:
        return as_plain_program(callee.function(*args, **kwargs))
    if _skipped(options):
        return None
    try:
        return _run(callee, args, kwargs)
    except Exception as error:
        if in_flow and options.allow_failure:
            return _failure(callee, error)
        raise


def run_map(callee: Callee, options: Options, items: Any, constants: Mapping[str, Any]) -> Any:
    """Run a map, one item after the other; raises as `run_call`."""
    in_flow = _check(callee, options, [items, *constants.values()])
    if _skipped(options):
        return None
    allowed = tolerance(options.tolerate)
    parameter, bound = callee.bind_map(constants)
    items, results, failed = list(items), [], 0
    for index, item in enumerate(items):
        bound.arguments[parameter] = item
        try:
            _pass_on(callee, parameter, bound.arguments)
            results.append(_run(callee, bound.args, bound.kwargs))
        except Exception as error:
            failed += 1
            if not allowed.allows(failed=failed, total=len(items)):
                if in_flow and options.allow_failure:
                    return _failure(callee, error)
                raise
            results.append(_failure(callee, error, index, item))
    return results


async def await_call(
    callee: Callee,
    options: Options,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> Any:
    """Run a call of an `async def` flow that runs as plain Python.

    Raises:
        StepFailed: the function raised something, as when the flow runs on workers.
    """
    _check(callee, options, [*args, *kwargs.values()])
    if _skipped(options):
        return None
    try:
        return await _awaited(callee, args, kwargs)
    except Exception as error:
        if options.allow_failure:
            return _failure(callee, error)
        raise _failed(callee, error) from error


async def await_map(
    callee: Callee, options: Options, items: Any, constants: Mapping[str, Any]
) -> Any:
    """Run a map of an `async def` flow that runs as plain Python; raises as `await_call`."""
    _check(callee, options, [items, *constants.values()])
    if _skipped(options):
        return None
    allowed = tolerance(options.tolerate)
    parameter, bound = callee.bind_map(constants)
    items, results, failed = list(items), [], 0
    for index, item in enumerate(items):
        bound.arguments[parameter] = item
        try:
            _pass_on(callee, parameter, bound.arguments)
            results.append(await _awaited(callee, bound.args, bound.kwargs))
        except Exception as error:
            failed += 1
            if not allowed.allows(failed=failed, total=len(items)):
                if options.allow_failure:
                    return _failure(callee, error)
                raise _failed(callee, error) from error
            results.append(_failure(callee, error, index, item))
    return results


async def _awaited(callee: Callee, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    if callee.kind is StepKind.FLOW and callee.is_async:
        return await as_plain_program(callee.function(*args, **kwargs))
    value = _run(callee, args, kwargs)
    return await as_no_flow(value) if inspect.isawaitable(value) else value


def _pass_on(callee: Callee, parameter: str, arguments: Mapping[str, Any]) -> None:
    """Pass on an item that is a failure, as on workers.

    Raises:
        PassedFailure: it is one, and the parameter does not accept failures.
    """
    item = arguments[parameter]
    if not isinstance(item, StepFailure):
        return
    try:
        if callee.check is not None:
            callee.check(arguments)
        else:
            step_type = registry.step(callee.name)
            coerce(item, step_type.parameters.get(parameter), where=parameter)
            refuse_by_model(step_type, parameter, item)
    except (StepError, InvalidInput):
        raise PassedFailure(item) from None


def _failed(callee: Callee, error: Exception) -> StepFailed:
    return StepFailed(
        f"{callee.label} failed: {type(error).__name__}: {error}",
        step=callee.label,
        error=type(error).__name__,
        reason=str(error),
    )


def _run(callee: Callee, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    # Calls inside a step's own function are not calls of the flow.
    in_flow = active() is PLAIN
    with during(PLAIN if callee.kind is StepKind.FLOW else None):
        value = callee.function(*args, **kwargs)
    if in_flow and inspect.iscoroutine(value):
        value.close()  # a decorator has hidden that it is async
        raise _cannot_wait(callee)
    return value


def _check(callee: Callee, options: Options, values: list[Any]) -> bool:
    """Refuse options without a meaning here; return whether a flow is running."""
    for value in (*values, options.when):
        if isinstance(value, Ref | Condition):
            raise InvalidFlow(
                f"{callee.kind} {callee.label!r} is given {value!r} at {caller()}, "
                "outside the function of a flow",
                hint="use the results of steps only inside the flow's function, "
                "and not in threads that it starts",
            )
    in_flow = active() is PLAIN
    if in_flow and callee.is_async:
        raise _cannot_wait(callee)
    return in_flow


def _cannot_wait(callee: Callee) -> InvalidFlow:
    return InvalidFlow(
        f"{callee.kind} {callee.label!r} is async: a `def` flow that runs as plain Python "
        "cannot wait for it",
        hint="enqueue the flow, or replace the step by a plain function in this test",
    )


def _skipped(options: Options) -> bool:
    return options.when is not UNSET and not options.when


def _failure(
    callee: Callee,
    error: Exception,
    index: int | None = None,
    item: Any = None,
) -> StepFailure:
    if isinstance(error, PassedFailure):
        return error.failure
    return StepFailure(
        step=callee.label,
        index=index,
        item=item,
        error=type(error).__name__,
        message=str(error),
    )
