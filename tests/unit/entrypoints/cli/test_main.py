"""The surface: help is instant, options reach their functions, errors get their exit codes."""

import inspect
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner

from flowq.core import errors
from flowq.engine.model.model_calls import CostBy
from flowq.entrypoints.cli import group
from flowq.entrypoints.cli.main import main, runs

HEAVY = {"alembic", "celery", "kombu", "obstore", "pydantic", "redis", "rich", "sqlalchemy"}


def commands(node: click.Group = main) -> Iterator[tuple[str, click.Command]]:
    """Yield the module and the command, for each one that does something."""
    for name, command in node.commands.items():
        if isinstance(command, click.Group):
            yield from ((name, inner) for _, inner in commands(command))
        else:
            yield {"flower": "worker"}.get(name, name), command


#: A command of a group whose work stands in a module of its own.
APART = {"events"}


@pytest.mark.parametrize(
    "arguments", [["--help"], ["run", "--help"], ["runs", "--help"], ["doctor", "--help"]]
)
def test_help_loads_no_library_of_a_server(arguments: list[str]) -> None:
    """Help is asked for in the middle of typing; it must not take a second."""
    code = (
        "import sys; from flowq.entrypoints.cli.main import main\n"
        f"try: main({arguments!r})\n"
        "except SystemExit: pass\n"
        "print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    )

    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert "Usage:" in done.stdout
    assert set() == HEAVY & set(done.stderr.split())


@pytest.mark.parametrize("module, command", [*commands()], ids=str)
def test_options_are_what_the_function_takes(module: str, command: click.Command) -> None:
    """The two are declared apart; nothing but this test keeps them together."""
    name = str(command.name).replace("-", "_")
    home = name if name in APART else module.replace("-", "_")
    does = getattr(group.work(f"commands.{home}"), name)
    taken = {
        str(parameter.name)
        for parameter in command.params
        if getattr(parameter, "expose_value", True)
    }

    assert set(inspect.signature(does).parameters) == taken


def test_costs_can_be_asked_for_by_all_there_is() -> None:
    """The choices are written out, since help must not load where they come from."""
    [by] = [option for option in runs.commands["cost"].params if option.name == "by"]

    assert isinstance(by.type, click.Choice)
    assert list(CostBy) == list(by.type.choices)


@pytest.mark.parametrize("module, command", [*commands()], ids=str)
def test_command_says_what_it_does(module: str, command: click.Command) -> None:
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
    module = SimpleNamespace(ls=lambda **_: 3)
    monkeypatch.setattr("flowq.entrypoints.cli.main.work", lambda _name: module)

    assert 3 == CliRunner().invoke(main, ["runs", "ls"]).exit_code


@pytest.mark.parametrize(
    "arguments",
    [["no-such"], ["run"], ["runs", "ls", "--limit", "0"], ["runs", "ls", "--status", "gone"]],
)
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    assert 2 == CliRunner().invoke(main, arguments).exit_code


def _replace(monkeypatch: pytest.MonkeyPatch, *, raising: BaseException) -> None:
    """Let the command `doctor` raise something."""

    def doctor(**_: object) -> int:
        raise raising

    module = SimpleNamespace(doctor=doctor)
    monkeypatch.setattr("flowq.entrypoints.cli.main.work", lambda _name: module)
