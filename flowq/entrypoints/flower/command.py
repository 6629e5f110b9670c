"""`celery -A module dashboard`: Flower, with the Flows tab, and with all of Flower's options.

What `flower.command.flower` does, line by line, for another class of application.
"""

import atexit
import signal
import sys
from typing import Any

import click
from celery.bin.base import CeleryCommand
from flower.command import (
    apply_env_options,
    apply_options,
    extract_settings,
    print_banner,
    setup_logging,
    sigterm_handler,
    warn_about_celery_args_used_in_flower_command,
)
from flower.options import default_options as options
from flower.urls import settings

from flowq.entrypoints.flower.app import FlowqFlower
from flowq.entrypoints.worker import install


@click.command(cls=CeleryCommand, context_settings={"ignore_unknown_options": True})
@click.argument("tornado_argv", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def dashboard(context: click.Context, tornado_argv: tuple[str, ...]) -> None:
    """Flower with a tab for flows: what runs, what is stuck, why it failed, what it cost."""
    warn_about_celery_args_used_in_flower_command(context, tornado_argv)
    apply_env_options()
    apply_options(sys.argv[0], tornado_argv)
    extract_settings()
    setup_logging()

    app: Any = install(context.obj.app)
    page = FlowqFlower(capp=app, options=options, **settings)
    atexit.register(page.stop)
    signal.signal(signal.SIGTERM, sigterm_handler)
    port = page.start_http_server()
    if not context.obj.quiet:
        print_banner(app, "ssl_options" in settings, port)
    try:
        page.start()
    except (KeyboardInterrupt, SystemExit):
        return
