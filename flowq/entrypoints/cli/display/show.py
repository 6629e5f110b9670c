"""A run on one page: its inputs, its steps as a tree, its failures with the cause first."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final, Self

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flowq.core.graph import Graph
from flowq.core.ids import child_run_id, node_id
from flowq.core.spec import FlowSpec, StepKind
from flowq.core.states import RunState, StepState, StopKind
from flowq.engine.model.model_calls import CostLine
from flowq.engine.model.rows import RunView, StepView, StoredStep
from flowq.engine.waits.reasons import Waiting
from flowq.entrypoints import formatting
from flowq.entrypoints.cli.display import console as looks
from flowq.entrypoints.cli.display import tree
from flowq.entrypoints.cli.display.live import elapsed, items, steps_of

_MAX_INPUT_LENGTH: Final = 100
_MAX_WAITS: Final = 10


@dataclass(frozen=True)
class Failure:
    """A step, or one item of a map, that has failed."""

    step: str
    error: str | None
    message: str | None
    attempts: int | None = None
    item: Any = None
    traceback: str | None = None
    causes: Any = None  #: What caused its error, see `engine.runtime.causes`.

    @classmethod
    def of_step(cls, step: StepView) -> Self:
        """Describe a failed step."""
        return cls(
            step.key,
            step.error_type,
            step.error_message,
            step.attempts,
            traceback=step.metadata.get("traceback"),
            causes=step.metadata.get("causes"),
        )

    @classmethod
    def of_item(cls, item: StoredStep) -> Self:
        """Describe a failed item of a map."""
        metadata = item.metadata or {}
        return cls(
            f"{item.key}[{item.map_index}]",
            item.error_type,
            item.error_message,
            item.attempt,
            metadata.get("item"),
            metadata.get("traceback"),
            metadata.get("causes"),
        )

    @classmethod
    def of_rest(cls, key: str, number: int) -> Self:
        """Return one line for the failed items that are not listed."""
        return cls(key, None, f"{number:,} more of its items have failed")

    @property
    def place(self) -> str | None:
        """The place in the user's code that raised it."""
        return formatting.place(self.traceback)

    def as_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


#: The prefix of the calls of a program, below it.
_CALLED: Final = "╰─ "


def print_run(
    view: RunView,
    spec: FlowSpec,
    graph: Graph,
    failures: Sequence[Failure],
    *,
    calls: Sequence[CostLine] = (),
    waits: Sequence[Waiting] = (),
    unfold: bool,
) -> None:
    """Print a run, with its calls by model and the reasons why it waits."""
    console = looks.out()
    _print_header(console, view, calls)
    _print_waits(console, waits)
    if view.steps:
        console.print()
        console.print(_steps(console, view, spec, graph))
    _print_failures(console, view, failures, unfold=unfold)


def _print_header(console: Console, view: RunView, calls: Sequence[CostLine]) -> None:
    style = formatting.MARKS[view.status].style
    title = (looks.mark(view.status, console), " ", (view.flow_name, "bold"), "  ")
    console.print(Text.assemble(*title, (view.status, style)), soft_wrap=True)
    took = None
    if view.started_at is not None:
        took = ((view.completed_at or datetime.now(UTC)) - view.started_at).total_seconds()
    created = view.created_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    facts = {
        "run": str(view.id),
        "created": f"{created}, {formatting.ago(view.created_at)}",
        "time": formatting.duration(took),
        "steps": steps_of(view),
        "cost": f"{formatting.cost(view.cost, view.unpriced)}, "
        f"{formatting.count(view.tokens)} tokens",
        "models": ", ".join(_calls(line) for line in calls),
        "budget": _budget(view),
        "saved": _saved(view),
        "user": view.user_id or "",
        "priority": str(view.priority or ""),
        "next run": str(view.continued_as or ""),
        "rerun of": str(view.rerun_of or ""),
    }
    for name, value in facts.items():
        if value:
            console.print(Text.assemble((f"  {name:<9}", "dim"), value), soft_wrap=True)
    for number, (name, value) in enumerate((view.inputs or {}).items()):
        label = "inputs" if number == 0 else ""
        console.print(
            Text.assemble((f"  {label:<9}", "dim"), f"{name} = {_short(value)}"), soft_wrap=True
        )


def _print_waits(console: Console, waits: Sequence[Waiting]) -> None:
    arrow = "→" if looks.unicode(console) else "->"
    for number, one in enumerate(waits[:_MAX_WAITS]):
        label = "waits" if number == 0 else ""
        since = f", for {formatting.ago(one.since).removesuffix(' ago')}" if one.since else ""
        of_run = f" (of its child run {one.run_id})" if one.run_id else ""
        text = (f"{one}{of_run}", "yellow"), (since, "dim")
        console.print(Text.assemble((f"  {label:<9}", "dim"), *text), soft_wrap=True)
        if one.hint:
            console.print(Text(f"  {'':<9}{arrow} {one.hint}", style="dim"), soft_wrap=True)
    if len(waits) > _MAX_WAITS:
        more = f"{'':<9}and {len(waits) - _MAX_WAITS} more: flowq runs show … --json"
        console.print(Text(f"  {more}", style="dim"), soft_wrap=True)


def _calls(line: CostLine) -> str:
    unknown = f", {formatting.count(line.unknown)} of unknown cost" if line.unknown else ""
    failed = f", {formatting.count(line.failed)} failed" if line.failed else ""
    return f"{line.name} ({formatting.count(line.calls)} calls{failed}{unknown})"


def _budget(view: RunView) -> str:
    """Return what a run may spend, and what happens when that is spent."""
    budget = view.budget
    if budget is None:
        return ""
    usd = [] if budget.usd is None else [formatting.money(budget.usd)]
    tokens = [] if budget.tokens is None else [f"{formatting.count(budget.tokens)} tokens"]
    return f"{', '.join(usd + tokens)}, then {budget.action}"


def _saved(view: RunView) -> str:
    """Return what the cache has saved."""
    if not view.hits:
        return ""
    saved = view.saved
    word = "cached" if view.rerun_of is None else "reused"
    results = f"{formatting.count(view.hits)} {word} result{'' if view.hits == 1 else 's'}"
    return f"{formatting.money(saved.cost)}, {formatting.count(saved.tokens)} tokens by {results}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MAX_INPUT_LENGTH else f"{text[:_MAX_INPUT_LENGTH]}…"


def _steps(console: Console, view: RunView, spec: FlowSpec, graph: Graph) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for title in ("step", "state", "items", "attempts", "time", "tokens", "cost"):
        right = title not in {"step", "state", "items"}
        table.add_column(title, justify="right" if right else "left", no_wrap=title != "step")
    by_key = {step.key: step for step in view.steps}
    now = datetime.now(UTC)
    calls = [tree.Line(step.key, _CALLED, ()) for step in view.steps if step.called is not None]
    for line in [*tree.lines(graph), *calls]:
        step = by_key[line.key]
        name = Text.assemble(
            (line.prefix, "dim"), looks.mark(step.status, console), " ", (step.key, "")
        )
        if (step.called or spec.step(step.key).kind) is StepKind.FLOW:
            name.append(f"  {_child(view, step)}", style="dim")
        if step.hits:
            # In a rerun; a step with its own cache may have hits beside.
            word = (
                "reused"
                if view.rerun_of and not (step.attempts and step.map_size is None)
                else "cached"
            )
            name.append(f"  {word}" if step.map_size is None else f"  {step.hits} {word}", "dim")
        if line.also:
            name.append(f"  also after {', '.join(line.also)}", style="dim")
        attempts = str(step.attempts or "")
        if step.recoveries:
            attempts += f" ({step.recoveries} recovered)"
        table.add_row(
            name,
            Text(step.status, style=formatting.MARKS[step.status].style),
            items(step),
            Text(attempts, style="yellow" if step.attempts > 1 else ""),
            formatting.duration(elapsed(step, now)),
            formatting.count(step.tokens),
            formatting.cost(step.cost, step.unpriced),
        )
    return table


def _child(view: RunView, step: StepView) -> str:
    """Return the child run that a step has started."""
    if step.map_size is not None or not step.attempts:
        return "child run"
    return f"child run {child_run_id(node_id(view.id, step.key))}"


def _print_failures(
    console: Console, view: RunView, failures: Sequence[Failure], *, unfold: bool
) -> None:
    # The error of a step is shown below; a deadline, for example, is no error of a step.
    if view.error and not (failures and view.stop_kind is StopKind.FAILED):
        console.print()
        paused = view.status is RunState.PAUSED
        title = ("Paused: ", "bold yellow") if paused else ("Error: ", "bold red")
        console.print(Text.assemble(title, view.error), soft_wrap=True)
    folded = False
    for failure in failures:
        console.print()
        error = f"{failure.error}: " if failure.error else ""
        sign = looks.mark(StepState.FAILED, console)
        name = (failure.step, "bold")
        console.print(Text.assemble(sign, " ", name, f"  {error}{failure.message}"), soft_wrap=True)
        for cause in formatting.causes(failure.causes):
            console.print(Text(f"  {cause}"), soft_wrap=True)
        details = {
            "item": "" if failure.item is None else _short(failure.item),
            "attempts": str(failure.attempts or ""),
            "at": failure.place or "",
        }
        for label, value in details.items():
            if value:
                console.print(Text.assemble((f"  {label:<9}", "dim"), value), soft_wrap=True)
        if failure.traceback and unfold:
            console.print()
            for line in failure.traceback.splitlines():
                console.print(Text(f"    {line}"), soft_wrap=True)
        folded = folded or bool(failure.traceback and not unfold)
    if folded:
        console.print()
        hint = f"  → flowq runs show {view.id} --traceback"
        console.print(Text(hint, style="dim"), soft_wrap=True)
