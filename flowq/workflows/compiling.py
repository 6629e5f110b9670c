"""Compiles a workflow to a `FlowSpec`.

    input, literal, reference   a given value `input:<name>` or `value:<n>`
    batch or streaming step     a step of the name of its slug, after the one before
    row-wise step               a map; see `rows` for the steps around it
    on_error: continue          `allow_failure`: the next steps get a `StepFailure`

The nodes are made by calling the steps in a trace, as a flow in Python does: so options, arguments
and their checks are the same. The key of a node is the id of its step; `id::rows`, `id::parts` and
`id::joined` belong to it, and the last of them has the value.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, get_origin

from flowq.authoring.calls.refs import Ref
from flowq.authoring.calls.templates import ValueLocation, to_template
from flowq.authoring.calls.tracing import Trace, during
from flowq.core.graph import MAX_NAME_LENGTH
from flowq.core.limits.slots import LimitSpec
from flowq.core.references import Reference
from flowq.core.results import NO_RESULT
from flowq.core.spec import FlowSpec, MapSpec, StepSpec, Tolerance
from flowq.workflows.checking import CheckedStep
from flowq.workflows.document.expressions import VALUE
from flowq.workflows.document.models import WorkflowForm
from flowq.workflows.document.references import INNER, INPUT, Literal, OfInput, OfStep, Source
from flowq.workflows.steps import own, rows

_FLOW: Final = "workflow"
_ROWS, _PARTS, _JOINED = f"{INNER}rows", f"{INNER}parts", f"{INNER}joined"


@dataclass(frozen=True, slots=True)
class Compiled:
    """A compiled workflow.

    Attributes:
        spec: The flow.
        values: Given values, by the keys under which the spec names them.
        references: References to stored values that become given values, likewise.
    """

    spec: FlowSpec
    values: Mapping[str, Any]
    references: Mapping[str, str]


def of_flow(title: str) -> str:
    """Return the name of the flow of a workflow with this name."""
    shown = "".join(one if one.isprintable() else " " for one in title).strip()
    return f"{_FLOW}:{shown}"[:MAX_NAME_LENGTH].strip() if shown else _FLOW


def is_flow(name: str) -> bool:
    """Return whether the flows of workflows have such a name; a flow in Python may have one too."""
    return name == _FLOW or name.startswith(f"{_FLOW}:")


def value_key(keys: Mapping[str, Any], step: str) -> str:
    """Return the key of the node that has the value of a step.

    Args:
        keys: The keys of all nodes.
        step: The id of the step.
    """
    joined = f"{step}{_JOINED}"
    return joined if joined in keys else step


def compile_workflow(
    workflow: WorkflowForm,
    steps: Sequence[CheckedStep],
    inputs: Mapping[str, Any],
    *,
    queues: Mapping[str, str] | None = None,
    scope: str = "",
) -> Compiled:
    """Return the flow of a workflow.

    Args:
        workflow: The workflow.
        steps: Its steps, as `checking.check` has returned them for these inputs.
        inputs: The inputs of the run.
        queues: From a resource to the Celery queue of the workers that have it.
        scope: Unique for the run: what runs one after the other does so in one run.

    Raises:
        InvalidFlow: a setting cannot be stored.
    """
    compiler = _Compiler(workflow, inputs, queues or {}, scope)
    with during(compiler.trace):
        for one in steps:
            compiler.add(one)
    keys = dict.fromkeys(step.key for step in compiler.trace.steps)
    last = steps[-1].step.id
    spec = FlowSpec(
        name=compiler.trace.flow,
        steps=tuple(compiler.trace.steps),
        given=dict.fromkeys([*compiler.values, *compiler.references], NO_RESULT),
        output={last: Reference(value_key(keys, last)).to_json()},
    )
    return Compiled(spec, compiler.values, compiler.references)


@dataclass
class _Compiler:
    workflow: WorkflowForm
    inputs: Mapping[str, Any]
    queues: Mapping[str, str]
    scope: str
    values: dict[str, Any] = field(default_factory=dict)
    references: dict[str, str] = field(default_factory=dict)
    _made: dict[str, Ref] = field(default_factory=dict)
    #: Ids of the steps whose values are certainly lists.
    _lists: set[str] = field(default_factory=set)
    _previous: Ref | None = None

    def __post_init__(self) -> None:
        self.trace = Trace(of_flow(self.workflow.name))

    def add(self, one: CheckedStep) -> None:
        """Add the nodes of a step."""
        data = {name: self._value(one, name, source) for name, source in one.inputs.items()}
        given = one.inputs.get("value")
        if one.type.slug == VALUE and isinstance(given, Literal):
            self.values[one.step.id] = given.value
            self._made[one.step.id] = Ref(self.trace, Reference(one.step.id))
            return
        if one.mode == "row_iterative":
            made = self._by_rows(one, data)
        else:
            made = self._call(one, {**one.config, **data})
            if _is_list(one):
                self._lists.add(one.step.id)
            if one.geometry == "vectorize":
                source = data[one.type.inputs[0]]
                made = self._joined(one, made, source, geometry="vectorize")
        self._made[one.step.id] = made
        self._previous = None if self.workflow.parallel else made

    def _call(self, one: CheckedStep, arguments: Mapping[str, Any]) -> Ref:
        queue = self._queue(one)
        options = self._options(one, "") | ({} if queue is None else {"queue": queue})
        made: Ref = one.type.step.options(**options)(**arguments)
        return made

    def _queue(self, one: CheckedStep) -> str | None:
        """Return the queue for what a step needs; None leaves it to the step type."""
        needs = one.step.resources
        names = list(needs) if isinstance(needs, dict | list) else [needs] if needs else []
        if one.type.metadata.get("requires_gpu"):
            names.append("gpu")
        return next((self.queues[name] for name in map(str, names) if name in self.queues), None)

    def _by_rows(self, one: CheckedStep, data: Mapping[str, Any]) -> Ref:
        """Add a map over the rows of the first data parameter, or over parts of them."""
        parameter, count = one.type.inputs[0], one.strategy.parts
        source, is_list = data[parameter], self._is_list(one.inputs[parameter])
        collect, geometry = one.step.on_error == "collect", one.geometry or "apply"
        items: Any = source
        if count is not None:
            items = rows.parts.options(**self._options(one, _PARTS))(source, count)
        elif not is_list:
            items = rows.rows.options(**self._options(one, _ROWS))(source)
        made = self._call(one, {**one.config, **data})
        self.trace.steps[-1] = self._mapped(one, self.trace.steps[-1], items)
        plain = is_list and count is None and geometry == "apply" and not collect
        if plain:
            self._lists.add(one.step.id)
            return made
        joined: Ref = self._joined(
            one, made, source, geometry=geometry, parts=count is not None, collect=collect
        )
        return joined

    def _mapped(self, one: CheckedStep, step: StepSpec, items: Any) -> StepSpec:
        """Return a step as a map over items, which are a list or a Ref to one."""
        template = to_template(items, ValueLocation(self.trace, f"the rows of step {step.key!r}"))
        parameter, arguments = one.type.inputs[0], dict(step.arguments)
        collect = one.step.on_error == "collect"
        changes: dict[str, Any] = {}
        tolerance = Tolerance()
        if one.strategy.parts is not None:
            changes["name"] = rows.task_name(one.type.slug)
            arguments |= {rows.COLLECT: True} if collect else {}
            parameter = rows.PART
        else:
            del arguments[parameter]
            tolerance = Tolerance(percent=100) if collect else tolerance
        if one.strategy.one_at_a_time:
            key = f"{self.scope}/{step.key}".replace("{", "{{").replace("}", "}}")
            changes["limits"] = (*step.limits, LimitSpec(key=key, slots=1))
        mapped = MapSpec(parameter=parameter, items=template, tolerance=tolerance)
        return step.model_copy(update={"arguments": arguments, "map": mapped, **changes})

    def _joined(self, one: CheckedStep, made: Ref, source: Any, **how: Any) -> Any:
        return rows.joined.options(**self._options(one, _JOINED))(made, source, **how)

    def _options(self, one: CheckedStep, suffix: str) -> dict[str, Any]:
        """Return the options that all nodes of a step have."""
        after = {} if self._previous is None else {"after": self._previous}
        allowed = {"allow_failure": True} if one.step.on_error == "continue" else {}
        return {"key": f"{one.step.id}{suffix}", **after, **allowed}

    def _value(self, one: CheckedStep, name: str, source: Source) -> Any:
        """Return the argument for what a data parameter refers to."""
        if isinstance(source, Literal):
            return source.value
        if isinstance(source, OfStep):
            made = self._made[source.step]
            for part in source.path:
                made = made[part]
            if source.columns:
                options = self._options(one, f"{INNER}{name}")
                return own.columns.options(**options)(made, list(source.columns))
            return made
        if isinstance(source, OfInput):
            key = f"{INPUT}{source.name}"
            self.values[key] = self.inputs[source.name]
        else:
            known = {text: key for key, text in self.references.items()}
            key = known.get(source.reference, f"value:{len(known) + 1}")
            self.references[key] = source.reference
        return Ref(self.trace, Reference(key))

    def _is_list(self, source: Source) -> bool:
        """Return whether a value is certainly a list, so that it has rows as it is."""
        if isinstance(source, OfStep):
            return not source.path and not source.columns and source.step in self._lists
        if isinstance(source, OfInput):
            return isinstance(self.inputs[source.name], list)
        return isinstance(source, Literal) and isinstance(source.value, list)


def _is_list(one: CheckedStep) -> bool:
    """Return whether a step certainly returns a list, if it does not fail."""
    returned = one.type.step.type.returns
    is_list = one.mode == "streaming" or returned is list or get_origin(returned) is list
    return is_list and one.step.on_error != "continue"
