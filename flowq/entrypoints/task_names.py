"""Checks that no step or flow has the name of a task that the app's author has written.

Celery keeps the first task of a name. So messages of steps would run that task, or messages of the
task a step. Celery creates most tasks late, when it finalizes the app. So the check includes
declared tasks, and runs when a step is defined, when the app is finalized, and when a worker
starts.
"""

import inspect
from collections.abc import Collection, Iterator
from typing import Any

from celery import Celery
from celery._state import connect_on_app_finalize

from flowq.core.errors import InvalidFlow
from flowq.engine.registry.origins import shown_place
from flowq.engine.registry.registry import registry


def check_names(app: Celery, own: Collection[Any], names: Collection[str] | None = None) -> None:
    """Check that no task of an app's author has the name of a step or flow.

    Args:
        own: The functions of flowq's own tasks.
        names: The names to look for; None for those of all steps and flows.

    Raises:
        InvalidFlow: one has; the message says where both are defined.
    """
    wanted = registry.steps.keys() | registry.flows.keys() if names is None else names
    for name, function in _others(app, own):
        if name in wanted:
            raise InvalidFlow(
                f"a Celery task and a step or flow are named {name!r}: {_where(function)} and "
                f"{registry.place_of(name)}",
                hint='give one of them another name: @step(name="…") or @app.task(name="…")',
            )


def check_names_when_finalized(app: Celery, own: Collection[Any]) -> None:
    """Check the names of all steps and flows as Celery makes the app's tasks."""
    connect_on_app_finalize(lambda one: check_names(app, own) if one is app else None)


def _others(app: Celery, own: Collection[Any]) -> Iterator[tuple[str, Any]]:
    """Yield the name and the function of each task that is not flowq's own."""
    unseen: Any = app  # its type stubs lack this attribute
    for name, task in list(unseen._tasks.items()):  # noqa: SLF001 - `tasks` would finalize it
        function = getattr(task, "_decorated_fun", None) or type(task)
        if function not in own:
            yield name, function
    for declared in list(unseen._pending):  # noqa: SLF001 - those that Celery has not made yet
        try:
            # Evaluating one would load the app's settings, which may not be complete yet.
            (function,) = object.__getattribute__(declared, "_Proxy__args")
            options = object.__getattribute__(declared, "_Proxy__kwargs")
        except AttributeError:
            continue  # it is created, and was checked above
        if function not in own:
            yield options.get("name") or _generated(app, function), function


def _generated(app: Celery, function: Any) -> str:
    name: str = app.gen_task_name(function.__name__, function.__module__)
    return name


def _where(function: Any) -> str:
    inner = inspect.unwrap(function)
    code = getattr(inner, "__code__", None)
    if code is None:
        return f"{inner.__module__}.{inner.__qualname__}"
    return f"{inner.__qualname__} ({shown_place(code.co_filename, code.co_firstlineno)})"
