"""`flowq playbook validate | graph | schema`: what needs neither Redis nor a database."""

from typing import TYPE_CHECKING, BinaryIO

import click

from flowq.entrypoints.cli import options
from flowq.entrypoints.cli.group import OK, USAGE

if TYPE_CHECKING:
    from flowq.playbooks.document.problems import Problem

compat_option = click.option(
    "--compat", is_flag=True, help="Accept what other engines accept: unknown keys, yes and no."
)


@click.command()
@click.argument("files", type=click.File("rb"), metavar="FILE...", nargs=-1, required=True)
@click.option("--expanded", is_flag=True, help="Print the plain form, with all sugar rewritten.")
@compat_option
@options.as_json
def validate(files: tuple[BinaryIO, ...], *, expanded: bool, compat: bool, as_json: bool) -> int:
    """Check playbooks and report all their problems.

    Each problem is a line: file:line:column: path: what is wrong. Exit code 2
    if there is one.
    """
    from flowq.entrypoints.cli.display import console

    reports = [_report(file, expanded=expanded, compat=compat, as_json=as_json) for file in files]
    if as_json:
        console.print_json(reports[0] if len(reports) == 1 else reports)
    return OK if all(one["valid"] for one in reports) else USAGE


def _report(file: BinaryIO, *, expanded: bool, compat: bool, as_json: bool) -> dict[str, object]:
    """Return what is known of a file; print it, unless that is done later."""
    from flowq.playbooks.document.problems import InvalidPlaybook
    from flowq.playbooks.parser import load

    name = _name(file)
    try:
        done = load(file.read(), compat=compat, name=name)
    except InvalidPlaybook as error:
        if not as_json:
            count = len(error.problems)
            _print([*error.lines(), f"{count:,} problem{'s' * (count != 1)}"])
        return {"file": name, "valid": False, "problems": _plain(error.problems), "warnings": []}
    warnings = _plain(done.warnings)
    if as_json:
        document = {"document": done.playbook.to_dict()} if expanded else {}
        return {"file": name, "valid": True, "problems": [], "warnings": warnings, **document}
    _print([f"{name}:{one}" for one in done.warnings], is_warning=True)
    if expanded:
        _print(done.playbook.to_yaml().splitlines())
    else:
        steps = len(done.playbook.workflow)
        _print([f"{name}: ok, {steps:,} step{'s' * (steps != 1)}"])
    return {"file": name, "valid": True}


def _name(file: BinaryIO) -> str:
    return str(getattr(file, "name", "<stdin>")).replace("<stdin>", "-")


def _print(lines: list[str], *, is_warning: bool = False) -> None:
    from flowq.entrypoints.cli.display import console

    for line in lines:
        if is_warning:
            console.note(("Warning: ", "yellow"), line)
        else:
            console.out().print(line, soft_wrap=True)


def _plain(problems: "tuple[Problem, ...]") -> list[dict[str, object]]:
    return [
        {"line": one.line, "column": one.column, "path": one.path, "message": one.message}
        for one in problems
    ]


@click.command()
@click.argument("file", type=click.File("rb"), metavar="FILE")
@click.option("--mermaid", is_flag=True, help="Print Mermaid text instead of lines.")
@compat_option
def graph(file: BinaryIO, *, mermaid: bool, compat: bool) -> int:
    """Show the steps of a playbook, and what leads from one to another."""
    from flowq.entrypoints.cli.display.playbook import as_lines, as_mermaid
    from flowq.playbooks.parser import read_playbook

    playbook = read_playbook(file.read(), compat=compat, name=_name(file))
    _print(list((as_mermaid if mermaid else as_lines)(playbook)))
    return OK


@click.command()
def schema() -> int:
    """Print the JSON Schema of playbooks, for editors."""
    from flowq.entrypoints.cli.display import console
    from flowq.playbooks.document.grammar.documents import json_schema

    console.print_json(json_schema())
    return OK
