"""Where an execution stands. `Control` changes it; nothing else does.

    ExecutionState      ctx, results of steps, what is active and what is kept for a join
      Activation        a step that has begun and not ended; a step may be active several times
        LoopState       the items of its loop, of a step with one
        Item            one item, or the step itself without a loop: its pages and attempts

An open command names its activation and item by their numbers, so the whole is a value that can be
copied and stored.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from flowq.playbooks.control.events import Decision, Failure
from flowq.playbooks.control.values import Collected
from flowq.playbooks.document.models import Json, Sink, Task, Tool
from flowq.tools.text import MISSING, deeply_plain

Status = Literal["completed", "failed", "skipped"]


@dataclass(slots=True)
class Item:
    """One call with its pages and attempts.

    Attributes:
        index: In the loop, from 0; None without a loop.
        tool: Rendered, when the first call was made; pages are merged into it.
        overrides: What the current page has in place of the original fields.
        given: What the document says the result is.
        pages: What each page gave to `collect`.
    """

    index: int | None = None
    value: Json = None
    args: Mapping[str, Json] = field(default_factory=dict)
    tool: Tool | None = None
    overrides: Mapping[str, Json] = field(default_factory=dict)
    page: int = 1
    attempt: int = 1
    response: object = MISSING
    given: object = MISSING
    pages: list[object] = field(default_factory=list)
    collected: Collected = field(default_factory=Collected)
    is_merging: bool = False


@dataclass(slots=True)
class LoopState:
    """The items of a loop.

    Attributes:
        begun: How many items have begun, in their order.
        open: How many of them have not ended.
        error: Of the item that fails the loop.
        is_handled: Whether the document made that failure itself.
    """

    values: list[Json]
    results: list[object]
    begun: int = 0
    open: int = 0
    success: int = 0
    failed: int = 0
    error: Failure | None = None
    is_handled: bool = False


@dataclass(slots=True)
class Activation:
    """A step that has begun.

    Attributes:
        args: What it was begun with, over its own.
        item_args: Its own arguments that each item renders.
        transitions: What its actions go on with.
        held: Decision once the first call has ended.
        task: Of the workbook, when the step calls one.
        sink: Of a sink: what it stores by; the step is none of the document then.
    """

    number: int
    step: str
    args: dict[str, Json]
    item_args: Mapping[str, Json] = field(default_factory=dict)
    loop: LoopState | None = None
    items: dict[int | None, Item] = field(default_factory=dict)
    transitions: list[tuple[str, Mapping[str, Json]]] = field(default_factory=list)
    held: list[Decision] = field(default_factory=list)
    given: object = MISSING
    attempt: int = 1
    task: Task | None = None
    sink: Sink | None = None


@dataclass(slots=True)
class Arrival:
    """A transition to a step that waits for all branches."""

    step: str
    args: Mapping[str, Json]


@dataclass(slots=True)
class ExecutionState:
    """Where an execution stands.

    Attributes:
        ctx: The variables of the execution; `vars` is another name of them.
        step_results: Of steps that have ended, by name; the one that ended last counts.
        step_attempts: The number of the last attempt, by step.
        activations: What is active, by number.
        active: How often a step is active; steps that are not have no entry.
        open: From the id of a command that has not ended to its activation and item.
        kept: Arrivals at steps that wait, in order.
        version: How often it was saved.
    """

    execution_id: str
    workload: Mapping[str, Json]
    ctx: dict[str, Any] = field(default_factory=dict)
    step_results: dict[str, object] = field(default_factory=dict)
    step_attempts: dict[str, int] = field(default_factory=dict)
    activations: dict[int, Activation] = field(default_factory=dict)
    active: dict[str, int] = field(default_factory=dict)
    open: dict[int, tuple[int, int | None]] = field(default_factory=dict)
    kept: list[Arrival] = field(default_factory=list)
    commands: int = 0
    begun: int = 0
    workflow_status: Literal["pending", "running", "completed", "failed"] = "pending"
    final_step: str | None = None
    final_result: object = None
    has_begun_end: bool = False
    error: Failure | None = None
    error_step: str | None = None
    error_attempt: int = 1
    version: int = 0

    @property
    def context(self) -> Mapping[str, Any]:
        """The variables as plain values, by the name that the seed gave them."""
        found: dict[str, Any] = deeply_plain(self.ctx)
        return found

    @property
    def loop_state(self) -> dict[str, LoopState]:
        """The loops that are active, by step."""
        return {one.step: one.loop for one in self.activations.values() if one.loop}
