"""The definitions of runs that a process keeps, with what is computed from them.

A run keeps the graph that it began with, so a definition never changes. Most have a few kilobytes,
but one with large literal values may have megabytes: the cache is bounded in number and in bytes.
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import cached_property
from threading import Lock
from typing import Any, Final

from cachetools import LRUCache

from flowq.core.errors import InvalidFlow, RunNotFound, RunUnreadable
from flowq.core.graph import Graph
from flowq.core.ids import RunId, StepRunId, batch_of_nodes, node_id
from flowq.core.planner import plan
from flowq.core.references import references
from flowq.core.spec import FlowSpec, Gate, StepSpec
from flowq.core.states import StepState
from flowq.engine.model.rows import Definition, ReleasePlan, StepRef
from flowq.engine.ports import Records

#: With more dependents, a completing step only decrements their counters.
_MAX_SIBLINGS = 16
#: Specs of called steps that are cached for a run.
_MAX_CALLED = 100
#: Items of a list in a definition, beyond which the cache does not keep it.
_MAX_ITEMS: Final = 100
#: Of all cached definitions together, in bytes as `footprint` estimates them.
_MAX_CACHED = 64 * 1024 * 1024
#: And the most of them, however small they are.
_MAX_DEFINITIONS = 512
#: What a step without arguments takes, and each value in its arguments beside its characters.
_STEP_BYTES = 2048
_VALUE_BYTES = 64


class RunDefinition:
    """A run's definition with what is computed from it.

    Long lists that its maps go over are left out: who runs an item has it in its row, so only who
    expands the map, or shows it, needs the list (`items`).
    """

    def __init__(
        self, definition: Definition, records: Records, graph: Graph | None = None
    ) -> None:
        self._records = records
        self._called: dict[str, StepSpec] = {}
        self.graph = graph or Graph.of(definition.spec)
        self._long = {step.key for step in definition.spec.steps if _is_long(step)}
        self.definition = _without_items(definition, self._long) if self._long else definition

    def is_called(self, key: str) -> bool:
        """Return whether a step is a call of a program and not a node of the graph."""
        return key not in self.definition.spec.by_key

    def gate(self, place: StepRef) -> Gate:
        """Return what a row of the run gates; the same as `Claim.gate`."""
        return Gate.of(is_item=place.map_index is not None, is_called=self.is_called(place.key))

    def step(self, key: str) -> StepSpec:
        """Return a step of the run; calls of a program are read from the database, and cached.

        Raises:
            RunNotFound: there is no such step, so the run was deleted.
        """
        known = self.definition.spec.by_key.get(key) or self._called.get(key)
        if known is not None:
            return known
        run_id = self.definition.run_id
        found = self._records.autocommit(lambda tx: tx.steps.call_spec(run_id, key))
        if found is None:
            raise RunNotFound(f"run {run_id} has no step {key!r}", hint="flowq runs ls")
        kept = found if found.map is None else _without_list(found)
        if len(self._called) >= _MAX_CALLED:
            self._called.clear()
        self._called[key] = kept
        return kept

    def items(self, key: str) -> Any:
        """Return the template of the list that a map goes over.

        Raises:
            RunNotFound: the run was deleted.
        """
        run_id = self.definition.run_id
        step: StepSpec | None = self.definition.spec.by_key.get(key)
        if step is None:
            step = self._records.autocommit(lambda tx: tx.steps.call_spec(run_id, key))
        elif key in self._long:
            whole = self._records.autocommit(lambda tx: tx.runs.definition(run_id))
            step = None if whole is None else whole.spec.step(key)
        if step is None:
            raise RunNotFound.of(run_id)
        assert step.map is not None
        return step.map.items

    @cached_property
    def keys(self) -> Mapping[StepRunId, str]:
        """From the id of a node to its key."""
        run_id = self.definition.run_id
        return {node_id(run_id, step.key): step.key for step in self.definition.spec.steps}

    def reads(self, step_id: StepRunId) -> list[str]:
        """Return the keys of the nodes whose results a node reads; none for an item of a map."""
        key, spec = self.keys.get(step_id), self.definition.spec
        if key is None or spec.program is not None:
            return []
        named = dict.fromkeys(ref.step for ref in references(spec.step(key).arguments))
        return [name for name in named if name not in spec.given]

    @cached_property
    def output_reads(self) -> Sequence[str]:
        """The keys of the nodes that the output of the run names, if they are a few."""
        spec = self.definition.spec
        named = {ref.step for ref in references(spec.output)} - spec.given.keys()
        return sorted(named) if len(named) <= _MAX_SIBLINGS else ()

    def release_plan(self, key: str, resend_after: timedelta) -> ReleasePlan | None:
        """Return how the dependents of a step are queued if it completes last, if they are plain.

        They are plain if they have the same dependencies, and are one batch of steps without
        conditions and maps.
        """
        dependents = self.graph.dependents[key]
        wait_for = self.graph.dependencies[dependents[0]]
        if len(wait_for) > _MAX_SIBLINGS + 1:
            return None  # checking all of them at each completion would be quadratic
        if any(set(self.graph.dependencies[one]) != set(wait_for) for one in dependents[1:]):
            return None
        completed = dict.fromkeys(wait_for, StepState.COMPLETED)
        batches = plan(self.definition.spec, self.graph, dependents, completed, {}).batches
        if len(batches) != 1 or set(batches[0]) != set(dependents):
            return None
        run_id = self.definition.run_id
        batch = batch_of_nodes(run_id, node_id(run_id, batches[0][0]))
        return ReleasePlan(batch, tuple(one for one in wait_for if one != key), resend_after)


def _is_long(step: StepSpec) -> bool:
    items = None if step.map is None else step.map.items
    return isinstance(items, list | tuple) and len(items) > _MAX_ITEMS


def _without_items(definition: Definition, keys: Container[str]) -> Definition:
    """Return a definition without the lists of some of its maps."""
    spec = definition.spec
    steps = tuple(_without_list(step) if step.key in keys else step for step in spec.steps)
    return replace(definition, spec=FlowSpec.model_construct(**{**dict(spec), "steps": steps}))


def _without_list(step: StepSpec) -> StepSpec:
    """Return a map without its list."""
    assert step.map is not None
    return step.model_copy(update={"map": step.map.model_copy(update={"items": []})})


def footprint(spec: FlowSpec) -> int:
    """Estimate how many bytes of memory a spec and its graph take.

    Most specs take a few kilobytes; one with a list of 100,000 items in it takes some megabytes.
    """
    lists = [step.map.items for step in spec.steps if step.map is not None]
    values: list[object] = [*lists, *(step.arguments for step in spec.steps), spec.output]
    total = _STEP_BYTES * (1 + len(spec.steps))
    while values:
        value = values.pop()
        total += _VALUE_BYTES
        if isinstance(value, str):
            total += len(value)
        elif isinstance(value, dict):
            values += value.values()
        elif isinstance(value, list | tuple):
            values += value
    return total


class DefinitionCache:
    """Definitions and graphs of the most recently used runs; they never change.

    It is bounded by memory, since runs with large literal inputs are large. The newest definition
    is kept whatever its size: the next steps of its run need it.
    """

    def __init__(self, records: Records, most_bytes: int = _MAX_CACHED) -> None:
        self._records = records
        self._lock = Lock()
        least = most_bytes // _MAX_DEFINITIONS

        def weight(known: RunDefinition) -> int:
            return min(max(footprint(known.definition.spec), least), most_bytes)

        self._known: LRUCache[RunId, RunDefinition] = LRUCache(most_bytes, weight)
        #: The one that was used last: a step asks for that of its run about eight times.
        self._last: RunDefinition | None = None

    def get(self, run_id: RunId) -> RunDefinition:
        """Return the definition of a run.

        Raises:
            RunNotFound: there is no such run (any more).
            RunUnreadable: its rows cannot be read.
        """
        if (known := self.cached(run_id)) is not None:
            return known
        try:
            definition = self._records.autocommit(lambda tx: tx.runs.definition(run_id))
            if definition is None:
                raise RunNotFound.of(run_id)
            return self.add(definition)
        except RunUnreadable as error:
            error.run_id = run_id
            raise
        except (InvalidFlow, LookupError, ValueError) as error:
            unreadable = RunUnreadable(f"its flow is not a valid graph: {error}")
            unreadable.run_id = run_id
            raise unreadable from error

    def cached(self, run_id: RunId) -> RunDefinition | None:
        """Return the definition of a run if it is cached."""
        last = self._last
        if last is not None and last.definition.run_id == run_id:
            return last
        with self._lock:
            self._last = known = self._known.get(run_id)
        return known

    def shown(self, run_id: RunId) -> RunDefinition:
        """Return the definition of a run for people; if it cannot be read, one without steps.

        Raises:
            RunNotFound: there is no such run (any more).
        """
        try:
            return self.get(run_id)
        except RunUnreadable:
            definition = self._records.autocommit(lambda tx: tx.runs.stand_in(run_id))
            if definition is None:
                raise RunNotFound.of(run_id) from None
            return RunDefinition(definition, self._records)

    def add(self, definition: Definition, graph: Graph | None = None) -> RunDefinition:
        """Cache a definition, with its graph if that is known, and drop the one longest unused."""
        known = RunDefinition(definition, self._records, graph)
        with self._lock:
            self._known[definition.run_id] = self._last = known
        return known

    def forget(self, run_id: RunId) -> None:
        """Drop the cached definition of a run."""
        with self._lock:
            self._known.pop(run_id, None)
            self._last = None
