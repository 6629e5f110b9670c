"""The graph of a canvas before it runs: a node for each task and each wait, as pages draw flows.

It is for people. The run itself is a program: callbacks of failures, retries and replacements are
known when they happen.
"""

from collections import Counter
from typing import Final

from flowq.canvas.plan import CanvasPlan, ChainPlan, ChordPlan, GroupPlan, Plan, TaskPlan
from flowq.core.spec import FlowSpec, StepKind, StepSpec

#: Keys of the nodes that come before.
_Before = tuple[str, ...]
_SLEEP: Final = "sleep"


def outline(canvas: CanvasPlan) -> FlowSpec:
    """Return the tasks of a canvas as the nodes of a graph, in the order in which they can run."""
    drawing = _Drawing()
    drawing.add(canvas.root, ())
    return FlowSpec(name=canvas.name, steps=tuple(drawing.steps))


class _Drawing:
    def __init__(self) -> None:
        self.steps: list[StepSpec] = []
        self._used: Counter[str] = Counter()

    def add(self, plan: Plan, before: _Before) -> _Before:
        """Add a plan after some nodes, and return the nodes that it ends with."""
        match plan:
            case TaskPlan():
                return self._task(plan, before)
            case ChainPlan():
                for step in plan.steps:
                    before = self.add(step, before)
                return before
            case GroupPlan():
                return self._all(plan.tasks, before)
            case ChordPlan():
                return self.add(plan.body, self._all(plan.header, before))

    def _all(self, tasks: tuple[Plan, ...], before: _Before) -> _Before:
        ends = [key for task in tasks for key in self.add(task, before)]
        return tuple(ends) or before

    def _task(self, plan: TaskPlan, before: _Before) -> _Before:
        if plan.countdown is not None or plan.eta is not None:
            wait = f"{plan.label}.{'eta' if plan.countdown is None else 'countdown'}"
            before = (self._node(wait, _SLEEP, StepKind.TIMER, before),)
        key = self._node(plan.label, plan.name, StepKind.STEP, before)
        for link in plan.link:
            self.add(link, (key,))
        return (key,)

    def _node(self, label: str, name: str, kind: StepKind, before: _Before) -> str:
        self._used[label] += 1
        key = label if self._used[label] == 1 else f"{label}#{self._used[label]}"
        self.steps.append(StepSpec(key=key, name=name, kind=kind, after=before))
        return key
