"""The steps of a playbook and what leads from one to another, as lines or as Mermaid."""

from collections.abc import Iterator
from typing import Final

from flowq.entrypoints.cli.display.graph import TIMES, quoted
from flowq.playbooks.document.arrows import Arrow, ArrowKind, arrows, sink_of
from flowq.playbooks.document.models import Playbook, Step

#: How an arrow is called, when it is none of `next`.
_WORDS: Final = {
    ArrowKind.BRANCH: "begins",
    ArrowKind.PAGE: "next page",
    ArrowKind.RETRY: "again",
    ArrowKind.SINK: "stores in",
}


def as_lines(playbook: Playbook) -> Iterator[str]:
    """Yield each step with its tool, and below it what leads on."""
    found = arrows(playbook)
    count = len(playbook.workflow)
    yield f"{playbook.metadata.path}  {count:,} step{'s' * (count != 1)}"
    for step in playbook.workflow:
        yield ""
        yield f"  {_label(step)}  {', '.join([step.tool.kind, *_facts(step)])}"
        for arrow in found:
            if arrow.before == step.name:
                yield f"    -> {_said(arrow)}"


def _label(step: Step) -> str:
    return f"{step.name} {TIMES} n" if step.loop else step.name


def _facts(step: Step) -> Iterator[str]:
    if step.loop:
        how = step.loop.mode
        most = f", {step.loop.max_concurrency:,} at once" if how == "parallel" else ""
        yield f"for each {step.loop.iterator} ({how}{most})"
    if step.join == "all":
        yield "joins all branches"


def _said(arrow: Arrow) -> str:
    is_same = arrow.kind in {ArrowKind.PAGE, ArrowKind.RETRY}
    words = [_WORDS.get(arrow.kind, ""), "" if is_same else arrow.after]
    return " ".join(filter(None, [*words, _condition(arrow)]))


def _condition(arrow: Arrow) -> str:
    return f"when {' '.join(arrow.when.split())}" if arrow.when else ""


def as_mermaid(playbook: Playbook) -> Iterator[str]:
    """Yield the lines of a flowchart.

    Loops are drawn as subroutines, joins as hexagons, sinks as cylinders; an arrow says its
    condition, and one of a branch or a sink is dotted.
    """
    found = arrows(playbook)
    yield "flowchart TD"
    names = {step.name: f"s{at}" for at, step in enumerate(playbook.workflow)}
    for step in playbook.workflow:
        left, right = (
            ('[["', '"]]') if step.loop else ('{{"', '"}}') if _joins(step) else ('["', '"]')
        )
        kind = quoted(step.tool.kind)
        yield f"    {names[step.name]}{left}{quoted(_label(step))}<br/>{kind}{right}"
    for name in dict.fromkeys(one.before for one in found if one.kind is ArrowKind.SINK):
        names[sink_of(name)] = f"s{len(names)}"
        yield f'    {names[sink_of(name)]}[("{quoted(sink_of(name))}")]'
    for arrow in found:
        line = "-.->" if arrow.kind in {ArrowKind.BRANCH, ArrowKind.SINK} else "-->"
        words = [_WORDS.get(arrow.kind, ""), _condition(arrow)]
        label = quoted(" ".join(filter(None, words)))
        said = f'|"{label}"|' if label else ""
        yield f"    {names[arrow.before]} {line}{said} {names[arrow.after]}"


def _joins(step: Step) -> bool:
    return step.join == "all" and step.loop is None
