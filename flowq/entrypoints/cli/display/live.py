"""Follows a run: a redrawn table on a terminal, one line per change elsewhere.

The rows are read repeatedly; the longer a read takes, the longer the pause that follows. If not all
steps fit on the screen, those that change are shown and the rest is counted.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import Final, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table as Grid
from rich.text import Text

from flowq import bootstrap
from flowq.client import Run
from flowq.core.states import (
    TERMINAL_RUN_STATES,
    TERMINAL_STEP_STATES,
    RunState,
    StepState,
)
from flowq.engine.model.rows import RunView, StepView
from flowq.engine.waits.explain import timed_out
from flowq.entrypoints import formatting
from flowq.entrypoints.cli.display import console as looks

_PAUSE: Final = 0.2
_LONELY: Final = 5.0  #: Seconds after which a message says that no worker takes the run.
_AROUND: Final = 8  #: Lines of the screen that are reserved.
_ACTIVE: Final = frozenset({StepState.RUNNING, StepState.RETRYING, StepState.FAILED})


def follow(
    run: Run[object],
    *,
    timeout: float | None = None,
    worker_hint: str | None = None,
    check: Callable[[], None] = lambda: None,
) -> RunView:
    """Show a run on stderr until it ends.

    Args:
        timeout: Seconds.
        worker_hint: What to type to start a worker for it, when none takes it.
        check: Called at each read; what it raises ends the function.

    Raises:
        ResultTimeout: it did not end in time. It continues.
    """
    console = looks.err()
    began = time.monotonic()
    shown: AbstractContextManager[Redrawn | Lines]
    shown = Redrawn(console) if console.is_terminal else nullcontext(Lines(console))
    with shown as display:
        while True:
            looked = time.monotonic()
            view = run.view()
            display.update(view, remark(view, looked - began, worker_hint))
            if view.status in TERMINAL_RUN_STATES:
                return view
            check()
            pause = max(_PAUSE, 4 * (time.monotonic() - looked))
            if timeout is not None:
                left = began + timeout - time.monotonic()
                if left <= 0:
                    state = f"is still {view.status}"
                    raise timed_out(bootstrap.engine(), run.id, state, timeout)
                pause = min(pause, left)
            time.sleep(pause)


def remark(view: RunView, seconds: float, worker_hint: str | None) -> str | None:
    """Return why a run that is shown for some time does not move, if that can be said."""
    if view.status is RunState.PAUSED:
        why = f"the run is paused: {view.error}" if view.error else "the run is paused"
        return f"{why}  flowq runs show {view.id}"
    if seconds > _LONELY and not any(step.attempts for step in view.steps):
        hint = worker_hint or "flowq doctor"
        return f"no worker has taken it yet; is a worker running?  {hint}"
    return None


# --- on a terminal --------------------------------------------------------------------------------


class Redrawn:
    """A table that is redrawn."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._view: RunView | None = None
        self._remark: str | None = None
        self._spinner = Spinner("dots", style="cyan")
        self._live = Live(
            console=console,
            get_renderable=self._render,
            refresh_per_second=10,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def update(self, view: RunView, remark: str | None) -> None:
        """Show the present state."""
        self._view, self._remark = view, remark

    def _render(self) -> RenderableType:
        view = self._view
        if view is None:
            return Text("")
        rows, rest = fitting(view.steps, self._console.height - _AROUND)
        table = Grid(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        for name in ("", "step", "state", "items", "", "attempts", "elapsed"):
            table.add_column(name, no_wrap=True, justify="right" if name in _RIGHT else "left")
        now = datetime.now(UTC)
        for step in rows:
            table.add_row(*self._row(step, now))
        parts: list[RenderableType] = [table]
        if rest:
            parts.append(Text(f"… and {rest}", style="dim"))
        parts.append(summary(view, self._console))
        if self._remark:
            parts.append(Text(self._remark, style="yellow"))
        return Group(*parts)

    def _row(self, step: StepView, now: datetime) -> list[RenderableType]:
        running = step.status is StepState.RUNNING and looks.unicode(self._console)
        sign = self._spinner if running else looks.mark(step.status, self._console)
        is_map = step.map_size is not None
        bar: RenderableType = ""
        if is_map and step.total:
            bar = ProgressBar(
                total=step.total,
                completed=step.done,
                width=16,
                complete_style="cyan",
                finished_style="green",
            )
        quiet = "dim" if step.status in {StepState.PENDING, StepState.QUEUED} else ""
        return [
            sign,
            Text(step.key, style=quiet),
            Text(step.status, style=formatting.MARKS[step.status].style),
            items(step),
            bar,
            Text(str(step.attempts or ""), style="yellow" if step.attempts > 1 else ""),
            formatting.duration(elapsed(step, now)),
        ]


_RIGHT: Final = frozenset({"attempts", "elapsed"})


def summary(view: RunView, console: Console) -> Text:
    """Return the line below the steps."""
    end = view.completed_at or datetime.now(UTC)
    took = (end - view.created_at).total_seconds()
    text = Text.assemble(
        looks.mark(view.status, console),
        " ",
        (view.status, formatting.MARKS[view.status].style),
        f"  {steps_of(view)} steps",
        f"  {formatting.duration(took)}",
    )
    if view.tokens or view.cost or view.unpriced:
        text.append(
            f"  {formatting.count(view.tokens)} tokens  {formatting.cost(view.cost, view.unpriced)}"
        )
    return text


def items(step: StepView) -> Text:
    """Return how many items of a map have completed, failed and been cancelled, of all."""
    if step.map_size is None:
        return Text("")
    return Text(formatting.outcomes(step.counts), style="red" if step.failed else "")


def steps_of(view: RunView) -> str:
    """Return the same of all steps of a run, if they were read."""
    counts: Counter[StepState] = Counter()
    for step in view.steps:
        counts.update(step.counts)
    if counts.total() != view.total:  # not all were read
        return f"{formatting.count(view.done)} of {formatting.count(view.total)}"
    return formatting.outcomes(counts)


def elapsed(step: StepView, now: datetime | None = None) -> float | None:
    """Return how many seconds a step has taken so far."""
    if step.started_at is None:
        return None
    end = step.completed_at or (None if step.status in TERMINAL_STEP_STATES else now)
    return None if end is None else (end - step.started_at).total_seconds()


def fitting(steps: Sequence[StepView], room: int) -> tuple[Sequence[StepView], str]:
    """Return the steps that fit on the screen, in their order, and a summary of the others."""
    room = max(room, 3)
    if len(steps) <= room:
        return steps, ""
    # Active steps first, then the next ones, then those that ended last.
    by_need = sorted(steps, key=lambda step: (_need(step.status), _place(step)))
    chosen = {step.key for step in by_need[:room]}
    others = Counter(step.status for step in steps if step.key not in chosen)
    words = ", ".join(f"{number:,} {state}" for state, number in sorted(others.items()))
    rest = len(steps) - len(chosen)
    return [step for step in steps if step.key in chosen], f"{rest:,} more: {words}"


def _need(state: StepState) -> int:
    if state in _ACTIVE:
        return 0
    return 2 if state in TERMINAL_STEP_STATES else 1


def _place(step: StepView) -> int:
    return -step.order if step.status in TERMINAL_STEP_STATES else step.order


# --- elsewhere ------------------------------------------------------------------------------------


class Lines:
    """One line for each change; of a map, for each tenth of its items."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown: dict[str, tuple[object, ...]] = {}
        self._remark: str | None = None

    def update(self, view: RunView, remark: str | None) -> None:
        """Show what has changed."""
        for line in self._changes(view):
            self._console.print(line, soft_wrap=True)
        if remark and remark != self._remark:
            self._console.print(Text(remark), soft_wrap=True)
        self._remark = remark

    def _changes(self, view: RunView) -> Iterable[Text]:
        now = datetime.now(UTC)
        for step in view.steps:
            if step.status is StepState.PENDING:
                continue
            # Items of a failed map may still run; the line of the map is already final.
            counts = step.total and step.status not in TERMINAL_STEP_STATES
            tenth = 10 * step.done // step.total if step.map_size and counts else 0
            fact = (step.status, tenth, step.attempts if step.map_size is None else 0)
            if self._shown.get(step.key) != fact:
                self._shown[step.key] = fact
                yield self._line(step, now)
        if view.status in TERMINAL_RUN_STATES:
            yield summary(view, self._console)

    def _line(self, step: StepView, now: datetime) -> Text:
        parts = [items(step).plain]
        if step.attempts > 1:
            parts.append(f"attempt {step.attempts}")
        parts.append(formatting.duration(elapsed(step, now)))
        if step.error_message and step.status in {StepState.FAILED, StepState.RETRYING}:
            parts.append(f"{step.error_type}: {step.error_message.splitlines()[0]}")
        facts = "  ".join(filter(None, parts))
        sign = looks.mark(step.status, self._console)
        return Text.assemble(sign, f" {step.key}  {step.status}  {facts}".rstrip())
