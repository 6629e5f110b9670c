"""What has to be done next: one call of a tool, with its rendered configuration.

Texts are rendered when the command is made, so that what is called is what its row shows. Two kinds
of values remain: `Reference` and `Concat` stand for large results that are passed on without being
loaded, and `Deferred` is a template that the worker renders, since it needs a secret, has blocks,
or needs the item of a map.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, Literal

from flowq.core.errors import StepError
from flowq.core.references import CONCAT, Concat, Reference
from flowq.core.retries import RetryPolicy
from flowq.playbooks.document.models import Json, Tool
from flowq.tools.text import View

#: The key of a template that is rendered on the worker.
TEXT: Final = "$text"
#: The key of data that is none of these, whatever keys it has.
DATA: Final = "$data"

#: Who does the work: a step, a map of steps, a child run, somebody outside, or the clock.
Work = Literal["call", "map", "child", "external", "timer"]
_WORK: Final[Mapping[str, Work]] = {
    "playbook": "child",
    "playbooks": "child",
    "external": "external",
    "delay": "timer",
}


def work_of(kind: str) -> Work:
    """Return who does the work of a tool."""
    return _WORK.get(kind, "call")


class Postponed(StepError):
    """A template reads a value that only the worker has."""


@dataclass(frozen=True)
class Deferred(View):
    """A template that the worker renders, and the values of the names that it uses.

    Other templates can pass it on; one that reads it becomes a `Deferred` itself.

    Attributes:
        results: Those of the names that are whole results, whose envelope falls through.
    """

    template: str
    names: Mapping[str, Json]
    results: tuple[str, ...] = ()

    def __flowq_get__(self, name: str | int) -> Any:
        raise Postponed(f"{name} of {self.template} is known on the worker only")

    def __flowq_value__(self) -> Any:
        raise Postponed(f"{self.template} is known on the worker only")


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One piece of work: an attempt of a call, or all items of a loop as one map.

    The worker gets `carried(command.tool.config)` and `carried(command.args)`.

    Attributes:
        id: 1, 2, 3, … within the execution, the same in each replay; 0 of one that was made by
            hand.
        args: What the tool gets.
        attempt: From 1; a new page begins at 1 again.
        page: From 1.
        item: The index of the loop's item, of a call in a loop.
        backoff: Seconds to wait before.
        retry: Attempts that the engine makes within this command.
        items: Of a map: the items. Templates that need one are `Deferred`; the worker adds the
            names `iterator`, `loop_index` and `loop`.
        on_error: Of a map: whether the first failed item fails it.
        max_attempts: For queues that retry by themselves; `retry` says it for the engine.
        metadata: What else a queue keeps with it.
        expects, returns: What a task of the workbook asserts of its arguments and its result.
    """

    id: int = 0
    execution_id: str
    step: str
    tool: Tool
    args: Mapping[str, Json] = field(default_factory=dict)
    attempt: int = 1
    page: int = 1
    item: int | None = None
    backoff: float | None = None
    timeout: timedelta | None = None
    queue: str | None = None
    retry: RetryPolicy | None = None
    work: Work = "call"
    items: tuple[Json, ...] | None = None
    iterator: str | None = None
    max_concurrency: int | None = None
    on_error: Literal["fail", "collect"] = "fail"
    expects: tuple[str, ...] = ()
    returns: tuple[str, ...] = ()
    priority: int = 0
    max_attempts: int | None = None
    metadata: Mapping[str, Json] = field(default_factory=dict)

    def to_queue_record(self) -> dict[str, Any]:
        """Return the row of a queue of commands, as JSON."""
        return {
            "execution_id": self.execution_id,
            "step": self.step,
            "tool_kind": self.tool.kind,
            "tool_config": plain(carried(self.tool.config)),
            "args": plain(carried(self.args)),
            "attempt": self.attempt,
            "priority": self.priority,
            "backoff": self.backoff,
            "max_attempts": self.retry.max_attempts if self.retry else self.max_attempts,
            "metadata": {**self.metadata, **dict(self._metadata())},
            "status": "pending",
        }

    def _metadata(self) -> Iterator[tuple[str, Json]]:
        if self.id:
            yield "command_id", self.id
        if self.page > 1:
            yield "page", self.page
        if self.item is not None:
            yield "item", self.item
        if self.items is not None:
            yield "items", plain(self.items)


def carried(value: Json) -> Json:
    """Return what a worker gets in place of a value of a command.

    A `Deferred` becomes `{"$text": template, "names": {…}, "results": […]}`, which the worker
    renders; `results` is there if it has some. What came
    from results or from outside stands below `{"$data": …}` when it could be taken for one: large
    results, of which nothing is known here, and mappings with such keys. `Reference` and `Concat`
    stay objects; the engine puts the values in their places.
    """
    if isinstance(value, Deferred):
        results = {"results": list(value.results)} if value.results else {}
        return {TEXT: value.template, "names": carried(value.names), **results}
    if isinstance(value, Reference | Concat):
        return {DATA: value}
    if isinstance(value, Mapping):
        if TEXT in value or DATA in value:
            return {DATA: value}
        return {key: carried(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [carried(item) for item in value]
    return value


def plain(value: Json) -> Json:
    """Return the JSON of what is carried."""
    if isinstance(value, Deferred):
        return plain(carried(value))
    if isinstance(value, Reference):
        return value.to_json()
    if isinstance(value, Concat):
        return {CONCAT: [plain(part) for part in value.parts]}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value
