"""The steps of a flow as a tree with levels, or as a Mermaid flowchart."""

from collections.abc import Iterator, Sequence
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flowq.core.graph import Graph
from flowq.core.spec import FlowSpec, StepKind, StepSpec
from flowq.engine.queries.graph import EdgeKind, spec_edges
from flowq.entrypoints.cli.display import console as looks
from flowq.entrypoints.cli.display import tree

TIMES: Final = "\N{MULTIPLICATION SIGN}"
_SHAPES: Final = {"map": ('[["', '"]]'), "flow": ('(["', '"])'), "step": ('["', '"]')}


def print_graph(spec: FlowSpec, shape: Graph) -> None:
    """Print the steps of a flow as a tree, and which of them are ready together."""
    console = looks.out()
    waves = tree.levels(shape)
    steps = f"{len(spec.steps):,} {'step' if len(spec.steps) == 1 else 'steps'}"
    rounds = f"{len(waves):,} {'level' if len(waves) == 1 else 'levels'}"
    console.print(Text.assemble((spec.name, "bold"), (f"  {steps} on {rounds}", "dim")))
    if not spec.steps:
        return
    console.print()
    console.print(_tree(spec, shape))
    console.print()
    _print_batches(console, spec, shape, waves)


def _tree(spec: FlowSpec, shape: Graph) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(style="dim")
    for line in tree.lines(shape):
        step = spec.step(line.key)
        facts = tree.facts(step)
        if line.also:
            facts.append(f"also after {', '.join(line.also)}")
        name = Text.assemble((f"  {line.prefix}", "dim"), (step.key, _style(step)), _sign(step))
        table.add_row(name, " · ".join(facts))
    return table


def _print_batches(
    console: Console, spec: FlowSpec, shape: Graph, waves: Sequence[Sequence[str]]
) -> None:
    console.print(Text("  level  ready together", style="dim"))
    for number, keys in enumerate(waves, start=1):
        groups = [
            " + ".join(f"{key}{_sign(spec.step(key))}" for key in batch)
            for batch in shape.batches(keys)
        ]
        console.print(
            Text.assemble((f"  {number:>5}  ", "dim"), "  |  ".join(groups)), soft_wrap=True
        )


def _style(step: StepSpec) -> str:
    return "cyan" if step.map else "magenta" if step.kind is StepKind.FLOW else ""


def _sign(step: StepSpec) -> str:
    return f" {TIMES} n" if step.map else ""


# --- Mermaid --------------------------------------------------------------------------------------


def as_mermaid(spec: FlowSpec, shape: Graph) -> Iterator[str]:
    """Yield the lines of a Mermaid flowchart.

    Maps are drawn as subroutines, child runs as stadiums; an arrow with a condition says it, and
    one that only orders is dotted.
    """
    yield "flowchart TD"
    names = {key: f"s{place}" for key, place in shape.order.items()}
    for step in spec.steps:
        kind = "map" if step.map else step.kind.value
        left, right = _SHAPES.get(kind, _SHAPES["step"])
        yield f"    {names[step.key]}{left}{_label(step)}{right}"
    for edge in spec_edges(spec):
        arrow = "-.->" if edge.kind is EdgeKind.ORDER else "-->"
        if edge.condition is not None:
            arrow += f'|"{quoted("when " + edge.condition)}"|'
        yield f"    {names[edge.before]} {arrow} {names[edge.after]}"


def _label(step: StepSpec) -> str:
    label = quoted(step.key) + _sign(step)
    says_more = step.kind is StepKind.FLOW and step.name != step.key
    return f"{label}<br/>{quoted(step.name)}" if says_more else label


def quoted(text: str) -> str:
    """Return text as Mermaid takes it between quotes."""
    escaped = text.replace("&", "&amp;").replace('"', "&quot;")
    return escaped.replace("<", "&lt;").replace(">", "&gt;")
