"""Runs flows and steps that are called as Celery tasks, without flowq.

Every step and every flow is a Celery task under its name. So `beat_schedule`, `send_task`,
`app.tasks[name].delay()`, and messages from before a task became a step reach them. Messages of
flowq have no arguments and the id of a step run; all other messages are direct calls:

    of a flow    starts a run with these inputs and returns the run's id; the message's id is the
                 idempotency key, so a message that is delivered twice starts one run
    of a step    calls the function as any Celery task, and returns what it returns, so that a
                 canvas of before still ends right; no run, and no retries, limits or costs
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

from celery import Task
from celery.app.task import Context
from celery.exceptions import TaskPredicate
from pydantic_core import PydanticSerializationError, to_jsonable_python

from flowq import client
from flowq.core.errors import InvalidInput, NotSerializable, Unavailable
from flowq.core.graph import MAX_NAME_LENGTH
from flowq.engine.registry.registry import RegisteredFlow, RegisteredStep, registry
from flowq.engine.results.codecs import coerce
from flowq.engine.runtime.causes import error_details, message_of, type_of

logger = logging.getLogger(__name__)

#: Version of the ids of step runs; Celery's own are of version 4.
_OURS: Final = 7
#: Seconds until a flow that could not be recorded is tried again.
_AGAIN: Final = 15.0

_warned: set[str] = set()


def is_message_of_step(request: Context, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Return whether a message is flowq's own: the id of a step run in its run, nothing else."""
    task_id = str(request.id)
    return not args and not kwargs and is_id_of_step(task_id) and request.root_id != task_id


def is_id_of_step(task_id: str) -> bool:
    """Return whether flowq made the id of a task."""
    try:
        return UUID(task_id).version == _OURS
    except ValueError:
        return False


def call_directly(task: "Task[Any, Any]", args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Run the called flow or step, and return the result of the Celery task."""
    name = str(task.name)
    try:
        if name in registry.flows:
            return _start(task, registry.flows[name], args, kwargs)
        return _call(registry.step(name), args, kwargs)
    except TaskPredicate:
        raise
    except Exception as error:
        text = "%s, called as a Celery task, has failed: %s: %s\n%s"
        extra = {"action": "call", "task_id": task.request.id}
        said = (name, type_of(error), message_of(error), error_details(error)["traceback"].rstrip())
        logger.error(text, *said, extra=extra)  # noqa: TRY400 - in the message, and bounded
        raise


def _start(
    task: "Task[Any, Any]", flow: RegisteredFlow, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> str:
    """Start a run; at most one for each message."""
    key = f"celery:{task.request.id}" if task.request.id else None  # None: called as a function
    if key is not None and len(key) > MAX_NAME_LENGTH:
        key = f"celery:{sha256(key.encode()).hexdigest()}"
    try:
        run = client.submit(flow, flow.bind(tuple(args), kwargs), idempotency_key=key)
    except Unavailable as error:
        logger.warning("run of %s is started later: %s", flow.name, error)
        raise task.retry(exc=error, countdown=_AGAIN, max_retries=None) from error
    extra = {"action": "start", "run_id": str(run.id), "task_id": task.request.id}
    logger.info("%s was called as a Celery task: run %s", flow.name, run.id, extra=extra)
    return str(run.id)


def _call(step: RegisteredStep, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Call the function of a step like any task; its result goes to the result backend, as JSON."""
    if step.name not in _warned:
        _warned.add(step.name)
        logger.warning(
            "step %s was called as a Celery task, so it runs as one: without a run, and without "
            "the step's retries, limits and records. Call it in a flow, and enqueue the flow: "
            "for that type: flowq docs celery-canvas (Roll-out). This is said once",
            step.name,
            extra={"action": "call"},
        )
    try:
        bound = step.signature.bind(*args, **kwargs)
    except TypeError as error:
        raise InvalidInput(
            f"step {step.name!r} is called wrongly as a Celery task: {error}; "
            f"its parameters are {step.signature}"
        ) from None
    for name, value in bound.arguments.items():
        bound.arguments[name] = coerce(
            value, step.parameters.get(name), where=f"{step.name}({name})"
        )
    value = step.function(*bound.args, **bound.kwargs)
    if step.is_async:
        value = asyncio.run(value)
    try:
        return to_jsonable_python(value)
    except PydanticSerializationError as error:
        raise NotSerializable(
            f"{step.name} was called as a Celery task and returned a value that is not JSON: "
            f"{error}",
            hint="call it in a flow: results of steps may have more types",
        ) from error
