"""`flowq playbook run | events | result`: executions of playbooks, and what they have done."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO
from uuid import UUID

import click

from flowq.entrypoints.cli import options
from flowq.entrypoints.cli.commands.playbooks.catalogue import named_version
from flowq.entrypoints.cli.commands.playbooks.documents import compat_option
from flowq.entrypoints.cli.group import OK

if TYPE_CHECKING:
    from flowq.client import Run
    from flowq.playbooks.building import Playbook


@click.command()
@click.argument("named", metavar="FILE|PATH[@VERSION]")
@options.inputs
@options.inputs_file
@options.wait
@options.timeout
@options.user
@click.option("--execution-id", metavar="ID", help="An id of yours; the same again starts nothing.")
@compat_option
@options.as_json
def run(
    named: str,
    *,
    pairs: Sequence[str],
    file: TextIO | None,
    wait: bool,
    timeout: float | None,
    user: str | None,
    execution_id: str | None,
    compat: bool,
    as_json: bool,
) -> int:
    """Start an execution of a playbook: a file, or a registered one.

    The values of -p and --params are merged over the workload of the playbook.
    """
    from flowq.entrypoints.cli.app import environment, inputs
    from flowq.entrypoints.cli.app import started as report
    from flowq.playbooks.running.submitting import enqueue

    payload = inputs.read_untyped(pairs, file)
    playbook = _file(named, compat=compat)
    environment.prepare()
    document_id = None
    if playbook is None:
        playbook, document_id = _registered(named, execution_id)
    run = enqueue(
        playbook, payload, execution_id=execution_id, document_id=document_id, user_id=user
    )
    return report.show(run, worker="", wait=wait, timeout=timeout, as_json=as_json)


def _file(named: str, *, compat: bool) -> "Playbook | None":
    """Return the playbook of a file; None when there is no such file."""
    from flowq.playbooks.building import Playbook

    if named == "-":
        return Playbook.parse(sys.stdin.buffer.read(), compat=compat, name=named)
    if Path(named).is_file():
        return Playbook.parse(Path(named).read_bytes(), compat=compat, name=named)
    if named.endswith((".yaml", ".yml", ".json")):
        raise click.UsageError(f"there is no file {named}")
    return None


def _registered(named: str, execution_id: str | None) -> "tuple[Playbook, UUID]":
    """Return a registered playbook, and the id of its document; an execution id is bound to it."""
    from flowq.entrypoints.cli.app import recorded
    from flowq.playbooks import catalogue
    from flowq.playbooks.building import Playbook

    path, version = named_version(named)
    engine = recorded.engine()
    found = catalogue.bound(engine, execution_id, seen_by=None) if execution_id else None
    if found is None or found.path != path or version not in (None, found.version):
        found = catalogue.get(engine, path, version, seen_by=None)
    if execution_id:
        catalogue.bind(engine, execution_id, found)
    return Playbook.of(found.content), found.id


def _execution(named: str) -> "Run[Any]":
    """Return the run of an execution, by its id or by an execution id.

    Raises:
        RunNotFound: there is none.
    """
    from flowq.client import Run
    from flowq.core.errors import RunNotFound
    from flowq.entrypoints.cli.app import recorded
    from flowq.playbooks import catalogue

    try:
        return recorded.run(named)
    except RunNotFound as error:
        run_id = catalogue.execution(recorded.engine(), named, seen_by=None)
        if run_id is None:
            error.hint = "flowq runs ls; an execution of a file has the id of its run only"
            raise
        return Run.get(run_id)


@click.command()
@options.run_id
@options.as_json
def events(run_id: str, *, as_json: bool) -> int:
    """Print the log of an execution: what happened, in order."""
    from dataclasses import asdict

    from rich.table import Table

    from flowq.entrypoints.cli.app import recorded
    from flowq.entrypoints.cli.display import console
    from flowq.playbooks.running.answers import Answers
    from flowq.playbooks.running.log import replayed

    found = _execution(run_id)
    log = replayed(recorded.engine(), found.id).events
    if as_json:
        log = Answers(recorded.engine(), found.id).events(log)
        console.print_json(
            [asdict(one) | {"created_at": one.created_at.isoformat()} for one in log]
        )
        return OK
    table = Table("", "time", "event", "step", "command", "status", box=None)
    for one in log:
        time = f"{one.created_at:%H:%M:%S.%f}"[:-3]
        command = str(one.payload.get("command_id", ""))
        table.add_row(str(one.event_id), time, one.event_type, one.node_name, command, one.status)
    console.out().print(table)
    return OK


@click.command()
@options.run_id
@click.option("--step", metavar="NAME", help="The result of this step; it may be still running.")
def result(run_id: str, *, step: str | None) -> int:
    """Print the result of an execution, or of a step of it, as JSON."""
    from flowq.entrypoints.cli.app import recorded
    from flowq.entrypoints.cli.display import console
    from flowq.playbooks.running.log import replayed
    from flowq.tools.text import deeply_plain

    found = _execution(run_id)
    state = replayed(recorded.engine(), found.id).state
    if step is None:
        if state.final_step is None:
            raise click.UsageError(f"execution {found.id} has no result: it is {found.status}")
        console.print_json(deeply_plain(state.final_result))
        return OK
    if step not in state.step_results:
        known = ", ".join(state.step_results) or "none yet"
        raise click.UsageError(f"step {step!r} has no result; steps that have one: {known}")
    console.print_json(deeply_plain(state.step_results[step]))
    return OK
