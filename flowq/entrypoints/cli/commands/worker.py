"""`flowq worker` and `flowq flower`: Celery's own programs with flowq's defaults.

They run in this process, so signals reach Celery as it expects. A module that has a Celery app is
started with that app; one that only defines steps and flows gets flowq's own.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from flowq.entrypoints.cli.group import OK

if TYPE_CHECKING:
    from celery import Celery

#: flowq workers do not need to know each other, and both make the start of many workers slow.
_WORKER_DEFAULTS = ("--without-mingle", "--without-gossip", "--loglevel", "INFO")
_REST = {"ignore_unknown_options": True, "allow_interspersed_args": False}


@click.command(context_settings=_REST, options_metavar="")
@click.argument("target", metavar="[FILE]", required=False)
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[CELERY OPTIONS]...")
def worker(target: str | None, options: Sequence[str]) -> int:
    """Start a Celery worker for the flows of a file or module.

    Does what `celery -A MODULE worker --without-mingle --without-gossip` does, after it has checked
    that the database is migrated; starts the embedded Valkey when FLOWQ_REDIS_URL is not set. All
    further options are Celery's, see `celery worker --help`. Without FILE and --app it runs what
    every worker can run: documents of blocks.
    """
    from flowq.entrypoints.cli.app import pools

    pools.prepare([str(target), *options])  # before anything else is imported
    from flowq.entrypoints.worker import celery_app

    target, options = _split(target, options)
    app = _app_of(target) or celery_app(_module(target))
    return _start(app, ["worker", *_WORKER_DEFAULTS, *options])


@click.command(context_settings=_REST, options_metavar="")
@click.argument("target", metavar="[FILE]", required=False)
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[FLOWER OPTIONS]...")
def flower(target: str | None, options: Sequence[str]) -> int:
    """Start Flower with its Flows tab, for a file or module of flows.

    Does what `celery -A MODULE dashboard` does. All further options are Flower's.
    """
    from flowq import bootstrap
    from flowq.entrypoints.worker import celery_app

    target, options = _split(target, options)
    app = _app_of(target)
    if app is None:
        # Its workers may have another app with its own routes, so they send what is resumed here.
        app = celery_app(_module(target))
        bootstrap.forget_app()
    return _start(app, ["dashboard", *options])


def _start(app: "Celery", arguments: list[str]) -> int:
    from flowq.entrypoints.cli.app import environment

    environment.prepare()
    code: int | None = app.start(arguments)
    return code or OK


def _split(target: str | None, options: Sequence[str]) -> tuple[str | None, Sequence[str]]:
    """Separate the file from Celery's options; `--app` may replace the file."""
    if target is not None and target.startswith("-"):
        return None, [target, *options]
    return target, options


def _module(target: str | None) -> str:
    """Import the file of flows, if there is one, and return the name of its module."""
    from flowq.entrypoints.cli.app.loading import load_module, split

    return "flowq" if target is None else load_module(split(target)[0]).__name__


def _app_of(target: str | None) -> "Celery | None":
    """Import the given module and return its app; None for flows without an app."""
    from flowq.entrypoints.cli.app import apps, environment
    from flowq.entrypoints.cli.app.loading import load_module, split

    environment.settings()
    if target is None:
        return apps.use_named()
    file, name = split(target)
    module = load_module(file)
    return apps.use_named() or apps.app_in(module, file, name)
