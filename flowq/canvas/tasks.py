"""The step that runs a Celery task: `flowq.canvas.task`, known to every worker.

It is queued, routed and shown under the name of the task. Its result is `{"value": …}`, or
`{"next": …}` with the plan of what runs instead, after `self.replace` or a retry with other
arguments. A retry is another attempt of the step; the task decides how often and when, as in
Celery.
"""

import builtins
import sys
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final, cast

from celery import Celery
from celery._state import get_current_worker_task
from celery.app.task import Context
from celery.canvas import Signature
from celery.exceptions import ChordError, Retry, TaskRevokedError
from celery.utils.time import maybe_make_aware

from flowq import bootstrap
from flowq.adapters import clock
from flowq.authoring.definitions.steps import step
from flowq.canvas.compiling import compile_canvas
from flowq.canvas.plan import written
from flowq.canvas.preparing import Replaced, is_changed, prepared
from flowq.canvas.values import decoded, encoded
from flowq.core.errors import InvalidFlow, NotSerializable, RetryRequested
from flowq.engine.replay.values import LAZY_BYTES
from flowq.engine.runtime.context import StepContext, current

VALUE: Final = "value"
NEXT: Final = "next"


@step(name="flowq.canvas.task")
def run_task(
    task: str, args: list[Any], kwargs: dict[str, Any], facts: dict[str, Any]
) -> dict[str, Any]:
    """Run a Celery task once.

    Args:
        task: Its name.
        args: Its arguments, as Celery's JSON.
        kwargs: Likewise.
        facts: What `TaskPlan` has of its request: `retries`, `expires`, `headers`, `stamps`; and of
            an error callback the `failure`.

    Raises:
        RetryRequested: it asks for a retry.
        TaskRevokedError: it has expired.
        NotSerializable: its result has no JSON form.
        Exception: what its code raises.
    """
    app, context = bootstrap.app(), current()
    if task not in app.tasks:
        raise InvalidFlow(
            f"the app {app.main!r} of this worker has no task {task!r}",
            hint="start workers with the module that defines it",
        )
    expires = facts.get("expires")
    if expires is not None and clock.now() > datetime.fromisoformat(expires):
        raise TaskRevokedError(f"{task} has expired at {expires}")
    given, named = decoded(args), decoded(kwargs)
    failure = facts.get("failure")
    if failure is not None:
        given = _of_errback(app, task, given, named, failure)
    request = _request(app, task, facts, context)
    try:
        value = prepared(app, task).run(given, named, request)
    except Replaced as replaced:
        return {NEXT: _plan(replaced.signature, app)}
    except Retry as retry:
        return _retried(app, retry)
    return {VALUE: encoded(value, f"the result of {task}")}


def _request(
    app: Celery, task: str, facts: Mapping[str, Any], context: StepContext
) -> dict[str, Any]:
    """Return the request of an attempt, as a message of Celery would have made it."""
    outer = get_current_worker_task()
    own = None if outer is None else outer.request
    limits = [app.tasks[task].time_limit, app.tasks[task].soft_time_limit]
    stamps = decoded(facts.get("stamps", {}))
    return {
        "id": str(context.step_id),
        "task": task,
        "root_id": str(context.run_id),
        "retries": facts.get("retries", 0) + context.retries,
        "hostname": None if own is None else own.hostname,
        "delivery_info": None if own is None else own.delivery_info,
        "expires": facts.get("expires"),
        "timelimit": limits if any(limits) else None,
        "headers": decoded(facts.get("headers", {})) or None,
        "stamps": stamps or None,
        "stamped_headers": list(stamps) or None,
        "ignore_result": True,  # the attempt stores it
    }


def _retried(app: Celery, retry: Retry) -> dict[str, Any]:
    """Ask for another attempt, or return what a retry with other arguments is."""
    delay = _delay(app, retry.when)
    signature = cast("Any", retry).sig
    if is_changed(retry):
        signature.set(countdown=delay.total_seconds(), eta=None)
        return {NEXT: _plan(signature, app)}
    raise RetryRequested(str(retry), delay) from cast("Any", retry).exc


def _delay(app: Celery, when: Any) -> timedelta:
    """Return how long it is until a moment, or the seconds of a countdown."""
    if isinstance(when, datetime):
        return max(maybe_make_aware(when, app.timezone) - clock.now(), timedelta(0))
    return timedelta(seconds=max(float(when or 0), 0))


def _plan(signature: Signature, app: Celery) -> dict[str, Any]:
    """Return the plan of a signature that Celery has tied to the task that it replaces.

    Raises:
        InvalidFlow: it cannot be expressed.
        NotSerializable: it is too large, or has no JSON form.
    """
    plan = written(compile_canvas(signature, app))
    size = len(str(plan))
    if size > LAZY_BYTES // 2:
        raise NotSerializable(
            f"a task is replaced by a signature of {size:,} characters, the limit is "
            f"{LAZY_BYTES // 2:,}",
            hint="let the tasks of the signature load what is large",
        )
    return plan


# --- error callbacks -----------------------------------------------------------------------------


def _of_errback(
    app: Celery, task: str, args: list[Any], kwargs: dict[str, Any], failure: Mapping[str, Any]
) -> list[Any]:
    """Return the arguments of an error callback, in the style that Celery gives it."""
    signature: Any = app.tasks[task].signature(tuple(args), kwargs)
    signature.immutable = failure["immutable"]
    if failure["immutable"]:
        return args
    # Celery's own choice: a callback that takes more than an id gets the error itself.
    backend: Any = app.backend
    takes_error = hasattr(signature.type, "__header__") and backend._errback_arity_greater(  # noqa: SLF001 - as its worker does
        signature, 1
    )
    if not takes_error:
        return [failure["id"], *args]
    request = Context(
        id=failure["id"],
        task=failure["task"],
        args=decoded(failure["args"]),
        kwargs=decoded(failure["kwargs"]),
        retries=failure["retries"],
        root_id=str(current().run_id),
        called_directly=False,
    )
    return [request, _error(app, task, failure), _traceback(failure), *args]


def _error(app: Celery, task: str, failure: Mapping[str, Any]) -> BaseException:
    """Return the error of a failed task, as Celery's JSON results return it."""
    if failure["chord"]:
        return ChordError(failure["message"])
    name = failure["error"]
    places = (builtins.__name__, type(app.tasks[failure["task"] or task]).__module__)
    module = next((one for one in places if hasattr(sys.modules.get(one), name)), None)
    error: BaseException = app.backend.exception_to_python(
        {"exc_type": name, "exc_message": [failure["message"]], "exc_module": module}
    )
    return error


def _traceback(failure: Mapping[str, Any]) -> str | None:
    """Return the traceback of a failed task as text; None of a chord, as in Celery."""
    context = current()
    row = context.stored(failure["key"]) if context.stored and not failure["chord"] else None
    return None if row is None else (row.metadata or {}).get("traceback")
