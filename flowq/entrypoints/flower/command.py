"""`celery -A module dashboard`: Flower, with the Flows tab, and with all of Flower's options.

Every `celery` command of an environment with flowq imports this module, also for apps without
flowq. So it imports only what Celery's command line has imported already.
"""

import click
from celery.bin.base import CeleryCommand


@click.command(cls=CeleryCommand, context_settings={"ignore_unknown_options": True})
@click.option(
    "--fd",
    type=click.IntRange(min=0),
    metavar="N",
    help="File descriptor of an inherited listening socket; --address and --port are ignored.",
)
@click.argument("tornado_argv", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def dashboard(context: click.Context, fd: int | None, tornado_argv: tuple[str, ...]) -> None:
    """Flower with a tab for flows: running and stuck runs, failures, costs."""
    from flowq.entrypoints.flower.serving import serve  # noqa: PLC0415 - see above

    serve(context, tornado_argv, fd=fd)
