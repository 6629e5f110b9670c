"""What all commands share: they load late, and they end the same way.

`flowq --help` must answer at once, and Celery with SQLAlchemy takes most of a second to import. So
a group imports its commands when they are used, as click documents it, and the module of a command
imports in its functions what the command works with.

Every error that flowq raises on purpose leaves here as its message, its hint and an exit code:

    0  all is well     1  the run failed     2  it was asked for wrongly     3  it cannot connect
    130  interrupted
"""

import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final

import click

from flowq.core.errors import (
    FlowNotFound,
    FlowqError,
    InvalidFlow,
    InvalidInput,
    InvalidSetting,
    RunNotFound,
    ScheduleNotFound,
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
    not_found = FlowNotFound | RunNotFound | ScheduleNotFound
    asked_wrongly = InvalidFlow | InvalidInput | InvalidSetting | not_found
    return USAGE if isinstance(error, asked_wrongly) else FAILED


def _guard_terminal() -> None:
    """Show what would act on a terminal in warnings and tracebacks too, which pass no console."""
    import logging  # noqa: PLC0415 - help needs none of it
    import traceback  # noqa: PLC0415

    from flowq.entrypoints.escaping import escaped, guard  # noqa: PLC0415

    def show(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        text = "".join(traceback.format_exception(kind, error, trace))
        click.echo(escaped(text, lines=True), err=True, nl=False)

    sys.excepthook = show
    last = logging.lastResort
    guard([*logging.getLogger().handlers, *([last] if last else [])])


class LazyGroup(click.Group):
    """A group that imports a command when it is used, and ends all of them in the same way.

    A command returns an exit code, or None, and may raise any `FlowqError`.

    Attributes:
        lazy_subcommands: Where each command is, `module:name` below `commands`, in the order that
            help has.
    """

    def __init__(
        self, *args: Any, lazy_subcommands: Mapping[str, str] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.lazy_subcommands = lazy_subcommands or {}

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click passes it
        """Return the names in the order of their definition: the first ones first."""
        return [*self.lazy_subcommands, *self.commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, imported if need be; None when there is no such command."""
        if cmd_name not in self.lazy_subcommands:
            return super().get_command(ctx, cmd_name)
        module, _, name = self.lazy_subcommands[cmd_name].partition(":")
        command = getattr(import_module(f"{__package__}.commands.{module}"), name)
        assert isinstance(command, click.Command)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command and exit."""
        if ctx.parent is None:
            _guard_terminal()
        try:
            code = super().invoke(ctx)
        except FlowqError as error:
            from flowq.entrypoints.cli.display.console import print_error  # noqa: PLC0415

            print_error(error)
            code = exit_code(error)
        except click.ClickException as error:
            from flowq.entrypoints.escaping import escaped  # noqa: PLC0415

            shown = escaped(error.message, lines=True)
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
