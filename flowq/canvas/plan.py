"""The plan of a canvas: what its signatures mean, as frozen values that survive JSON. Pure.

A plan is an input of its run, so the run goes on with the canvas that it began with, whatever is
deployed meanwhile. It has four kinds of nodes. What Celery derives from options, settings of tasks
and the nesting of signatures is decided before: a group that another signature follows is the
header of a chord, and a chain holds neither chains nor such groups.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field


class _Node(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TaskPlan(_Node):
    """A call of a task."""

    kind: Literal["task"] = "task"
    name: str  #: Registered name of the Celery task.
    args: tuple[Any, ...] = ()  #: JSON as Celery writes it, like all values here.
    kwargs: dict[str, Any] = {}
    immutable: bool = False  #: The result before it is not its first argument.
    label: str  #: What its call is named after.
    shadow: str  #: The name by which it is routed and shown.
    countdown: float | None = None  #: Seconds to wait before it is queued.
    eta: datetime | None = None  #: When it is queued, instead of a countdown.
    expires_in: float | None = None  #: Seconds from when it is queued.
    expires_at: datetime | None = None
    queue: str | None = None
    timeout: float | None = None  #: Seconds.
    retries: int = 0  #: How many retries came before it.
    headers: dict[str, Any] = {}
    stamps: dict[str, Any] = {}
    link: tuple["Plan", ...] = ()
    link_error: tuple["Plan", ...] = ()

    @property
    def is_simple(self) -> bool:
        """Whether it is one call and nothing else, if it succeeds."""
        return not self.link and self.countdown is None and self.eta is None


class ChainPlan(_Node):
    """Steps of which each gets the result of the one before."""

    kind: Literal["chain"] = "chain"
    steps: tuple["Plan", ...]
    immutable: bool = False


class GroupPlan(_Node):
    """Tasks that run at the same time; its result is the list of theirs."""

    kind: Literal["group"] = "group"
    tasks: tuple["Plan", ...]


class ChordPlan(_Node):
    """A header of parallel tasks, and a body that gets the list of their results."""

    kind: Literal["chord"] = "chord"
    header: tuple["Plan", ...]
    body: "Plan"
    immutable: bool = False  #: Of its header.


Plan: TypeAlias = Annotated[
    TaskPlan | ChainPlan | GroupPlan | ChordPlan, Field(discriminator="kind")
]


class CanvasPlan(_Node):
    """A whole canvas."""

    name: str  #: Of its run.
    root: Plan

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data, without defaults."""
        return self.model_dump(mode="json", exclude_defaults=True) | {"root": written(self.root)}


def written(plan: Plan) -> dict[str, Any]:
    """Return a plan as plain JSON data, without defaults but with its kinds."""
    data = plan.model_dump(mode="json", exclude_defaults=True)
    inner: dict[str, Any] = {
        name: [written(one) for one in getattr(plan, name)]
        for name in ("steps", "tasks", "header", "link", "link_error")
        if name in data
    }
    if isinstance(plan, ChordPlan):
        inner["body"] = written(plan.body)
    return {**data, **inner, "kind": plan.kind}


def ends_in_group(plan: Plan) -> bool:
    """Return whether the result of a plan is that of a group."""
    match plan:
        case GroupPlan():
            return True
        case ChainPlan():
            return ends_in_group(plan.steps[-1])
        case ChordPlan():
            return ends_in_group(plan.body)
        case TaskPlan():
            return False


def leading_task(plan: Plan) -> TaskPlan | None:
    """Return the first task that runs; None of an empty group."""
    match plan:
        case TaskPlan():
            return plan
        case ChainPlan():
            return leading_task(plan.steps[0])
        case GroupPlan():
            return leading_task(plan.tasks[0]) if plan.tasks else None
        case ChordPlan():
            return leading_task(plan.header[0] if plan.header else plan.body)


def with_args(plan: Plan, args: tuple[Any, ...]) -> Plan:
    """Return a plan whose first tasks get these arguments before their own."""
    match plan:
        case TaskPlan():
            change: dict[str, Any] = {"args": args + plan.args}
        case ChainPlan():
            change = {"steps": (with_args(plan.steps[0], args), *plan.steps[1:])}
        case GroupPlan():
            return GroupPlan(tasks=tuple(with_args(task, args) for task in plan.tasks))
        case ChordPlan():
            change = {"header": tuple(with_args(task, args) for task in plan.header)}
    return plan if plan.immutable else plan.model_copy(update=change)


def first_tasks(plan: Plan) -> Iterator[TaskPlan]:
    """Yield the tasks that a plan, as the body of a chord, begins with."""
    match plan:
        case TaskPlan():
            yield plan
        case ChainPlan():
            yield from first_tasks(plan.steps[0])
        case GroupPlan():
            for task in plan.tasks:
                yield from first_tasks(task)
        case ChordPlan():
            yield from first_tasks(plan.body)


for _model in (TaskPlan, ChainPlan, GroupPlan, ChordPlan, CanvasPlan):
    _model.model_rebuild()
