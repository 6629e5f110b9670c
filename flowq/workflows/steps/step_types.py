"""Step types, and the registry of those that this process knows.

A step type is metadata beside a registered step: it counts as long as its step is registered. What
is no data parameter of its function is its configuration, of which a form can be made.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema

from flowq.authoring.definitions.steps import Step as FlowStep
from flowq.engine.registry.registry import registry as steps
from flowq.workflows.document.models import Geometry, Mode
from flowq.workflows.document.problems import RegistryFrozenError, StepTypeNotFound

#: How the slugs of flowq's own step types begin. They are imported when they are needed.
_OF_FLOWQ: Final = "flowq."


class _Schema(GenerateJsonSchema):
    """Makes a schema of any signature: what has no JSON form is left open."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012 - theirs

    def handle_invalid_for_json_schema(self, *_: Any) -> dict[str, Any]:
        """Return the schema of a type that has none."""
        return {}


@dataclass(frozen=True)
class StepType:
    """A kind of step that workflows may have.

    Attributes:
        slug: Unique; the name of its Celery task too.
        step: The function, as a step of flows.
        name: A name for people.
        inputs: The data parameters.
        outputs: The keys of its result, if it has several results.
        input_type: What it takes, as text for people.
        output_type: What it makes, likewise.
        execution_mode: `batch`: one call with the whole value; `row_iterative`: one for each row;
            `streaming`: the function is a generator.
        geometry: What becomes of the rows, see `flowq docs workflows`; None leaves it open.
        metadata: JSON data for front ends.
    """

    slug: str
    step: FlowStep[..., Any]
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...] = ()
    input_type: str = ""
    output_type: str = ""
    execution_mode: Mode = "batch"
    geometry: Geometry | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def function(self) -> Callable[..., Any]:
        """The user's function."""
        function: Callable[..., Any] = inspect.unwrap(self.step.type.function)
        return function

    @property
    def doc(self) -> str:
        """The first paragraph of its docstring, in one line."""
        text = inspect.getdoc(self.function) or ""
        return " ".join(text.partition("\n\n")[0].split())

    @cached_property
    def parameters(self) -> type[BaseModel]:
        """A model of its configuration; validates that of a step and makes the schema of a form.

        The names of its fields are those of the function only as aliases: a parameter may have a
        name that a model cannot have.
        """
        fields: dict[str, Any] = {}
        for at, one in enumerate(self.configured.values()):
            hint = self.step.type.hints.get(one.name, Any)
            title = one.name.strip("_").replace("_", " ").capitalize()
            default = ... if one.default is inspect.Parameter.empty else one.default
            if isinstance(default, FieldInfo):
                default = ...
            fields[f"p{at}"] = (hint, Field(default, alias=one.name, title=title))
        config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, protected_namespaces=())
        made: type[BaseModel] = create_model(self.slug, __config__=config, **fields)
        return made

    @property
    def configured(self) -> Mapping[str, inspect.Parameter]:
        """Its parameters without those for data."""
        known = self.step.type.signature.parameters
        return {name: one for name, one in known.items() if name not in self.inputs}

    def describe(self) -> dict[str, Any]:
        """Return what a front end needs to show it and to make a form, as JSON data."""
        schema = self.parameters.model_json_schema(schema_generator=_Schema)
        schema.pop("title", None)
        return {
            "slug": self.slug,
            "name": self.name,
            "doc": self.doc,
            "inputs": list(self.inputs),
            "outputs": list(self.outputs),
            "input_type": self.input_type,
            "output_type": self.output_type,
            "execution_mode": self.execution_mode,
            **({"geometry": self.geometry} if self.geometry else {}),
            "metadata": dict(self.metadata),
            "parameters": {"type": "object", "properties": {}, **schema},
        }


class StepRegistry:
    """Step types by slug."""

    def __init__(self) -> None:
        self._types: dict[str, StepType] = {}
        self._frozen = False

    def register(self, step_type: StepType) -> None:
        """Add a step type. Its step is registered already, so no other function has the slug.

        Raises:
            RegistryFrozenError: the registry is frozen.
        """
        self.refuse_frozen(step_type.slug)
        self._types[step_type.slug] = step_type

    def get(self, slug: str) -> StepType:
        """Return a step type.

        Raises:
            StepTypeNotFound: there is none.
        """
        found = self.find(slug)
        if found is None:
            raise StepTypeNotFound(slug, self)
        return found

    def find(self, slug: str) -> StepType | None:
        """Return a step type, or None when there is none."""
        found = self._types.get(slug)
        return found if found is not None and steps.steps.get(slug) is found.step.type else None

    def list(self) -> Sequence[StepType]:
        """Return all step types, by slug."""
        return [self._types[slug] for slug in self]

    def freeze(self) -> None:
        """Refuse further step types, e.g. once an application has started."""
        self._frozen = True

    def refuse_frozen(self, slug: str) -> None:
        """Raise RegistryFrozenError if the registry takes no further step types."""
        if self._frozen and not slug.startswith(_OF_FLOWQ):
            raise RegistryFrozenError(
                f"step type {slug!r} comes too late: the registry is frozen",
                hint="import the module that defines it before registry.freeze()",
            )

    def __contains__(self, slug: object) -> bool:
        return isinstance(slug, str) and self.find(slug) is not None

    def __iter__(self) -> Iterator[str]:
        # Those of flowq itself are not offered.
        found = (slug for slug in self._types if not slug.startswith(_OF_FLOWQ) and slug in self)
        return iter(sorted(found))

    def __len__(self) -> int:
        return sum(1 for _ in self)


#: The registry of this process, which `@step_type` fills.
registry = StepRegistry()
