"""Flower with the Flows tab as a server of its own: what `celery -A module dashboard` runs.

What `flower.command.flower` does, line by line, for another class of application.
"""

import atexit
import logging
import signal
import sys
from collections.abc import Sequence
from typing import Any

import click
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

from flowq.entrypoints.escaping import guard
from flowq.entrypoints.flower.app import FlowqFlower
from flowq.entrypoints.worker import install


def serve(context: click.Context, arguments: Sequence[str]) -> None:
    """Serve the pages of the context's Celery app until somebody ends this process.

    Args:
        context: The context of the `celery` command.
        arguments: Flower's own options.
    """
    warn_about_celery_args_used_in_flower_command(context, arguments)
    apply_env_options()
    apply_options(sys.argv[0], arguments)
    extract_settings()
    setup_logging()
    guard(logging.getLogger().handlers)

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
