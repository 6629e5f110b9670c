"""`flowq playbook run | events | result`: executions of playbooks, and what they have done."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO
from uuid import UUID

import click

from flowq.entrypoints.cli import options
from flowq.entrypoints.cli.commands.playbooks.catalogue import named_version
from flowq.entrypoints.cli.commands.playbooks.documents import compat_option
from flowq.entrypoints.cli.group import OK

if TYPE_CHECKING:
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

    What -p and --params give is merged over the workload of the playbook.
    """
    from flowq.entrypoints.cli.app import environment, inputs
    from flowq.entrypoints.cli.app import started as report
    from flowq.playbooks.running.submitting import enqueue

    payload = inputs.read_untyped(pairs, file)
    playbook = _file(named, compat=compat)
    environment.prepare()
    document_id = None
    if playbook is None:
        playbook, document_id = _registered(named)
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


def _registered(named: str) -> "tuple[Playbook, UUID]":
    """Return a registered playbook, and the id of its document."""
    from flowq.entrypoints.cli.app import recorded
    from flowq.playbooks.building import Playbook
    from flowq.playbooks.catalogue import get

    path, version = named_version(named)
    found = get(recorded.engine(), path, version, seen_by=None)
    return Playbook.of(found.content), found.id


@click.command()
@options.run_id
@options.as_json
def events(run_id: str, *, as_json: bool) -> int:
    """Print the log of an execution: what happened, in order."""
    from dataclasses import asdict

    from rich.table import Table

    from flowq.entrypoints.cli.app import recorded
    from flowq.entrypoints.cli.display import console
    from flowq.playbooks.running.log import replayed

    found = recorded.run(run_id)
    log = replayed(recorded.engine(), found.id).events
    if as_json:
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

    found = recorded.run(run_id)
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
