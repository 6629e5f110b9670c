"""Checks that a workflow can run with the registered step types, and resolves what its steps mean.

All problems are found at once, and nothing is recorded when there is one. The problems of settings
come first, then unknown step types, then references: so it is read from the form to the wiring.
"""

import json
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from inspect import Parameter
from typing import Any, Final

from pydantic import ValidationError

from flowq.core.text.json_values import flaw
from flowq.workflows.document.models import MAX_STEPS, Geometry, Mode, Step, WorkflowForm, said
from flowq.workflows.document.problems import InvalidWorkflow, Problem, meant
from flowq.workflows.document.references import (
    INNER,
    RESERVED,
    Literal,
    OfInput,
    OfStep,
    Source,
    source_of,
)
from flowq.workflows.document.strategies import Strategy, strategy_of
from flowq.workflows.steps import own  # noqa: F401 - registers the step types of format 2
from flowq.workflows.steps.step_types import StepRegistry, StepType, registry

_MAX_ID: Final = 180
_ROW_GEOMETRIES: Final = ("expand", "filter")
#: What to do where no step type is known, in Python and on the command line.
_NO_TYPES: Final = "there are none: import the module that defines them, or name it: --types FILE"
_ONLY_ROWS: Final = ("collect", "fail_fast")


@dataclass(frozen=True, slots=True)
class CheckedStep:
    """A step with what its document says, resolved.

    Attributes:
        config: Its settings, validated.
        inputs: What each data parameter refers to.
        mode: How it is called.
        geometry: What becomes of the rows.
        strategy: How rows are distributed.
    """

    step: Step
    type: StepType
    config: Mapping[str, Any]
    inputs: Mapping[str, Source]
    mode: Mode
    geometry: Geometry | None
    strategy: Strategy


@dataclass
class _Found:
    """What is found while a workflow is checked: problems, by the order in which they are said."""

    form: list[Problem] = field(default_factory=list)
    config: list[Problem] = field(default_factory=list)
    types: list[Problem] = field(default_factory=list)
    wiring: list[Problem] = field(default_factory=list)

    @property
    def problems(self) -> list[Problem]:
        return [*self.form, *self.config, *self.types, *self.wiring]


def check(
    workflow: WorkflowForm, inputs: Collection[str] | None = None, types: StepRegistry = registry
) -> list[CheckedStep]:
    """Return the steps of a workflow, resolved.

    Args:
        workflow: The workflow.
        inputs: The names of the inputs that a run of it is given; None when that is not known yet.
        types: The known step types.

    Raises:
        InvalidWorkflow: it cannot run, with all problems.
    """
    checker = _Checker(workflow, inputs, types)
    steps = checker.steps()
    if checker.found.problems:
        raise InvalidWorkflow(checker.found.problems)
    return steps


def problems_of(workflow: WorkflowForm, types: StepRegistry = registry) -> list[Problem]:
    """Return all that is wrong with a workflow."""
    checker = _Checker(workflow, None, types)
    checker.steps()
    return checker.found.problems


class _Checker:
    def __init__(
        self, workflow: WorkflowForm, inputs: Collection[str] | None, types: StepRegistry
    ) -> None:
        self.found = _Found()
        self._workflow = workflow
        self._given = inputs
        self._types = types
        self._used: set[str] = set()

    def steps(self) -> list[CheckedStep]:
        """Return the steps; those with problems may be missing."""
        self._check_list()
        before: dict[str, None] = {}
        previous: str | None = None
        checked = []
        for place, step in enumerate(self._workflow.steps, start=1):
            one = self._step(step, place, before, previous)
            if one is not None:
                checked.append(one)
            before[step.id] = None
            previous = step.id
        if self._given is not None and not self.found.problems:
            for name in sorted(set(self._given) - self._used):
                text = f"no step uses it; {meant(name, self._used)}"
                self.found.wiring.append(Problem(text, f"inputs.{name}"))
        return checked

    def _check_list(self) -> None:
        steps = self._workflow.steps
        if not steps:
            self.found.form.append(Problem("it has no steps", "steps"))
        if len(steps) > MAX_STEPS:
            text = f"it has {len(steps):,} steps, the limit is {MAX_STEPS:,}"
            self.found.form.append(Problem(text, "steps"))
        counts = Counter(step.id for step in steps)
        indices = Counter(step.sequence_index for step in steps)
        for place, step in enumerate(steps, start=1):
            why = _id_problem(step.id)
            if why is None and counts[step.id] > 1:
                why = f"{counts[step.id]} steps have this id"
            if why is not None:
                self.found.form.append(Problem(why, "id", step.id[:_MAX_ID], place))
            at = step.sequence_index
            if at is not None and indices[at] > 1:
                text = f"{indices[at]} steps have {at}"
                self.found.form.append(Problem(text, "sequence_index", step.id, place))

    def _step(
        self, step: Step, place: int, before: Collection[str], previous: str | None
    ) -> CheckedStep | None:
        def problem(where: str, text: str) -> Problem:
            return Problem(text, where, step.id, place)

        kind = self._types.find(step.type_slug)
        if kind is None:
            text = f"{step.type_slug!r} is not found in the registry; "
            text += meant(step.type_slug, self._types) if len(self._types) else _NO_TYPES
            self.found.types.append(problem("", text))
            return None
        config = self._config(step, kind, problem)
        inputs = self._inputs(step, kind, before, previous, problem)
        mode = step.execution_mode or kind.execution_mode
        geometry = step.geometry or kind.geometry
        if step.geometry and step.execution_mode is None and mode != "streaming":
            mode = "row_iterative" if geometry in _ROW_GEOMETRIES else mode
            mode = "batch" if geometry in ("reduce", "vectorize") else mode
        strategy = self._ways(step, kind, mode, geometry, problem)
        return CheckedStep(step, kind, config, inputs, mode, geometry, strategy)

    def _config(self, step: Step, kind: StepType, problem: Any) -> Mapping[str, Any]:
        wrong = flaw(step.config)
        if wrong is not None:
            place = ".".join(["config", *map(str, wrong[0])])
            self.found.config.append(problem(place, f"it {wrong[1]}"))
            return {}
        given = kind.parameters
        try:
            read = given.model_validate_json(json.dumps(step.config))
        except ValidationError as error:
            for one in error.errors(include_url=False):
                where = ".".join(["config", *map(str, one["loc"])])
                self.found.config.append(problem(where, _of_config(one, kind)))
            return {}
        names = {name: item.alias or name for name, item in given.model_fields.items()}
        return {names[name]: getattr(read, name) for name in names if name in read.model_fields_set}

    def _inputs(
        self,
        step: Step,
        kind: StepType,
        before: Collection[str],
        previous: str | None,
        problem: Any,
    ) -> Mapping[str, Source]:
        found: dict[str, Source] = {}
        for name, value in step.inputs.items():
            if name not in kind.inputs:
                in_config = name in kind.configured
                text = (
                    "it is a parameter: give it in config"
                    if in_config
                    else (f"no such data parameter; {meant(name, kind.inputs)}")
                )
                self.found.wiring.append(problem(f"inputs.{name}", text))
                continue
            try:
                found[name] = source_of(value, before)
            except ValueError as error:
                self.found.wiring.append(problem(f"inputs.{name}", str(error)))
        for at, name in enumerate(kind.inputs):
            if name in step.inputs:
                continue
            if at == 0 and previous is not None:
                found[name] = OfStep(previous)
            elif (source := self._input(name, kind, is_first=at == 0)) is not None:
                found[name] = source
            elif kind.step.type.signature.parameters[name].default is Parameter.empty:
                self.found.wiring.append(problem(f"inputs.{name}", self._missing(name)))
        self._note(found, problem)
        return found

    def _note(self, found: Mapping[str, Source], problem: Any) -> None:
        """Remember which inputs of the workflow are used; refuse those that are not given."""
        for name, source in found.items():
            if isinstance(source, OfInput):
                if self._given is not None and source.name not in self._given:
                    self.found.wiring.append(problem(f"inputs.{name}", self._missing(source.name)))
                self._used.add(source.name)
            elif isinstance(source, Literal) and (wrong := flaw(source.value)):
                self.found.wiring.append(problem(f"inputs.{name}", f"it {wrong[1]}"))

    def _input(self, name: str, kind: StepType, *, is_first: bool) -> Source | None:
        """Return the input of the workflow for a data parameter that the step does not name."""
        if self._given is None:
            has_default = kind.step.type.signature.parameters[name].default is not Parameter.empty
            return None if has_default else OfInput(name)
        if name in self._given:
            return OfInput(name)
        return OfInput(next(iter(self._given))) if is_first and len(self._given) == 1 else None

    def _missing(self, name: str) -> str:
        given = sorted(self._given or ())
        return f"the workflow has no input {name!r}" + (
            f"; given are {', '.join(given)}" if given else ""
        )

    def _ways(
        self, step: Step, kind: StepType, mode: Mode, geometry: Geometry | None, problem: Any
    ) -> Strategy:
        """Check how the step is called; return its strategy."""
        if mode == "row_iterative" and not kind.inputs:
            text = f"{kind.slug!r} has no data parameter, so there are no rows"
            self.found.wiring.append(problem("execution_mode", text))
        if mode != kind.execution_mode and "streaming" in (mode, kind.execution_mode):
            text = f"{kind.slug!r} is {kind.execution_mode}, which a step cannot change"
            self.found.wiring.append(problem("execution_mode", text))
        if geometry in _ROW_GEOMETRIES and mode == "batch":
            text = f"{geometry} needs rows, and execution_mode is batch"
            self.found.wiring.append(problem("geometry", text))
        if geometry in ("reduce", "vectorize") and mode != "batch":
            text = f"{geometry} gets all rows at once, and execution_mode is {mode}"
            self.found.wiring.append(problem("geometry", text))
        if step.on_error in _ONLY_ROWS and mode != "row_iterative":
            text = f"{step.on_error} is for row-wise steps; give stop or continue"
            self.found.wiring.append(problem("on_error", text))
        try:
            strategy = strategy_of(step.execution_strategy)
        except ValueError as error:
            self.found.wiring.append(problem("execution_strategy", str(error)))
            return Strategy()
        if strategy is not None and strategy.splits and mode != "row_iterative":
            text = f"{kind.slug!r} gets its whole input at once, so it cannot be distributed; "
            text += 'give the step "execution_mode": "row_iterative", or leave the strategy out'
            self.found.wiring.append(problem("execution_strategy", text))
        return strategy or Strategy()


def _id_problem(identifier: str) -> str | None:
    if not 0 < len(identifier) <= _MAX_ID:
        return f"it has {len(identifier)} characters, the limit is 1 to {_MAX_ID}"
    if not identifier.isprintable():
        return "it has a character that cannot be printed"
    if INNER in identifier or identifier.startswith(RESERVED):
        return (
            f"it contains {INNER} or begins with {' or '.join(RESERVED)}, which flowq uses itself"
        )
    return None


def _of_config(one: Any, kind: StepType) -> str:
    """Return what is wrong with a setting."""
    if one["type"] == "missing":
        return "it is missing"
    if one["type"] == "extra_forbidden":
        name = str(one["loc"][-1])
        if name in kind.inputs:
            return "it is a data parameter: give it in inputs"
        known = kind.configured if len(one["loc"]) == 1 else ()
        return f"no such parameter; {meant(name, known)}"
    return said(one["msg"], one["input"])
