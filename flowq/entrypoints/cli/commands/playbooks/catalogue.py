"""`flowq playbook register | ls | show`: the playbooks that are stored in the database."""

import re
from typing import TYPE_CHECKING, Any, Final, TextIO

import click

from flowq.entrypoints.cli import options
from flowq.entrypoints.cli.commands.playbooks.documents import compat_option
from flowq.entrypoints.cli.group import OK

if TYPE_CHECKING:
    from flowq.engine.model.documents import DocumentHead

_NAMED: Final = re.compile(r"(?P<path>.+?)(?:@(?P<version>[1-9]\d{0,8}))?")


@click.command()
@click.argument("file", type=click.File("r", encoding="utf-8-sig"))
@click.option("--execution-id", metavar="ID", help="An id of an execution that will run it.")
@click.option("--owner", metavar="USER", help="Whose it is; without it, all users may run it.")
@compat_option
@options.as_json
def register(
    file: TextIO, *, execution_id: str | None, owner: str | None, compat: bool, as_json: bool
) -> int:
    """Store a playbook as the next version of its path.

    The same text again is the same version.
    """
    from flowq.entrypoints.cli.app import recorded
    from flowq.entrypoints.cli.display import console
    from flowq.playbooks.catalogue import register

    done = register(
        recorded.engine(),
        _read(file),
        seen_by=None,
        owner=owner,
        compat=compat,
        execution_id=execution_id,
        file=file.name,
    )
    for warning in done.warnings:
        console.note(("Warning: ", "yellow"), f"{file.name}:{warning}")
    if as_json:
        console.print_json(_plain(done.head) | {"name": done.name})
    else:
        console.out().print(f"{done.head.path}, version {done.head.version}", soft_wrap=True)
    return OK


@click.command()
@click.option(
    "--limit",
    type=click.IntRange(1, 10_000),
    default=100,
    show_default=True,
    help="The most playbooks.",
)
@options.as_json
def ls(*, limit: int, as_json: bool) -> int:
    """List the registered playbooks by path."""
    from rich.table import Table

    from flowq.entrypoints.cli.app import recorded
    from flowq.entrypoints.cli.display import console
    from flowq.playbooks.catalogue import newest

    found = newest(recorded.engine(), seen_by=None, limit=limit)
    if as_json:
        console.print_json([_plain(head) for head in found])
    elif found:
        table = Table("path", "version", "owner", "registered", box=None)
        for head in found:
            when = f"{head.created_at:%Y-%m-%d %H:%M} UTC"
            table.add_row(head.path, str(head.version), head.owner_id or "", when)
        console.out().print(table)
    else:
        console.note("No playbooks yet. Register one: flowq playbook register FILE")
    return OK


@click.command()
@click.argument("named", metavar="PATH[@VERSION]")
@options.as_json
def show(named: str, *, as_json: bool) -> int:
    """Print a registered playbook as it was sent."""
    from flowq.entrypoints.cli.app import recorded
    from flowq.entrypoints.cli.display import console
    from flowq.playbooks.catalogue import get

    path, version = named_version(named)
    found = get(recorded.engine(), path, version, seen_by=None)
    if as_json:
        console.print_json(_plain(found) | {"document": found.content, "source": found.source})
    else:
        for line in found.source.splitlines():
            console.out().print(line, soft_wrap=True)
    return OK


def named_version(named: str) -> tuple[str, int | None]:
    """Return the path and the version of `PATH[@VERSION]`.

    Raises:
        UsageError: it has another form.
    """
    parts = _NAMED.fullmatch(named)
    if parts is None:
        raise click.UsageError("give the path of a playbook, e.g. shop/orders or shop/orders@3")
    version = parts["version"]
    return parts["path"], int(version) if version else None


def _read(file: TextIO) -> str:
    try:
        return file.read()
    except UnicodeDecodeError as error:
        raise click.UsageError(f"{file.name} is not in UTF-8: {error}") from None


def _plain(head: "DocumentHead") -> dict[str, Any]:
    return {
        "id": str(head.id),
        "path": head.path,
        "version": head.version,
        "owner": head.owner_id,
        "sha256": head.sha256,
        "created_at": head.created_at.isoformat(),
    }
