"""The Celery app that a command sends through: the user's own, or none.

Routes, queues and the broker of a user's app are written in its Python module and nowhere else. So
a command that sends steps has to load that module: the one that `--app` or FLOWQ_APP names, as
`celery -A` takes it, or the file that it is given anyway. Without an app nothing is sent. The
workers, which know their app, send the steps at the next pass of their sweepers.
"""

from importlib.util import find_spec
from types import ModuleType

import click
from celery import Celery

from flowq.authoring.definitions.flows import Flow
from flowq.core.errors import FlowNotFound
from flowq.entrypoints.cli.app import environment
from flowq.entrypoints.cli.app.loading import load_module, split
from flowq.entrypoints.worker import install


def use_named(*, required: bool = True) -> Celery | None:
    """Load the app that `--app` or FLOWQ_APP names, and send through it; None when none is named.

    Args:
        required: Whether the module must hold an app. Commands that load it for the edge types
            that it registers do not need one.

    Raises:
        FlowNotFound: its module cannot be imported, or holds no Celery app.
    """
    target = named()
    if target is None:
        return None
    file, name = split(target)
    found = app_in(load_module(file), file, name)
    if found is None and required:
        raise _no_app(target)
    return found


def named() -> str | None:
    """Return the value of `--app`, or else of FLOWQ_APP."""
    context = click.get_current_context(silent=True)
    given = context.find_root().params.get("app") if context is not None else None
    return given or environment.settings().app


def app_in(module: ModuleType, file: str, name: str = "") -> Celery | None:
    """Return the Celery app of a module, with flowq installed; None when the module has none.

    Raises:
        FlowNotFound: the named object is no app.
    """
    if name:
        value = vars(module).get(name)
        if isinstance(value, Flow):
            return app_in(module, file)  # what was typed after `flowq run`, typed again
        if not isinstance(value, Celery):
            raise _no_app(f"{file}:{name}")
        return install(value)
    values = [vars(module).get("app"), vars(module).get("celery"), *vars(module).values()]
    found = next((value for value in values if isinstance(value, Celery)), None)
    if found is None and hasattr(module, "__path__"):
        found = _of_package(module.__name__)
    return install(found) if found is not None else None


def _of_package(package: str) -> Celery | None:
    """Return the app of a package's module `celery`, where Celery looks for it too."""
    if find_spec(f"{package}.celery") is None:
        return None
    module = load_module(f"{package}.celery")
    return next((value for value in vars(module).values() if isinstance(value, Celery)), None)


def _no_app(target: str) -> FlowNotFound:
    return FlowNotFound(
        f"{target} is not a Celery app and does not contain one",
        hint="name it, e.g. shop.tasks:app",
    )
