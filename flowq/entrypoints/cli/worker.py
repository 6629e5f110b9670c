"""`flowq worker` and `flowq flower`: Celery's own programs, started with less to remember.

They run in this process, so signals reach Celery as it expects. A module that has a Celery app is
started with that app; one that only defines steps and flows gets flowq's own.
"""

from collections.abc import Sequence
from types import ModuleType

from celery import Celery

from flowq.authoring.flows import Flow
from flowq.core.errors import FlowNotFound
from flowq.entrypoints.cli import environment
from flowq.entrypoints.cli.group import OK
from flowq.entrypoints.cli.loading import load_module, split
from flowq.entrypoints.worker import celery_app, install

#: flowq needs no worker to know of another, and both make the start of many workers slow.
_WORKER_DEFAULTS = ("--without-mingle", "--without-gossip", "--loglevel", "INFO")


def worker(*, target: str, options: Sequence[str]) -> int:
    """Start a worker; returns when it has ended."""
    return _start(target, ["worker", *_WORKER_DEFAULTS, *options])


def flower(*, target: str, options: Sequence[str]) -> int:
    """Start Flower with the Flows tab; returns when it has ended."""
    return _start(target, ["dashboard", *options])


def _start(target: str, arguments: list[str]) -> int:
    environment.settings()
    file, name = split(target)
    app = app_of(load_module(file), file, name)
    environment.prepare()
    code: int | None = app.start(arguments)
    return code or OK


def app_of(module: ModuleType, file: str, name: str = "") -> Celery:
    """Return the Celery app of a module, or flowq's own for a module without one.

    Raises:
        FlowNotFound: the app that was named is none.
    """
    if name:
        named = vars(module).get(name)
        if isinstance(named, Flow):
            return app_of(module, file)  # what was typed after `flowq run`, typed again
        if not isinstance(named, Celery):
            raise FlowNotFound(
                f"{name!r} in {file} is no Celery app", hint=f"leave it out: flowq worker {file}"
            )
        return install(named)
    apps = [value for value in vars(module).values() if isinstance(value, Celery)]
    for usual in ("app", "celery"):
        if isinstance(vars(module).get(usual), Celery):
            return install(vars(module)[usual])
    return install(apps[0]) if apps else celery_app(module.__name__)
