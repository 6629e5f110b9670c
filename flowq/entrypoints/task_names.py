"""Checks that no step or flow has the name of a task that the app's author has written.

Celery keeps the first task of a name. So messages of steps would run that task, or messages of the
task a step. Celery creates most tasks late, when it finalizes the app. So the check includes
declared tasks, and runs when a step is defined, when the app is finalized, and when a worker
starts. Each declared task is read once, so that to define a step costs the same in an app of any
size.
"""

import inspect
from collections.abc import Collection
from itertools import islice
from typing import Any

from celery import Celery
from celery._state import connect_on_app_finalize

from flowq.core.errors import InvalidFlow
from flowq.engine.registry.origins import shown_place
from flowq.engine.registry.registry import registry


class TaskNames:
    """The names of an app's tasks: those of flowq's own, and those of its author.

    Args:
        app: The app.
        own: The functions of flowq's own tasks.
    """

    def __init__(self, app: Celery, own: Collection[Any]) -> None:
        self._app: Any = app  # its type stubs lack the attributes that are read here
        self._own = own
        self._declared: dict[str, Any] = {}  # functions of the author's tasks, by name
        self._read = 0  # how many of `_pending` are in `_declared`, or are flowq's own

    def check(self, names: Collection[str] | None = None) -> None:
        """Check that no task of an app's author has the name of a step or flow.

        Args:
            names: The names to look for; None for those of all steps and flows.

        Raises:
            InvalidFlow: one has; the message says where both are defined.
        """
        self._read_declared()
        for name in registry.steps.keys() | registry.flows.keys() if names is None else names:
            if (function := self._others(name)) is not None:
                raise InvalidFlow(
                    f"a Celery task and a step or flow are named {name!r}: {_where(function)} and "
                    f"{registry.place_of(name)}",
                    hint='give one of them another name: @step(name="…") or @app.task(name="…")',
                )

    def check_when_finalized(self) -> None:
        """Check the names of all steps and flows as Celery makes the app's tasks."""
        connect_on_app_finalize(lambda one: self.check() if one is self._app else None)

    def forget(self, names: Collection[str]) -> None:
        """Remove flowq's own tasks of these names, the last that were added."""
        self._read_declared()
        pending = self._app._pending  # noqa: SLF001
        while pending:
            declared = _declaration(pending[-1])
            if declared is None or declared[0] not in self._own or declared[1] not in names:
                break
            pending.pop()
        self._read = len(pending)
        for name in names:
            if _function(self._app._tasks.get(name)) in self._own:  # noqa: SLF001
                del self._app._tasks[name]  # noqa: SLF001

    def _others(self, name: str) -> Any:
        """Return the function of the author's task of a name; None when there is none."""
        # The attribute `tasks` would finalize the app.
        made = _function(self._app._tasks.get(name))  # noqa: SLF001
        return self._declared.get(name) if made is None or made in self._own else made

    def _read_declared(self) -> None:
        """Read the tasks that Celery has not made yet, and that were not read before."""
        pending = self._app._pending  # noqa: SLF001
        if len(pending) < self._read:
            self._read = 0  # Celery has made them
        for declared in map(_declaration, list(islice(pending, self._read, None))):
            if declared is not None and declared[0] not in self._own:
                function, name = declared
                self._declared[name or self._generated(function)] = function
        self._read = len(pending)

    def _generated(self, function: Any) -> str:
        name: str = self._app.gen_task_name(function.__name__, function.__module__)
        return name


def _function(task: Any) -> Any:
    """Return the function that a task was made of, or its class; None when there is no task."""
    return None if task is None else getattr(task, "_decorated_fun", None) or type(task)


def _declaration(proxy: Any) -> tuple[Any, str | None] | None:
    """Return the function and the name of a declared task; None when Celery has made it."""
    try:
        # Evaluating one would load the app's settings, which may not be complete yet.
        (function,) = object.__getattribute__(proxy, "_Proxy__args")
        options = object.__getattribute__(proxy, "_Proxy__kwargs")
    except AttributeError:
        return None
    return function, options.get("name")


def _where(function: Any) -> str:
    inner = inspect.unwrap(function)
    code = getattr(inner, "__code__", None)
    if code is None:
        return f"{inner.__module__}.{inner.__qualname__}"
    return f"{inner.__qualname__} ({shown_place(code.co_filename, code.co_firstlineno)})"
