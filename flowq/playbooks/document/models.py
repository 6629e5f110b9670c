"""The values of a playbook after it was read: steps, loops, entries of `case`. Frozen.

`Playbook.of` makes them from the canonical plain form, which is a document without sugar (see
`flowq.playbooks.document.sugar`). That form is stored as the input of a run, so `of` ignores keys
that it does not know: an older worker can run what a newer sender has stored. `to_dict` is its
inverse. Checking, with the places of problems, comes before and stands in `checking`.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import Final, Literal, Self

from flowq.core.retries import RetryPolicy
from flowq.playbooks.document.actions import (
    Action,
    Branch,
    Call,
    Collect,
    Fail,
    Json,
    Next,
    Page,
    Result,
    Retry,
    Set,
    Sink,
    Skip,
    Tool,
    Transition,
    action,
    without_defaults,
)
from flowq.playbooks.document.writing import as_yaml

__all__ = [
    "Action",
    "Branch",
    "Call",
    "Case",
    "Collect",
    "Fail",
    "Json",
    "Loop",
    "Metadata",
    "Next",
    "Page",
    "Playbook",
    "Result",
    "Retry",
    "Set",
    "Sink",
    "Skip",
    "Step",
    "Task",
    "Tool",
    "Transition",
]

API_VERSION: Final = "noetl.io/v2"


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a playbook is called. `path` is its address in the catalogue."""

    name: str
    path: str
    version: str | None = None
    labels: Json = None
    description: str | None = None
    extra: Mapping[str, Json] = field(default_factory=dict)

    @classmethod
    def of(cls, data: Mapping[str, Json]) -> Self:
        """Read the plain form."""
        known = ("name", "path", "version", "labels", "description")
        version = data.get("version")
        return cls(
            name=data["name"],
            path=data.get("path") or data["name"],
            version=None if version is None else str(version),
            labels=data.get("labels"),
            description=data.get("description"),
            extra={key: value for key, value in data.items() if key not in known},
        )

    def plain(self) -> dict[str, Json]:
        """Return the plain form."""
        data = {name: getattr(self, name) for name in self.__slots__ if name != "extra"}
        return {
            **without_defaults(data, version=None, labels=None, description=None),
            **self.extra,
        }


@dataclass(frozen=True, slots=True)
class Task:
    """A tool of the workbook, which steps call by name.

    Attributes:
        expects: Arguments that a call must give.
        returns: Keys that its result must have.
    """

    name: str
    tool: Tool
    sink: Sink | None = None
    expects: tuple[str, ...] = ()
    returns: tuple[str, ...] = ()

    @classmethod
    def of(cls, data: Mapping[str, Json]) -> Self:
        """Read the plain form."""
        sink, checks = data.get("sink"), data.get("assert") or {}
        return cls(
            name=data["name"],
            tool=Tool.of(data["tool"]),
            sink=Sink.of(sink) if sink else None,
            expects=tuple(checks.get("expects") or ()),
            returns=tuple(checks.get("returns") or ()),
        )

    def plain(self) -> dict[str, Json]:
        """Return the plain form."""
        checks = {"expects": list(self.expects), "returns": list(self.returns)}
        data = {
            "name": self.name,
            "tool": self.tool.plain(),
            **(self.sink.plain() if self.sink else {}),
            "assert": without_defaults(checks, expects=[], returns=[]),
        }
        return without_defaults(data, **{"assert": {}})


@dataclass(frozen=True, slots=True)
class Loop:
    """A step runs once for each of some items."""

    items: Json
    iterator: str
    mode: Literal["sequential", "parallel"] = "sequential"
    max_concurrency: int = 50
    on_error: Literal["fail", "collect"] = "fail"

    @classmethod
    def of(cls, data: Mapping[str, Json]) -> Self:
        """Read the plain form."""
        options = {name: data[name] for name in cls.__slots__[2:] if name in data}
        return cls(data["in"], data["iterator"], **options)

    def plain(self) -> dict[str, Json]:
        """Return the plain form."""
        options = {name: getattr(self, name) for name in self.__slots__[2:]}
        return {
            "in": self.items,
            "iterator": self.iterator,
            **without_defaults(options, mode="sequential", max_concurrency=50, on_error="fail"),
        }


@dataclass(frozen=True, slots=True)
class Case:
    """What happens when a condition holds: `when` without delimiters, actions in their order."""

    when: str
    then: tuple[Action, ...]

    @classmethod
    def of(cls, data: Mapping[str, Json]) -> Self:
        """Read the plain form."""
        return cls(data["when"], tuple(action(*next(iter(one.items()))) for one in data["then"]))

    def plain(self) -> dict[str, Json]:
        """Return the plain form."""
        return {"when": self.when, "then": [one.plain() for one in self.then]}


@dataclass(frozen=True, slots=True)
class Step:
    """One step: a tool that is called once, or for each item of a loop, and what follows.

    Attributes:
        retry: Attempts of one call, made by the engine.
        timeout: The longest time of one call.
        queue: The Celery queue of its calls.
    """

    name: str
    tool: Tool
    desc: str | None = None
    args: Mapping[str, Json] = field(default_factory=dict)
    loop: Loop | None = None
    case: tuple[Case, ...] = ()
    next: tuple[Transition, ...] = ()
    vars: Mapping[str, Json] = field(default_factory=dict)
    join: Literal["each", "all"] = "each"
    retry: RetryPolicy | None = None
    timeout: timedelta | None = None
    queue: str | None = None
    sink: Sink | None = None
    result: Result | None = None

    @classmethod
    def of(cls, data: Mapping[str, Json]) -> Self:
        """Read the plain form."""
        loop, retry, timeout, sink = map(data.get, ("loop", "retry", "timeout", "sink"))
        return cls(
            name=data["step"],
            tool=Tool.of(data["tool"]),
            desc=data.get("desc"),
            args=data.get("args") or {},
            loop=Loop.of(loop) if loop else None,
            case=tuple(map(Case.of, data.get("case") or ())),
            next=tuple(map(Transition.of, data.get("next") or ())),
            vars=data.get("vars") or {},
            join=data.get("join") or "each",
            retry=_policy(retry) if retry else None,
            timeout=None if timeout is None else timedelta(seconds=timeout),
            queue=data.get("queue"),
            sink=Sink.of(sink) if sink else None,
            result=Result.of(data["result"]) if "result" in data else None,
        )

    def plain(self) -> dict[str, Json]:
        """Return the plain form."""
        data: dict[str, Json] = {
            "step": self.name,
            "desc": self.desc,
            "args": dict(self.args),
            "loop": self.loop and self.loop.plain(),
            "tool": self.tool.plain(),
            "case": [one.plain() for one in self.case],
            "next": [one.plain() for one in self.next],
            "vars": dict(self.vars),
            "join": self.join,
            "retry": self.retry and _plain_policy(self.retry),
            "timeout": self.timeout and self.timeout.total_seconds(),
            "queue": self.queue,
        }
        absent = dict.fromkeys(("desc", "loop", "retry", "timeout", "queue"))
        empty: dict[str, Json] = {"args": {}, "case": [], "next": [], "vars": {}, "join": "each"}
        return {
            **without_defaults(data, **absent, **empty),
            **(self.sink.plain() if self.sink else {}),
            **(self.result.plain() if self.result else {}),
        }


@dataclass(frozen=True, eq=False)
class Playbook:
    """A document that was read and checked.

    Two are equal when their canonical forms are. `flowq.playbooks.Playbook` reads and builds, too.
    """

    metadata: Metadata
    workflow: tuple[Step, ...]
    workload: Mapping[str, Json] = field(default_factory=dict)
    workbook: tuple[Task, ...] = ()
    keychain: tuple[Mapping[str, Json], ...] = ()

    @classmethod
    def of(cls, data: Mapping[str, Json]) -> Self:
        """Read the canonical plain form, which was checked before; unknown keys are ignored."""
        return cls(
            metadata=Metadata.of(data["metadata"]),
            workload=data.get("workload") or {},
            workbook=tuple(map(Task.of, data.get("workbook") or ())),
            keychain=tuple(data.get("keychain") or ()),
            workflow=tuple(map(Step.of, data["workflow"])),
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Playbook) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash(self.digest)

    @cached_property
    def _steps(self) -> dict[str, Step]:
        return {step.name: step for step in self.workflow}

    def step(self, name: str) -> Step | None:
        """Return the step of a name."""
        return self._steps.get(name)

    def task(self, name: str) -> Task | None:
        """Return the task of the workbook of a name."""
        return next((task for task in self.workbook if task.name == name), None)

    def to_dict(self) -> dict[str, Json]:
        """Return the canonical plain form: JSON, without sugar."""
        data: dict[str, Json] = {
            "apiVersion": API_VERSION,
            "kind": "Playbook",
            "metadata": self.metadata.plain(),
            "workload": dict(self.workload),
            "workbook": [task.plain() for task in self.workbook],
            "keychain": [dict(one) for one in self.keychain],
            "workflow": [step.plain() for step in self.workflow],
        }
        return without_defaults(data, workload={}, workbook=[], keychain=[])

    def to_yaml(self) -> str:
        """Return the canonical form as YAML; reading it gives an equal playbook."""
        return as_yaml(self.to_dict())

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of the canonical form, in hexadecimal."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def _policy(data: Mapping[str, Json]) -> RetryPolicy:
    return RetryPolicy(
        max_attempts=data["max_attempts"],
        initial_delay=timedelta(seconds=data["initial_delay"]),
        backoff=data["backoff_multiplier"],
        max_delay=timedelta(seconds=data["max_delay"]),
        jitter=data["jitter"],
    )


def _plain_policy(policy: RetryPolicy) -> dict[str, Json]:
    return {
        "max_attempts": policy.max_attempts,
        "initial_delay": policy.initial_delay.total_seconds(),
        "backoff_multiplier": policy.backoff,
        "max_delay": policy.max_delay.total_seconds(),
        "jitter": policy.jitter,
    }
