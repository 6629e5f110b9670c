"""The server that `celery -A module dashboard` runs: Flower with the Flows tab.

It does the same as `flower.command.flower`, for another class of application.
"""

import atexit
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from typing import Any, Final

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
from tornado.httpserver import HTTPServer

from flowq.entrypoints.escaping import guard
from flowq.entrypoints.flower.app import FlowqFlower
from flowq.entrypoints.worker import install

_INTERNET: Final = (socket.AF_INET, socket.AF_INET6)
#: Seconds that a stopping Flower waits for questions that it has begun to ask workers.
_LAST_WAIT: Final = 5.0


def serve(context: click.Context, arguments: Sequence[str], *, fd: int | None = None) -> None:
    """Serve the pages of the context's Celery app until this process is stopped.

    Args:
        context: The context of the `celery` command.
        arguments: Flower's own options.
        fd: A listening socket that this process has inherited; None binds a new one.
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
    port = page.start_http_server() if fd is None else _serve_at(page, fd)
    if not context.obj.quiet:
        print_banner(app, "ssl_options" in settings, port)
    try:
        page.start()
    except (KeyboardInterrupt, SystemExit):
        page.stop()
        _end_within(_LAST_WAIT)


def _end_within(seconds: float) -> None:
    """End this process after so many seconds, if it has not ended by then.

    Python waits for Flower's threads, and one that asks workers waits for a broker that is away.
    """
    timer = threading.Timer(seconds, os._exit, (0,))
    timer.daemon = True
    timer.start()


def _serve_at(page: FlowqFlower, fd: int) -> int:
    """Serve at an inherited socket and return its port, as `Flower.start_http_server`."""
    listener = _listening(fd)
    if listener is None:
        raise click.BadParameter(f"{fd} is no TCP socket that listens", param_hint="--fd")
    listener.setblocking(False)
    server = HTTPServer(page, ssl_options=page.ssl_options, xheaders=options.xheaders)
    server.add_socket(listener)
    port: int = listener.getsockname()[1]
    return port


def _listening(fd: int) -> socket.socket | None:
    """Return the TCP socket that has this number, if it is one and listens."""
    try:
        found = socket.socket(fileno=fd)
    except OSError:
        return None
    if found.family in _INTERNET and found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return found
    found.detach()  # another part of the process owns it
    return None
