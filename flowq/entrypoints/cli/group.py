"""What all commands share: they load late, and they end the same way.

`flowq --help` must answer at once, and Celery with SQLAlchemy takes most of a second to import. So
the commands are declared apart from what they do, and `work` imports that when a command runs.

Every error that flowq raises on purpose leaves here as its message, its hint and an exit code:

    0  all is well     1  the run failed     2  it was asked for wrongly     3  it cannot connect
    130  interrupted
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any, Final

import click

from flowq.core.errors import (
    FlowNotFound,
    FlowqError,
    InvalidFlow,
    InvalidInput,
    InvalidSetting,
    RunNotFound,
    Unavailable,
)

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
UNAVAILABLE: Final = 3
INTERRUPTED: Final = 130


def exit_code(error: FlowqError) -> int:
    """Return the exit code that an error ends a command with."""
    if isinstance(error, Unavailable):
        return UNAVAILABLE
    asked_wrongly = InvalidFlow | InvalidInput | InvalidSetting | FlowNotFound | RunNotFound
    return USAGE if isinstance(error, asked_wrongly) else FAILED


def work(name: str) -> ModuleType:
    """Import the module that does the work of a command."""
    return import_module(f"{__package__}.{name}")


def _guard_terminal() -> None:
    """Show what would act on a terminal in warnings and tracebacks too, which pass no console."""
    import logging  # noqa: PLC0415 - help needs none of it
    import traceback  # noqa: PLC0415

    from flowq.entrypoints.visible import guard, visible  # noqa: PLC0415

    def show(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        text = "".join(traceback.format_exception(kind, error, trace))
        click.echo(visible(text, lines=True), err=True, nl=False)

    sys.excepthook = show
    last = logging.lastResort
    guard([*logging.getLogger().handlers, *([last] if last else [])])


class FlowqGroup(click.Group):
    """A group whose commands return an exit code, or None, and may raise any `FlowqError`."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click passes it
        """Return the names in the order of their definition: the first ones first."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command and exit."""
        if ctx.parent is None:
            _guard_terminal()
        try:
            code = super().invoke(ctx)
        except FlowqError as error:
            work("display.console").print_error(error)
            code = exit_code(error)
        except click.ClickException as error:
            shown = work("display.console").visible(error.message, lines=True)
            error.message = shown  # type: ignore[misc]  # final for those who read it
            raise
        except KeyboardInterrupt:
            code = INTERRUPTED
        except BrokenPipeError:
            # The reader, say `head`, has seen enough. Python would complain at its own end.
            sys.stdout = None
            code = OK
        if ctx.parent is None:
            ctx.exit(code or OK)
        return code
