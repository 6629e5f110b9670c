"""A workflow as a document: an ordered list of steps, each with a step type and its settings.

    {"format_version": 3, "id": "words", "name": "words", "steps": [
      {"id": "split", "type_slug": "tokenize", "config": {"lower": true}, "inputs": {}}]}

It has settings and references, never data. Front ends edit it: what they add is kept and comes back
as it was. What other versions call the fields is read too, and is written by today's names. Reading
checks the form; whether the steps can run is checked by `checking`, which knows the step types.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    model_validator,
)

from flowq.workflows.document.problems import InvalidWorkflow, Problem

FORMAT_VERSION: Final = 3
MAX_STEPS: Final = 10_000
#: Written beside each step by `to_json(run=…)`; of no meaning when they come back.
_OF_RUN: Final = ("status", "output_preview")
#: How alike a key of a front end and the name of a field are, if the field was meant.
_ALIKE: Final = 0.8

Mode = Literal["batch", "streaming", "row_iterative"]
Geometry = Literal["apply", "expand", "reduce", "vectorize", "filter"]
OnError = Literal["stop", "continue", "collect", "fail_fast"]

#: Front ends write null for what is not set.
_Object = Annotated[
    dict[str, JsonValue], BeforeValidator(lambda value: {} if value is None else value)
]


def _one_of(*names: str) -> Any:
    return AliasChoices(*names)


class _Document(BaseModel):
    model_config = ConfigDict(
        extra="allow", frozen=True, populate_by_name=True, protected_namespaces=()
    )

    def _written(self, *always: str) -> dict[str, Any]:
        """Return the fields that differ from their defaults, and those that are always written."""
        extra = self.model_extra or {}
        fields = {
            name: getattr(self, name)
            for name, field in type(self).model_fields.items()
            if name in always or getattr(self, name) != field.get_default(call_default_factory=True)
        }
        return {**fields, **extra}


class Step(_Document):
    """One step of a workflow.

    Attributes:
        id: Unique in the workflow; references name it.
        type_slug: The slug of its step type.
        config: Values of the parameters of the step type, as JSON.
        inputs: From a data parameter to what it refers to: `split`, `split.field.0`, `input:text`,
            `flowq://…`, or `{"step": "split", "path": ["field", 0]}`.
        execution_strategy: How a row-wise step is distributed: `{"workers": 4}`, `distributed`, …
        execution_mode: Overrides that of the step type.
        geometry: Likewise.
        on_error: What its failure does; `collect` and `fail_fast` are for row-wise steps.
        resources: What it needs, e.g. `{"gpu": 1}`: chooses the queue (FLOWQ_STRATEGY_QUEUES).
        label: A name for people.
        sequence_index: Its place, if all steps have one.
        meta: Data of the front end.
    """

    id: str
    type_slug: str = Field(
        validation_alias=_one_of("type_slug", "step_type_id", "process_type", "operation_id")
    )
    config: _Object = Field({}, validation_alias=_one_of("config", "configuration"))
    inputs: _Object = {}
    execution_strategy: JsonValue = None
    execution_mode: Mode | None = None
    geometry: Geometry | None = None
    on_error: OnError = "stop"
    resources: JsonValue = None
    label: str | None = None
    sequence_index: int | None = None
    meta: _Object = {}

    @model_validator(mode="before")
    @classmethod
    def _without_run(cls, data: Any) -> Any:
        if not isinstance(data, Mapping) or not any(name in data for name in _OF_RUN):
            return data
        return {name: value for name, value in data.items() if name not in _OF_RUN}

    def to_dict(self) -> dict[str, Any]:
        """Return the step as JSON data."""
        return self._written("id", "type_slug", "config", "inputs")


class WorkflowForm(_Document):
    """The fields of a workflow; `workflow.Workflow` reads and writes it.

    Attributes:
        id: Its id; the name, when the document has none.
        name: Its name, for people and for the runs.
        steps: Its steps, in the order in which they run.
        meta: Data of the front end.
        created_at: When it was made, as the front end writes it.
        parallel: Steps wait for those whose results they use, and not for the one before.
    """

    id: str
    name: str
    steps: tuple[Step, ...] = ()
    meta: _Object = {}
    created_at: str | None = None
    parallel: bool = False

    @model_validator(mode="before")
    @classmethod
    def _named(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        known = {name: value for name, value in data.items() if name != "format_version"}
        for name, other in (("id", "name"), ("name", "id")):
            if known.get(name) is None and known.get(other) is not None:
                known[name] = known[other]
        return known

    @model_validator(mode="after")
    def _in_sequence(self) -> Self:
        indices = [step.sequence_index for step in self.steps]
        if None not in indices and len(set(indices)) == len(indices):
            ordered = tuple(sorted(self.steps, key=lambda step: step.sequence_index or 0))
            object.__setattr__(self, "steps", ordered)
        return self

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Self:
        """Return the workflow of plain data, checked for its form only.

        Raises:
            InvalidWorkflow: it is not of this form.
        """
        steps = data.get("steps", ())
        if isinstance(steps, list | tuple) and len(steps) > MAX_STEPS:
            text = f"it has {len(steps):,} steps, the limit is {MAX_STEPS:,}"
            raise InvalidWorkflow([Problem(text, "steps")])
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise InvalidWorkflow(list(_problems(error, steps))) from None

    def misspelt(self) -> Iterator[Problem]:
        """Yield the keys that are kept for front ends but look like a wrong name of a field."""
        yield from _misspelt(self)
        for place, step in enumerate(self.steps, start=1):
            for one in _misspelt(step):
                yield Problem(one.text, one.where, step.id, place)

    def to_dict(self) -> dict[str, Any]:
        """Return the workflow as JSON data."""
        written = self._written("id", "name", "steps")
        return {
            "format_version": FORMAT_VERSION,
            **written,
            "steps": [step.to_dict() for step in self.steps],
        }


def _misspelt(document: _Document) -> Iterator[Problem]:
    for name in document.model_extra or {}:
        near = get_close_matches(name, type(document).model_fields, n=1, cutoff=_ALIKE)
        if near:
            yield Problem(f"it is kept, but has no effect; did you mean {near[0]}?", name)


def _problems(error: ValidationError, steps: Any) -> Iterator[Problem]:
    """Yield what pydantic found as problems of steps and fields."""
    for one in error.errors(include_url=False):
        loc = one["loc"]
        text = "it is missing" if one["type"] == "missing" else _with_value(one)
        if len(loc) > 1 and loc[0] == "steps" and isinstance(loc[1], int):
            at = loc[1]
            where = ".".join(map(str, loc[2:]))
            yield Problem(text, where, _id_of(steps, at), at + 1)
        else:
            yield Problem(text, ".".join(map(str, loc)))


def _id_of(steps: Any, at: int) -> str:
    step = steps[at] if isinstance(steps, Sequence) and at < len(steps) else None
    if isinstance(step, Step):
        return step.id
    return str(step.get("id", f"#{at + 1}")) if isinstance(step, Mapping) else f"#{at + 1}"


def _with_value(one: Any) -> str:
    return said(one["msg"], one["input"])


def said(message: str, value: Any) -> str:
    """Return what pydantic says of a value, with that value: `…, got "many" (str)`."""
    message = message.partition(", unable to parse")[0]
    try:
        shown = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        shown = "one that is no JSON"
    shown = shown if len(shown) <= 80 else f"{shown[:80]}…"
    return f"{message}, got {shown} ({type(value).__name__})"
