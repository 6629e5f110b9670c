"""The dependencies of a spec as a graph, checked once and then only read.

A step depends on all steps in its arguments, its mapped list, its condition and its `after`;
given values are no dependencies. Steps that become ready together and have the same dependents form
a batch; because of that, waiting for a batch never delays a step that could have run.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Self

from flowq.core.errors import InvalidFlow
from flowq.core.references import references
from flowq.core.spec import FlowSpec, StepSpec

#: Limits of the database columns.
MAX_NAME_LENGTH = 200


@dataclass(frozen=True, slots=True)
class Graph:
    """The graph of a flow.

    Attributes:
        dependencies: From a step's key to the keys of its dependencies, in reading order.
        dependents: From a step's key to the keys of its dependents, in the order of the spec.
        order: The place of each key in the spec, from 1.
    """

    dependencies: Mapping[str, tuple[str, ...]]
    dependents: Mapping[str, tuple[str, ...]]
    order: Mapping[str, int]

    @classmethod
    def of(cls, spec: FlowSpec) -> Self:
        """Build and check the graph of a spec.

        Raises:
            InvalidFlow: a key occurs twice, a name is unknown or too long, or there is a cycle.
        """
        _check_lengths(spec)
        order = {step.key: place for place, step in enumerate(spec.steps, start=1)}
        if len(order) != len(spec.steps) or not spec.given.keys().isdisjoint(order):
            keys = [*(step.key for step in spec.steps), *spec.given]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise InvalidFlow(f"flow {spec.name!r} has two steps with the key {twice!r}")
        dependencies = {step.key: _dependencies(spec, step) for step in spec.steps}
        gates: dict[str, list[str]] = {key: [] for key in order}
        for key, names in dependencies.items():
            for name in names:
                if name not in gates:
                    raise InvalidFlow(
                        f"step {key!r} of flow {spec.name!r} refers to {name!r}, "
                        "which is not a step of this flow",
                        hint=f"steps are: {', '.join(order)}",
                    )
                gates[name].append(key)
        for reference in references(spec.output):
            if reference.step not in order and reference.step not in spec.given:
                raise InvalidFlow(
                    f"the output of flow {spec.name!r} refers to {reference.step!r}, "
                    "which is not a step of this flow",
                )
        if any(order[name] >= order[key] for key, names in dependencies.items() for name in names):
            _check_cycles(spec, dependencies)
        return cls(dependencies, {key: tuple(names) for key, names in gates.items()}, order)

    def batches(self, keys: Iterable[str]) -> list[tuple[str, ...]]:
        """Split steps that became ready together into batches: same dependents, same batch."""
        groups: dict[tuple[str, ...], list[str]] = {}
        for key in keys:
            groups.setdefault(self.dependents[key], []).append(key)
        return [tuple(group) for group in groups.values()]


def _check_cycles(spec: FlowSpec, dependencies: Mapping[str, tuple[str, ...]]) -> None:
    try:
        TopologicalSorter(dependencies).prepare()
    except CycleError as error:
        # graphlib lists each key after a dependency of it, so the arrows read forwards.
        path = " → ".join(error.args[1])
        raise InvalidFlow(f"flow {spec.name!r} has a cycle: {path}") from error


def _check_lengths(spec: FlowSpec) -> None:
    for name in (spec.name, *(name for step in spec.steps for name in (step.key, step.name))):
        if len(name) > MAX_NAME_LENGTH:
            raise InvalidFlow(
                f"flow {spec.name[:MAX_NAME_LENGTH]!r} contains a name of {len(name)} characters, "
                f"the limit is {MAX_NAME_LENGTH}: {name!r}",
                hint="give it a shorter one",
            )


def _dependencies(spec: FlowSpec, step: StepSpec) -> tuple[str, ...]:
    items = step.map.items if step.map else None
    named = [ref.step for ref in references([step.arguments, items, step.when])]
    return tuple(key for key in dict.fromkeys([*named, *step.after]) if key not in spec.given)
