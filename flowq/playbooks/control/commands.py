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

#: Who does the work: a step, a map of steps, a child run, or somebody outside.
Work = Literal["call", "map", "child", "external"]
_WORK: Final[Mapping[str, Work]] = {
    "playbook": "child",
    "playbooks": "child",
    "external": "external",
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
    """

    template: str
    names: Mapping[str, Json]

    def __flowq_get__(self, name: str | int) -> Any:
        raise Postponed(f"{name} of {self.template} is known on the worker only")

    def __flowq_value__(self) -> Any:
        raise Postponed(f"{self.template} is known on the worker only")

    def to_json(self) -> dict[str, Any]:
        """Return the plain form: `{"$text": template, "names": {…}}`."""
        return {TEXT: self.template, "names": plain(self.names)}


@dataclass(frozen=True, slots=True)
class Command:
    """One piece of work: an attempt of a call, or all items of a loop as one map.

    Attributes:
        id: 1, 2, 3, … within the execution; the same in each replay.
        args: What the tool gets.
        attempt: From 1; a new page begins at 1 again.
        page: From 1.
        item: The index of the loop's item, of a call in a loop.
        backoff: Seconds to wait before.
        retry: Attempts that the engine makes within this command.
        items: Of a map: the items. Templates that need one are `Deferred`; the worker adds the
            names `iterator`, `loop_index` and `loop`.
        on_error: Of a map: whether the first failed item fails it.
        expects, returns: What a task of the workbook asserts of its arguments and its result.
    """

    id: int
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

    def to_queue_record(self) -> dict[str, Any]:
        """Return the row of a queue of commands, as JSON."""
        return {
            "execution_id": self.execution_id,
            "step": self.step,
            "tool_kind": self.tool.kind,
            "tool_config": plain(self.tool.config),
            "args": plain(self.args),
            "attempt": self.attempt,
            "priority": self.priority,
            "backoff": self.backoff,
            "max_attempts": self.retry.max_attempts if self.retry else None,
            "metadata": dict(self._metadata()),
            "status": "pending",
        }

    def _metadata(self) -> Iterator[tuple[str, Json]]:
        yield "command_id", self.id
        if self.page > 1:
            yield "page", self.page
        if self.item is not None:
            yield "item", self.item
        if self.items is not None:
            yield "items", plain(self.items)


def plain(value: Json) -> Json:
    """Return JSON: what stands for a value becomes its plain form."""
    if isinstance(value, Deferred | Reference):
        return value.to_json()
    if isinstance(value, Concat):
        return {CONCAT: [plain(part) for part in value.parts]}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value
