"""`flowq graph`: the steps of a flow, traced with real inputs and not run."""

from collections.abc import Sequence
from typing import TextIO

import click

from flowq.entrypoints.cli import options
from flowq.entrypoints.cli.group import OK


@click.command()
@click.argument("target", metavar="FILE[:FLOW]")
@options.inputs
@options.inputs_file
@click.option("--mermaid", is_flag=True, help="Print Mermaid text instead of a tree.")
@options.as_json
def graph(
    target: str, *, pairs: Sequence[str], file: TextIO | None, mermaid: bool, as_json: bool
) -> int:
    """Show the steps of a flow without running it.

    Needs neither Redis nor a database.
    """
    if mermaid and as_json:
        raise click.UsageError("--mermaid and --json exclude each other")
    from flowq.canvas.handle import CanvasFlow
    from flowq.core.graph import Graph
    from flowq.entrypoints.cli.app import environment, inputs
    from flowq.entrypoints.cli.app.loading import load_flow, tracing
    from flowq.entrypoints.cli.display import console, tree
    from flowq.entrypoints.cli.display.graph import as_mermaid, print_graph
    from flowq.entrypoints.escaping import escaped

    environment.settings()
    flow = load_flow(target).flow
    given = inputs.read(flow, pairs, file)
    checked = flow.type.validate(given)
    with tracing(flow):
        spec = flow.preview() if isinstance(flow, CanvasFlow) else flow.type.trace(checked)
    shape = Graph.of(spec)
    if as_json:
        document = {"flow_name": spec.name, "inputs": dict(checked), "spec": spec.to_json()}
        console.print_json({**document, "batches": tree.batches(shape)})
    elif mermaid:
        click.echo("\n".join(map(escaped, as_mermaid(spec, shape))))
    else:
        print_graph(spec, shape)
    return OK
