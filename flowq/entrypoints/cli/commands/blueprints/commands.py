"""`flowq blueprint import | ls | show | clone | run`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO
from uuid import UUID

import click

from flowq.entrypoints.cli import options
from flowq.entrypoints.cli.group import OK

if TYPE_CHECKING:
    from flowq.engine.model.documents import Document, DocumentHead, Viewer

_owner = click.option("--owner", metavar="USER", help="Whose it is; without it, all may read it.")
_named = click.argument("named", metavar="NAMED")


@click.command("import")
@click.argument("file", type=click.File("rb"))
@_owner
@click.option(
    "--visibility",
    type=click.Choice(["private", "public"]),
    default="private",
    show_default=True,
    help="The readers of new blueprints, beside their owner.",
)
@options.as_json
def import_(file: BinaryIO, *, owner: str | None, visibility: str, as_json: bool) -> int:
    """Store the blueprints of a file.

    YAML or JSON: one blueprint, or groups of them under `workflow_templates`.
    Imported again, what has changed is the next version.
    """
    from flowq.engine.model.documents import Visibility
    from flowq.entrypoints.cli.app import recorded
    from flowq.entrypoints.cli.display import console
    from flowq.playbooks.blueprints import importing

    found = importing.read_file(file.read(), file.name)
    done = importing.store(recorded.engine(), found, _operator(owner), Visibility(visibility))
    if as_json:
        console.print_json([_plain(one.document) | {"outcome": one.outcome} for one in done])
    for one in done if not as_json else ():
        head = one.document
        line = f"{head.id}  {head.labels['name']}, version {head.version}: {one.outcome}"
        console.out().print(line, soft_wrap=True)
    return OK


@click.command()
@click.option("--templates", is_flag=True, help="Only templates.")
@click.option(
    "--limit",
    type=click.IntRange(1, 10_000),
    default=100,
    show_default=True,
    help="The most blueprints.",
)
@options.as_json
def ls(*, templates: bool, limit: int, as_json: bool) -> int:
    """List the blueprints, the latest change first."""
    from rich.table import Table

    from flowq.entrypoints.cli.app import recorded
    from flowq.entrypoints.cli.display import console
    from flowq.playbooks.blueprints import catalogue

    found = catalogue.listed(
        recorded.engine(), _operator(), is_template=templates or None, limit=limit
    )
    if as_json:
        console.print_json([_plain(head) for head in found])
    elif found:
        table = Table("id", "name", "version", "kind", "nodes", "owner", box=None)
        for head in found:
            nodes = str(head.labels["nodes"] or "draft")
            kind = "template" if head.is_template else ""
            row = (head.labels["name"], str(head.version), kind, nodes, head.owner_id or "")
            table.add_row(str(head.id), *row)
        console.out().print(table)
    else:
        console.note("No blueprints yet. Import some: flowq blueprint import FILE")
    return OK


@click.command()
@_named
@click.option("--playbook", is_flag=True, help="Print the playbook that it is compiled to.")
@options.as_json
def show(named: str, *, playbook: bool, as_json: bool) -> int:
    """Print a blueprint as JSON, which `import` reads again."""
    from flowq.entrypoints.cli.display import console
    from flowq.playbooks.blueprints import catalogue

    found = _found(named)
    if playbook:
        for line in catalogue.playbook_of(found).to_yaml().splitlines():
            console.out().print(line, soft_wrap=True)
    elif as_json:
        console.print_json(_plain(found) | {"blueprint": found.content})
    else:
        template = {"is_template": True} if found.is_template else {}
        console.print_json({**found.content, **template})
    return OK


@click.command()
@_named
@click.option("--name", help="The name of the clone; by default the same.")
@_owner
@options.as_json
def clone(named: str, *, name: str | None, owner: str | None, as_json: bool) -> int:
    """Make a copy of a blueprint; the copy is not a template."""
    from flowq.entrypoints.cli.app import recorded
    from flowq.entrypoints.cli.display import console
    from flowq.playbooks.blueprints import catalogue

    changes = {"name": name} if name else {}
    made = catalogue.clone(recorded.engine(), _found(named).id, _operator(owner), changes)
    if as_json:
        console.print_json(_plain(made))
    else:
        console.out().print(str(made.id), soft_wrap=True)
    return OK


@click.command()
@_named
@options.inputs
@options.inputs_file
@options.wait
@options.timeout
@options.user
@options.as_json
def run(
    named: str,
    *,
    pairs: Sequence[str],
    file: TextIO | None,
    wait: bool,
    timeout: float | None,
    user: str | None,
    as_json: bool,
) -> int:
    """Start an instance of a blueprint.

    -p and --params give its input data.
    """
    from flowq.entrypoints.cli.app import environment, inputs
    from flowq.entrypoints.cli.app import started as report
    from flowq.playbooks.blueprints import catalogue
    from flowq.playbooks.running.submitting import enqueue

    given = inputs.read_untyped(pairs, file)
    environment.prepare()
    found = _found(named)
    run = enqueue(catalogue.playbook_of(found), given, document_id=found.id, user_id=user)
    return report.show(run, worker="", wait=wait, timeout=timeout, as_json=as_json)


def _operator(owner: str | None = None) -> "Viewer":
    """Return who uses the command line: may read and change all."""
    from flowq.engine.model.documents import Viewer

    return Viewer(owner, is_admin=True)


def _found(named: str) -> "Document":
    """Return a blueprint by its id, or by its name.

    Raises:
        UsageError: several have the name, or none.
    """
    from flowq.entrypoints.cli.app import recorded
    from flowq.playbooks.blueprints import catalogue, importing

    engine, viewer = recorded.engine(), _operator()
    try:
        return catalogue.get(engine, UUID(named), viewer)
    except ValueError:
        found = importing.named(engine, named, viewer)
    if len(found) != 1:
        hint = "see them: flowq blueprint ls"
        many = ", ".join(str(one.id) for one in found)
        said = f"{len(found)} blueprints have the name {named!r}: {many}" if found else ""
        raise click.UsageError(f"{said or f'there is no blueprint {named!r}'}; {hint}")
    return catalogue.get(engine, found[0].id, viewer)


def _plain(head: "DocumentHead") -> dict[str, Any]:
    return {
        "id": str(head.id),
        "name": head.labels["name"],
        "description": head.labels["description"],
        "version": head.version,
        "is_template": head.is_template,
        "parent_id": str(head.parent_id) if head.parent_id else None,
        "owner_id": head.owner_id,
        "visibility": str(head.visibility),
        "nodes": head.labels["nodes"],
        "created_at": head.created_at.isoformat(),
    }
