"""The surface: help is instant, options reach their functions, errors get their exit codes."""

import ast
import inspect
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from flowq.core import errors
from flowq.entrypoints.cli.main import main
from tests.tools.session.processes import run

HEAVY = {"alembic", "celery", "kombu", "obstore", "pydantic", "redis", "rich", "sqlalchemy"}


def commands(group: click.Group = main, *path: str) -> Iterator[tuple[list[str], click.Command]]:
    """Yield each command that does something, and what is typed for it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)
        else:
            yield [*path, name], command


COMMANDS = [*commands()]
NAMES = [" ".join(path) for path, _ in COMMANDS]


def command(*path: str) -> click.Command:
    [found] = [command for names, command in COMMANDS if names == [*path]]
    return found


def test_every_command_is_listed() -> None:
    assert NAMES == [
        "demo",
        "run",
        "runs ls",
        "runs show",
        "runs watch",
        "runs events",
        "runs logs",
        "runs result",
        "runs cancel",
        "runs pause",
        "runs raise-budget",
        "runs resume",
        "runs rerun",
        "runs signal",
        "runs delete",
        "runs cost",
        "schedules ls",
        "schedules show",
        "schedules next",
        "schedules add",
        "schedules pause",
        "schedules resume",
        "schedules run",
        "schedules backfill",
        "schedules rm",
        "graph",
        "blocks run",
        "blocks validate",
        "blocks graph",
        "blocks schema",
        "playbook validate",
        "playbook graph",
        "playbook schema",
        "playbook run",
        "playbook events",
        "playbook result",
        "playbook register",
        "playbook ls",
        "playbook show",
        "blueprint import",
        "blueprint ls",
        "blueprint show",
        "blueprint clone",
        "blueprint run",
        "workflow types",
        "workflow validate",
        "workflow run",
        "worker",
        "flower",
        "api",
        "fake-llm",
        "db upgrade",
        "db current",
        "db downgrade",
        "db partition",
        "doctor",
        "docs",
    ]


#: Asks for help in a process of its own each time, forked from one that has loaded nothing.
HELP = """
import os, sys

for typed in sys.stdin.read().splitlines():
    read, write = os.pipe()
    if not os.fork():
        os.dup2(write, 1)
        from flowq.entrypoints.cli.main import main
        try: main([*typed.split(), "--help"])
        except SystemExit: pass
        print("loaded:", *{name.partition(".")[0] for name in sys.modules}, flush=True)
        os._exit(0)
    os.close(write)
    with open(read) as said:
        print(repr(said.read()))
    os.wait()
"""
ASKED = [[], ["runs"], ["db"], *(path for path, _ in COMMANDS)]


@pytest.fixture(scope="module")
def helps() -> dict[str, str]:
    """What is printed for each command, and the libraries that were loaded for it."""
    asked = [" ".join(path) for path in ASKED]
    done = run([sys.executable, "-c", HELP], given="\n".join(asked), cold=True)
    assert 0 == done.returncode, done.stderr
    return dict(zip(asked, map(ast.literal_eval, done.stdout.splitlines()), strict=True))


@pytest.mark.parametrize("typed", ASKED, ids=str)
def test_help_loads_no_library_of_a_server(helps: dict[str, str], typed: list[str]) -> None:
    """Help is asked for in the middle of typing; it must not take a second."""
    text, _, loaded = helps[" ".join(typed)].rpartition("loaded:")

    assert "Usage:" in text
    assert "\\" not in text  # a mark of click that was not read as one
    assert "flowq" in loaded.split()
    assert set() == HEAVY & set(loaded.split())


def test_command_is_not_imported_before_it_is_used() -> None:
    """A command costs nothing to those who use another."""
    code = (
        "import sys; from flowq.entrypoints.cli.main import main\n"
        "try: main(['graph', '--help'])\n"
        "except SystemExit: pass\n"
        "print(*sys.modules, file=sys.stderr)"
    )

    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    loaded = [name for name in done.stderr.split() if name.startswith("flowq.entrypoints.cli.com")]
    assert ["flowq.entrypoints.cli.commands", "flowq.entrypoints.cli.commands.graph"] == loaded


@pytest.mark.parametrize("_path, command", COMMANDS, ids=NAMES)
def test_options_are_what_the_function_takes(_path: list[str], command: click.Command) -> None:
    """Click passes them by name; nothing but this test keeps them together."""
    taken = {
        str(parameter.name)
        for parameter in command.params
        if getattr(parameter, "expose_value", True)
    }

    assert command.callback is not None
    assert set(inspect.signature(command.callback).parameters) == taken


@pytest.mark.parametrize("_path, command", COMMANDS, ids=NAMES)
def test_command_says_what_it_does(_path: list[str], command: click.Command) -> None:
    """Its first line fits into the list of commands."""
    assert command.help
    assert len(command.help.splitlines()[0]) <= 65


@pytest.mark.parametrize(
    "error, code",
    [
        (errors.RunFailed("it failed"), 1),
        (errors.ResultTimeout("it is still running"), 1),
        (errors.ResultMissing("it is gone"), 1),
        (errors.InvalidFlow("it has a cycle"), 2),
        (errors.InvalidInput("n: expected int"), 2),
        (errors.FlowNotFound("no such flow"), 2),
        (errors.RunNotFound("no such run"), 2),
        (errors.RedisUnavailable("no Redis"), 3),
        (errors.BrokerUnavailable("no RabbitMQ"), 3),
        (errors.DatabaseUnavailable("no database"), 3),
        (errors.DatabaseNotMigrated("no tables"), 3),
        (errors.DatabaseTooNew("from the future"), 3),
        (errors.StoreUnavailable("no store"), 3),
    ],
)
def test_error_is_printed_with_what_to_do(
    error: errors.FlowqError, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What failed, why, the next command; no traceback."""
    error.hint = "flowq doctor"
    _replace(monkeypatch, raising=error)

    done = CliRunner().invoke(main, ["doctor"])

    assert code == done.exit_code
    assert "" == done.stdout
    assert f"Error: {error.message}\n  → flowq doctor\n" == done.stderr


def test_interrupt_exits_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    _replace(monkeypatch, raising=KeyboardInterrupt())

    assert 130 == CliRunner().invoke(main, ["doctor"]).exit_code


def test_code_of_an_inner_command_is_the_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command("runs", "ls"), "callback", lambda **_: 3)

    assert 3 == CliRunner().invoke(main, ["runs", "ls"]).exit_code


@pytest.mark.parametrize(
    "arguments",
    [["no-such"], ["run"], ["runs", "ls", "--limit", "0"], ["runs", "ls", "--status", "gone"]],
)
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    assert 2 == CliRunner().invoke(main, arguments).exit_code


def _replace(monkeypatch: pytest.MonkeyPatch, *, raising: BaseException) -> None:
    """Let the command `doctor` raise something."""

    def fail(**_: object) -> int:
        raise raising

    monkeypatch.setattr(command("doctor"), "callback", fail)
