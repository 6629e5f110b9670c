"""`flowq worker` and `flowq flower`: Celery's own programs, started with less to remember.

They run in this process, so signals reach Celery as it expects. A module that has a Celery app is
started with that app; one that only defines steps and flows gets flowq's own.
"""

from collections.abc import Sequence

import click
from celery import Celery

from flowq import bootstrap
from flowq.entrypoints.cli.app import apps, environment
from flowq.entrypoints.cli.app.loading import load_module, split
from flowq.entrypoints.cli.group import OK
from flowq.entrypoints.worker import celery_app

#: flowq needs no worker to know of another, and both make the start of many workers slow.
_WORKER_DEFAULTS = ("--without-mingle", "--without-gossip", "--loglevel", "INFO")


def worker(*, target: str | None, options: Sequence[str]) -> int:
    """Start a worker; returns when it has ended."""
    target, options = _split(target, options)
    found = _app_of(target)
    app = found or celery_app(load_module(split(str(target))[0]).__name__)
    return _start(app, ["worker", *_WORKER_DEFAULTS, *options])


def flower(*, target: str | None, options: Sequence[str]) -> int:
    """Start Flower with the Flows tab; returns when it has ended."""
    target, options = _split(target, options)
    app = _app_of(target)
    if app is None:
        # Its workers may have another app, with routes of its own: what is resumed is left to them.
        app = celery_app(load_module(split(str(target))[0]).__name__)
        bootstrap.forget_app()
    return _start(app, ["dashboard", *options])


def _start(app: Celery, arguments: list[str]) -> int:
    environment.prepare()
    code: int | None = app.start(arguments)
    return code or OK


def _split(target: str | None, options: Sequence[str]) -> tuple[str | None, Sequence[str]]:
    """Tell a file from an option of Celery's, where `--app` stands for the file."""
    if target is not None and target.startswith("-"):
        return None, [target, *options]
    return target, options


def _app_of(target: str | None) -> Celery | None:
    """Import what was given and return its app; None for flows without an app."""
    environment.settings()
    if target is None:
        app = apps.use_named()
        if app is None:
            raise click.UsageError(
                "Missing argument 'FILE'. Give a file of flows, or an app: flowq --app MODULE …"
            )
        return app
    file, name = split(target)
    module = load_module(file)
    return apps.use_named() or apps.app_in(module, file, name)
