"""`flowq workflow`: JSON lists of steps and their step types, without HTTP: list, check, run."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

import click

from flowq.entrypoints.cli import options
from flowq.entrypoints.cli.group import FAILED, OK, USAGE, LazyGroup

if TYPE_CHECKING:
    from types import ModuleType

    from flowq.client import Run

_document = click.argument("document", type=click.File("rb"), metavar="FILE")
_types = click.option(
    "--types",
    "modules",
    multiple=True,
    metavar="FILE",
    help="The file or module that defines the step types. May be repeated.",
)


@click.group(cls=LazyGroup)
def workflow() -> None:
    """List step types; check and run JSON workflows of them.

    FILE may be - for standard input. The step types are those of --types, and
    of the module that flowq --app MODULE names.
    """


@workflow.command()
@click.argument("files", metavar="FILE...", nargs=-1)
@options.as_json
def types(files: Sequence[str], *, as_json: bool) -> int:
    """List the step types of modules, with what a form needs.

    FILE is a Python file or a module that defines step types.
    """
    from rich.table import Table

    from flowq.entrypoints.cli.display import console
    from flowq.workflows import registry

    _load(files)
    found = registry.list()
    if as_json:
        console.print_json([one.describe() for one in found])
    elif found:
        table = Table("slug", "name", "mode", "inputs", "config", box=None)
        for one in found:
            mode = one.execution_mode + (f", {one.geometry}" if one.geometry else "")
            table.add_row(
                one.slug, one.name, mode, ", ".join(one.inputs), ", ".join(one.configured)
            )
        console.out().print(table)
    else:
        console.note("No step types. Name the module that defines them with @step_type.")
    return OK


@workflow.command()
@click.argument("files", type=click.File("rb"), metavar="FILE...", nargs=-1, required=True)
@_types
@options.as_json
def validate(files: tuple[BinaryIO, ...], *, modules: Sequence[str], as_json: bool) -> int:
    """Check workflows and report all their problems.

    Each problem is a line: file: step: field: what is wrong. Exit code 2 if
    there is one. Needs neither Redis nor a database.
    """
    from flowq.entrypoints.cli.display import console

    _load(modules)
    reports = [_report(file, as_json=as_json) for file in files]
    if as_json:
        console.print_json(reports[0] if len(reports) == 1 else reports)
    return OK if all(one["valid"] for one in reports) else USAGE


@workflow.command()
@_document
@_types
@options.inputs
@options.inputs_file
@options.wait
@options.timeout
@options.user
@click.option("--idempotency-key", metavar="KEY", help="Start one run with this key only.")
@options.as_json
def run(
    document: BinaryIO,
    *,
    modules: Sequence[str],
    pairs: Sequence[str],
    file: TextIO | None,
    wait: bool,
    timeout: float | None,
    user: str | None,
    idempotency_key: str | None,
    as_json: bool,
) -> int:
    """Start a run of a workflow on workers.

    Its result is the value of the last step. An input may be a reference to a
    stored value, flowq://...
    """
    from flowq.entrypoints.cli.app import apps, environment, inputs
    from flowq.entrypoints.cli.app import started as report
    from flowq.workflows import RuntimeContext, Workflow, WorkflowRunner

    loaded = _load(modules)
    given = inputs.read_untyped(pairs, file)
    found = Workflow.from_json(document.read())
    if apps.named() is None:
        for name, module in loaded.items():
            if apps.app_in(module, name) is not None:
                break
    environment.prepare()
    runner = WorkflowRunner(RuntimeContext(user_id=user))
    started = runner.enqueue(found, given, idempotency_key=idempotency_key)
    worker = " ".join(modules)
    code = report.show(started, worker=worker, wait=wait, timeout=timeout, as_json=as_json)
    return _outcome(started) if code == OK and (wait or timeout) else code


def _outcome(run: "Run[Any]") -> int:
    """Return the exit code of a completed run; a workflow may have failed in it all the same."""
    from flowq.entrypoints.cli.display import console
    from flowq.workflows import WorkflowResult

    found = WorkflowResult.of(run)
    if found.status != "failed":
        return OK
    console.note(("Error: ", "bold red"), f"the workflow has failed: {found.error}")
    console.note(("  → ", "bold"), f"{console.program()} runs show {run.id}")
    return FAILED


def _load(files: Sequence[str]) -> "dict[str, ModuleType]":
    """Import the modules that define step types."""
    from flowq.entrypoints.cli.app import apps
    from flowq.entrypoints.cli.app.loading import load_module

    apps.use_named(required=False)
    return {file: load_module(file) for file in files}


def _report(file: BinaryIO, *, as_json: bool) -> dict[str, Any]:
    """Return what is known of a file; print it, unless that is done later."""
    from flowq.entrypoints.cli.display import console
    from flowq.workflows import InvalidWorkflow, Workflow
    from flowq.workflows.document.problems import lines

    name = str(getattr(file, "name", "<stdin>")).replace("<stdin>", "-")
    try:
        found = Workflow.from_json(file.read(), check=True)
    except InvalidWorkflow as error:
        if not as_json:
            count = len(error.problems)
            for line in lines(error.problems):
                console.out().print(f"{name}: {line}", soft_wrap=True)
            console.out().print(f"{count:,} problem{'s' * (count != 1)}")
        problems = [one.to_json() for one in error.problems]
        return {"file": name, "valid": False, "problems": problems}
    for line in lines(found.misspelt()):
        console.note(("Note: ", "bold yellow"), f"{name}: {line}")
    if not as_json:
        steps = len(found.steps)
        console.out().print(f"{name}: ok, {steps:,} step{'s' * (steps != 1)}", soft_wrap=True)
    return {"file": name, "valid": True, "problems": []}
