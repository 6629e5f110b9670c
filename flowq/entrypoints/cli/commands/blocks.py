"""`flowq blocks`: documents of blocks and edges, without HTTP: check, draw, run."""

from typing import TYPE_CHECKING, BinaryIO

import click

from flowq.entrypoints.cli import options
from flowq.entrypoints.cli.group import OK, LazyGroup

if TYPE_CHECKING:
    from flowq.blocks.document import Document

_document = click.argument("file", type=click.File("rb"), metavar="FILE")


@click.group(cls=LazyGroup)
def blocks() -> None:
    """Check, draw and run a JSON document of blocks and edges.

    FILE may be - for standard input. A module that registers your edge types
    is named before the command: flowq --app MODULE blocks ...
    """


@blocks.command()
@_document
@options.wait
@options.timeout
@options.user
@options.as_json
def run(
    file: BinaryIO, *, wait: bool, timeout: float | None, user: str | None, as_json: bool
) -> int:
    """Start a run of a document.

    Its result is the content of each block that an edge makes.
    """
    from flowq.blocks.submitting import start
    from flowq.entrypoints.cli.app import apps, environment
    from flowq.entrypoints.cli.app import started as report

    apps.use_named(required=False)
    document, warnings = _read(file.read())
    environment.prepare()
    started = start(document, warnings, user_id=user)
    return report.show(started, worker="", wait=wait, timeout=timeout, as_json=as_json)


@blocks.command()
@_document
def validate(file: BinaryIO) -> int:
    """Check a document and report all its problems.

    Needs neither Redis nor a database.
    """
    from flowq.entrypoints.cli.app import apps

    apps.use_named(required=False)
    document, warnings = _read(file.read())
    count = f"{len(document.blocks):,} blocks, {len(document.edges):,} edges"
    click.echo(f"{count}: valid" + (f"; warnings: {len(warnings):,}" if warnings else ""))
    return OK


@blocks.command()
@_document
@click.option("--mermaid", is_flag=True, help="Print Mermaid text instead of a tree.")
def graph(file: BinaryIO, *, mermaid: bool) -> int:
    """Show the steps of a document without running it."""
    from flowq.blocks.compiling import compile_document
    from flowq.core.graph import Graph
    from flowq.entrypoints.cli.app import apps
    from flowq.entrypoints.cli.display.graph import as_mermaid, print_graph
    from flowq.entrypoints.escaping import escaped

    apps.use_named(required=False)
    spec = compile_document(_read(file.read())[0]).spec
    shape = Graph.of(spec)
    if mermaid:
        click.echo("\n".join(map(escaped, as_mermaid(spec, shape))))
    else:
        print_graph(spec, shape)
    return OK


@blocks.command()
def schema() -> int:
    """Print the JSON Schema of documents."""
    from flowq.blocks.document import Document
    from flowq.entrypoints.cli.display import console

    console.print_json(Document.model_json_schema())
    return OK


def _read(text: bytes) -> "tuple[Document, list[str]]":
    """Return a document, and its warnings, which are printed on standard error."""
    from flowq.blocks.document import parse
    from flowq.entrypoints.cli.display import console

    document, warnings = parse(text)
    for warning in warnings:
        console.note(("Warning: ", "yellow"), warning)
    return document, warnings
