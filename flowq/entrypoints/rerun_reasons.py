"""What a rerun does with a step and the items of a map, and why, in words for people."""

from typing import Final

from flowq.core.rerun import Why
from flowq.engine.model.reruns import PlannedStep, RerunPreview
from flowq.entrypoints import formatting

#: Why a step runs, for people.
WHY: Final = {
    Why.FORK: "the rerun begins here",
    Why.NEW: "the run has no such step",
    Why.CHANGED: "the step or its inputs are others",
    Why.OPEN: "it has not completed",
    Why.UNREADABLE: "its result is gone",
    Why.DEPENDS: "a step before it runs",
    Why.COMPARED: "reused if its inputs, and those of the calls before it, are the same",
}

#: How many indexes of items are named.
_NAMED: Final = 5


def what_happens(step: PlannedStep) -> str:
    """Return what happens to a step, in a word or two."""
    if step.is_reused:
        return "reused"
    return "may run" if step.may_be_reused else "runs"


def reason(step: PlannedStep) -> str:
    """Return why a step runs, and what becomes of the items of a map."""
    why = [] if step.why is None else [WHY[step.why]]
    return "; ".join(why + _items(step))


def _items(step: PlannedStep) -> list[str]:
    items = step.items
    if items is None:
        return []
    if step.is_reused:
        return [_counted(len(items.reused), "item", "all")] if items.reused else []
    if items.changed:
        names = ", ".join(map(repr, items.changed))
        return [f"no item is reused: the shared input {names} differs"]
    said = []
    if items.reused:
        said.append(f"{_counted(len(items.reused), 'item')} reused")
    if items.maybe:
        same = "its inputs are" if len(items.maybe) == 1 else "their inputs are"
        said.append(f"{_counted(len(items.maybe), 'completed item')} reused if {same} the same")
    if items.runs:
        verb = "runs" if len(items.runs) == 1 else "run"
        said.append(f"{_counted(len(items.runs), 'item')} {verb}: {_named(items.runs)}")
    if not items.reused and not items.maybe and items.runs:
        said.insert(0, "no item is reused")
    return said


def totals(preview: RerunPreview) -> tuple[str, str]:
    """Return what is reused, and what runs, as counts of steps and of items of maps that run.

    Calls that may be reused are counted as a span: "0 to 3 steps".
    """
    maybe = sum(step.may_be_reused for step in preview.runs)
    maps = [step.items for step in preview.runs if step.items is not None]
    reused = [_counted_between(len(preview.reused), maybe, "step")]
    certain = sum(len(one.reused) for one in maps)
    if certain:
        reused.append(f"{_counted(certain, 'item')} of maps that run")
    runs = [_counted_between(len(preview.runs) - maybe, maybe, "step")]
    again = sum(len(one.runs) for one in maps)
    if again:
        runs.append(f"with {_counted(again, 'item')} that the earlier run has")
    return " and ".join(reused), " ".join(runs)


def _counted(number: int, noun: str, before: str = "") -> str:
    return " ".join(filter(None, [before, formatting.count(number), noun + "s" * (number != 1)]))


def _counted_between(least: int, more: int, noun: str) -> str:
    before = f"{formatting.count(least)} to" if more else ""
    return _counted(least + more, noun, before)


def _named(indexes: tuple[int, ...]) -> str:
    shown = ", ".join(f"[{index}]" for index in indexes[:_NAMED])
    left = len(indexes) - _NAMED
    return f"{shown} and {formatting.count(left)} more" if left > 0 else shown
