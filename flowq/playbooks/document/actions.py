"""What an entry of `case` does: one frozen value per action, and their plain form.

`ORDER` is the order in which the actions of one mapping run. `action` reads the canonical plain
form, which has one key, the action's name: `{"fail": {"message": "no"}}`; `plain` is its inverse.
Texts that are templates are not rendered here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Literal, Self

Json = Any
#: How a part is added to what was collected before.
Mode = Literal["append", "extend", "replace", "merge"]

#: The actions of one mapping run in this order; those of a list run as they are written.
ORDER: Final = ("set", "collect", "result", "call", "retry", "sink", "next", "fail", "skip")
#: Fields of a call by which `retry` asks for another page instead of the same call again.
PAGE_FIELDS: Final = frozenset(
    ("params", "url", "endpoint", "method", "headers", "body", "data", "payload")
)


@dataclass(frozen=True, slots=True)
class Tool:
    """What a call runs: its kind, and all other keys with their templates."""

    kind: str
    config: Mapping[str, Json] = field(default_factory=dict)

    @classmethod
    def of(cls, data: Mapping[str, Json]) -> Self:
        """Read the plain form."""
        return cls(data["kind"], {key: value for key, value in data.items() if key != "kind"})

    def plain(self) -> dict[str, Json]:
        """Return the plain form."""
        return {"kind": self.kind, **self.config}


#: The name that earlier engines have for it.
ToolCall = Tool


@dataclass(frozen=True, slots=True)
class Transition:
    """A step that follows, and the arguments that it gets."""

    step: str
    args: Mapping[str, Json] = field(default_factory=dict)

    @classmethod
    def of(cls, data: Mapping[str, Json]) -> Self:
        """Read the plain form."""
        return cls(data["step"], data.get("args") or {})

    def plain(self) -> dict[str, Json]:
        """Return the plain form."""
        return without_defaults({"step": self.step, "args": dict(self.args)}, args={})


@dataclass(frozen=True, slots=True)
class Set:
    """Write values into `ctx`, and into `ctx.flags`; a text is a template that gives all values."""

    kind: ClassVar = "set"
    ctx: Mapping[str, Json] | str = field(default_factory=dict)
    flags: Mapping[str, Json] = field(default_factory=dict)

    @classmethod
    def of(cls, data: Json) -> Self:
        """Read the plain form."""
        if isinstance(data, str):
            return cls(data)
        return cls(data.get("ctx") or {}, data.get("flags") or {})

    def plain(self) -> dict[str, Json]:
        """Return the plain form."""
        if isinstance(self.ctx, str):
            return {"set": self.ctx}
        return {"set": without_defaults({"ctx": self.ctx, "flags": self.flags}, flags={})}


@dataclass(frozen=True, slots=True)
class Collect:
    """Add a part of a response to a list (or mapping) that grows over calls.

    Attributes:
        source: What to add: a path, or a template. None when `path` is given.
        path: What to add, as a path in the body of the response.
        into: The name in `ctx`; None collects only into the result of the step.
        is_merging_result: Whether the result of the step becomes the last response with all parts.
    """

    kind: ClassVar = "collect"
    source: Json | None = None
    path: str | None = None
    into: str | None = None
    mode: Mode = "append"
    is_merging_result: bool = False

    @classmethod
    def of(cls, data: Json) -> Self:
        """Read the plain form."""
        mode: Mode = data.get("mode") or data.get("strategy") or "append"
        is_second = "from" not in data
        return cls(data.get("from"), data.get("path"), data.get("into"), mode, is_second)

    def plain(self) -> dict[str, Json]:
        """Return the plain form."""
        if self.is_merging_result:
            data = {"path": self.path, "into": self.into, "strategy": self.mode}
            return {"collect": without_defaults(data, path=None, into=None)}
        return {"collect": {"from": self.source, "into": self.into, "mode": self.mode}}


@dataclass(frozen=True, slots=True)
class Result:
    """Say what the result of the step is: `source` (a path or a template), or `literal`."""

    kind: ClassVar = "result"
    source: Json | None = None
    literal: Json | None = None

    @classmethod
    def of(cls, data: Json) -> Self:
        """Read the plain form."""
        if isinstance(data, Mapping) and set(data) == {"from"}:
            return cls(source=data["from"])
        return cls(literal=data)

    def plain(self) -> dict[str, Json]:
        """Return the plain form."""
        return {"result": self.literal if self.source is None else {"from": self.source}}


@dataclass(frozen=True, slots=True)
class Call:
    """Ask for the next page: the same call, with these fields merged into the original ones."""

    kind: ClassVar = "call"
    config: Mapping[str, Json]

    def plain(self) -> dict[str, Json]:
        """Return the plain form."""
        return {"call": dict(self.config)}


@dataclass(frozen=True, slots=True)
class Branch:
    """Begin another step as a branch of its own."""

    kind: ClassVar = "call"
    step: str
    args: Mapping[str, Json] = field(default_factory=dict)

    def plain(self) -> dict[str, Json]:
        """Return the plain form."""
        return {"call": Transition(self.step, self.args).plain()}


@dataclass(frozen=True, slots=True)
class Retry:
    """Make the failed call again, after a delay.

    Attributes:
        max_attempts: Attempts in all, the first included.
        initial_delay: Seconds before the second attempt; each further delay is longer.
        max_delay: The longest delay in seconds.
    """

    kind: ClassVar = "retry"
    max_attempts: int = 3
    initial_delay: float = 0.5
    backoff_multiplier: float = 2.0
    max_delay: float | None = None
    backoff: Literal["exponential", "linear"] = "exponential"

    def plain(self) -> dict[str, Json]:
        """Return the plain form."""
        data = {name: getattr(self, name) for name in self.__slots__}
        return {"retry": without_defaults(data, max_delay=None, backoff="exponential")}


@dataclass(frozen=True, slots=True)
class Page:
    """Ask for the next page, as `Call`, with a limit of its own on the pages."""

    kind: ClassVar = "retry"
    config: Mapping[str, Json]
    max_attempts: int | None = None

    def plain(self) -> dict[str, Json]:
        """Return the plain form."""
        data = {**self.config, "max_attempts": self.max_attempts}
        return {"retry": without_defaults(data, max_attempts=None)}


@dataclass(frozen=True, slots=True)
class Sink:
    """Store something by another tool, beside everything else."""

    kind: ClassVar = "sink"
    tool: Tool
    args: Mapping[str, Json] = field(default_factory=dict)
    on_error: Literal["fail", "ignore"] = "fail"

    @classmethod
    def of(cls, data: Json) -> Self:
        """Read the plain form."""
        return cls(Tool.of(data["tool"]), data.get("args") or {}, data.get("on_error") or "fail")

    def plain(self) -> dict[str, Json]:
        """Return the plain form."""
        data = {"tool": self.tool.plain(), "args": dict(self.args), "on_error": self.on_error}
        return {"sink": without_defaults(data, args={}, on_error="fail")}


@dataclass(frozen=True, slots=True)
class Next:
    """Go on with other steps, in place of the step's own `next`."""

    kind: ClassVar = "next"
    transitions: tuple[Transition, ...]

    @classmethod
    def of(cls, data: Json) -> Self:
        """Read the plain form."""
        return cls(tuple(map(Transition.of, data)))

    def plain(self) -> dict[str, Json]:
        """Return the plain form."""
        return {"next": [one.plain() for one in self.transitions]}


@dataclass(frozen=True, slots=True)
class Fail:
    """End this branch with a failure; with `fail_workflow` the whole execution."""

    kind: ClassVar = "fail"
    message: Json = "failed by the playbook"
    fail_workflow: bool = False

    @classmethod
    def of(cls, data: Json) -> Self:
        """Read the plain form."""
        return cls(**{key: data[key] for key in ("message", "fail_workflow") if key in data})

    def plain(self) -> dict[str, Json]:
        """Return the plain form."""
        data = {"message": self.message, "fail_workflow": self.fail_workflow}
        return {"fail": without_defaults(data, fail_workflow=False)}


@dataclass(frozen=True, slots=True)
class Skip:
    """Make no call for this step (or this item)."""

    kind: ClassVar = "skip"
    reason: Json | None = None

    @classmethod
    def of(cls, data: Json) -> Self:
        """Read the plain form."""
        return cls(data.get("reason"))

    def plain(self) -> dict[str, Json]:
        """Return the plain form."""
        return {"skip": without_defaults({"reason": self.reason}, reason=None)}


Action = Set | Collect | Result | Call | Branch | Retry | Page | Sink | Next | Fail | Skip


def _call(data: Json) -> Action:
    return Branch(data["step"], data.get("args") or {}) if "step" in data else Call(data)


def _retry(data: Json) -> Action:
    if PAGE_FIELDS & set(data):
        config = {key: value for key, value in data.items() if key in PAGE_FIELDS}
        return Page(config, data.get("max_attempts"))
    return Retry(**{key: data[key] for key in Retry.__slots__ if key in data})


_READERS: Final[Mapping[str, Callable[[Json], Action]]] = {
    "set": Set.of,
    "collect": Collect.of,
    "result": Result.of,
    "call": _call,
    "retry": _retry,
    "sink": Sink.of,
    "next": Next.of,
    "fail": Fail.of,
    "skip": Skip.of,
}


def action(name: str, data: Json) -> Action:
    """Return the action of a name from its canonical plain form."""
    return _READERS[name](data)


def without_defaults(data: Mapping[str, Json], **defaults: Json) -> dict[str, Json]:
    """Return a mapping without the keys that have their default."""
    return {
        key: value for key, value in data.items() if key not in defaults or value != defaults[key]
    }
