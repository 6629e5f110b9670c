"""The planner, driven over random flows in random orders by an engine of a hundred lines.

The driver does with a plan what the engine does with rows: counts open dependencies down when a
batch is done, spreads skips and cancels, expands maps, stops a run that fails fast. What must hold
is asserted while it goes on; what a run should come to is worked out apart, in `expected`.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from flowq.core.graph import Graph
from flowq.core.planner import map_outcome, plan, run_outcome, stops_run
from flowq.core.spec import FailurePolicy, FlowSpec, MapSpec, StepSpec, Tolerance
from flowq.core.states import (
    TERMINAL_STEP_STATES,
    RunState,
    StepState,
    step_sources,
)

GOOD = settings(max_examples=200)

#: A step, or one item of a map.
Unit = tuple[str, int | None]


@dataclass(frozen=True)
class Case:
    """A flow, and what its steps will do when they run."""

    spec: FlowSpec
    failing: frozenset[Unit]
    conditions: dict[str, bool]
    sizes: dict[str, int]

    @property
    def graph(self) -> Graph:
        return Graph.of(self.spec)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Draw a flow whose every step may do anything that a step can do."""
    steps: list[StepSpec] = []
    failing: set[Unit] = set()
    conditions: dict[str, bool] = {}
    sizes: dict[str, int] = {}
    rarely = st.sampled_from([False, False, True])
    for number in range(draw(st.integers(1, 9))):
        key = f"s{number}"
        before = [step.key for step in steps]
        needs = draw(st.sets(st.sampled_from(before), max_size=3).map(sorted)) if before else []
        mapped: MapSpec | None = None
        when: Any = None
        if draw(rarely):
            sizes[key] = draw(st.integers(0, 4))
            items: Any = {"$ref": draw(st.sampled_from(before))} if before else [1]
            mapped = MapSpec(
                parameter="x",
                items=items,
                tolerance=Tolerance(count=draw(st.integers(0, 2))),
            )
            failing |= {(key, index) for index in range(sizes[key]) if draw(rarely)}
        elif draw(rarely):
            failing.add((key, None))
        if draw(rarely) and before:
            when = {"$ref": draw(st.sampled_from(before))}
            conditions[key] = draw(st.booleans())
        steps.append(
            StepSpec(
                key=key,
                name="step",
                arguments={"a": [{"$ref": need} for need in needs[1:]]},
                after=tuple(needs[:1]),
                map=mapped,
                when=when,
                accept_skipped=draw(st.booleans()),
                allow_failure=draw(rarely),
            ),
        )
    policy = draw(st.sampled_from(FailurePolicy))
    spec = FlowSpec(name="flow", steps=tuple(steps), on_failure=policy)
    return Case(spec, frozenset(failing), conditions, sizes)


@dataclass
class Driver:
    """Runs a case in an order that `random` chooses."""

    case: Case
    random: Random
    states: dict[str, StepState] = field(default_factory=dict)
    items: dict[Unit, StepState] = field(default_factory=dict)
    open: dict[str, int] = field(default_factory=dict)
    batches: list[set[str]] = field(default_factory=list)
    queued: list[Unit] = field(default_factory=list)
    running: list[Unit] = field(default_factory=list)
    started: Counter[Unit] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.spec, self.graph = self.case.spec, self.case.graph

    def run(self) -> RunState:
        """Run to the end and return the outcome."""
        self.states = {step.key: StepState.PENDING for step in self.spec.steps}
        self.open = {key: len(needs) for key, needs in self.graph.dependencies.items()}
        self.go_on(self.decide([key for key, count in self.open.items() if not count]))
        self.assert_no_false_barrier()
        while self.queued or self.running:
            if self.queued and (not self.running or self.random.random() < 0.5):
                self.start(self.take(self.queued))
            else:
                self.end(self.take(self.running))
            self.assert_no_false_barrier()
        failed = [key for key, state in self.states.items() if state is StepState.FAILED]
        return run_outcome(self.spec, failed, cancel_requested=False)

    def take(self, units: list[Unit]) -> Unit:
        return units.pop(self.random.randrange(len(units)))

    def start(self, unit: Unit) -> None:
        self.started[unit] += 1
        waits_for = self.graph.dependencies[unit[0]]
        assert all(self.states[key] in TERMINAL_STEP_STATES for key in waits_for)
        self.set(unit, StepState.RUNNING)
        self.running.append(unit)

    def end(self, unit: Unit) -> None:
        key, index = unit
        state = StepState.FAILED if unit in self.case.failing else StepState.COMPLETED
        self.set(unit, state)
        if index is not None:
            self.end_map(key)
            return
        if state is StepState.FAILED:
            self.stop_if_that_does(key)
        batch = next(batch for batch in self.batches if key in batch)
        if all(self.states[member] in TERMINAL_STEP_STATES for member in batch):
            self.go_on(sorted(batch))

    def end_map(self, key: str) -> None:
        if self.states[key] in TERMINAL_STEP_STATES:
            return
        counts = Counter(state for (name, _), state in self.items.items() if name == key)
        outcome = map_outcome(self.spec.step(key), counts)
        if outcome is None:
            return
        self.set((key, None), outcome)
        if outcome is StepState.FAILED:
            self.cancel_queued(unit for unit in self.queued if unit[0] == key)
            self.stop_if_that_does(key)
        self.go_on([key])

    def stop_if_that_does(self, key: str) -> None:
        if stops_run(self.spec, self.spec.step(key)):
            self.cancel_queued(self.queued)
            for name, state in self.states.items():
                if state is StepState.PENDING:
                    self.set((name, None), StepState.CANCELLED)
            for name in self.case.sizes:
                self.end_map(name) if self.states[name] is StepState.RUNNING else None

    def cancel_queued(self, units: Iterable[Unit]) -> None:
        for unit in list(units):
            self.queued.remove(unit)
            self.set(unit, StepState.CANCELLED)

    def go_on(self, ended: list[str]) -> None:
        """Count the dependents of ended steps down, and decide those that wait for nothing."""
        while ended:
            free: list[str] = []
            for key in ended:
                for dependent in self.graph.dependents[key]:
                    self.open[dependent] -= 1
                    if not self.open[dependent]:
                        free.append(dependent)
            ended = self.decide([key for key in free if self.states[key] is StepState.PENDING])

    def decide(self, ready: list[str]) -> list[str]:
        """Apply plans until everything in `ready` is decided; returns what has ended at once."""
        ended: list[str] = []
        known: dict[str, bool] = {}
        while ready:
            decided = plan(self.spec, self.graph, ready, self.states, known)
            for batch in decided.batches:
                assert 1 == len({self.graph.dependents[key] for key in batch})
                self.batches.append(set(batch))
                for key in batch:
                    self.set((key, None), StepState.QUEUED)
                    self.queued.append((key, None))
            for key in decided.expand:
                ended += self.expand(key)
            for keys, state in (
                (decided.skip, StepState.SKIPPED),
                (decided.cancel, StepState.CANCELLED),
            ):
                for key in keys:
                    self.set((key, None), state)
                ended += keys
            known |= {key: self.case.conditions[key] for key in decided.evaluate}
            ready = list(decided.evaluate)
        return ended

    def expand(self, key: str) -> list[str]:
        units: list[Unit] = [(key, index) for index in range(self.case.sizes[key])]
        if not units:
            self.set((key, None), StepState.COMPLETED)
            return [key]
        self.set((key, None), StepState.RUNNING)
        self.items |= dict.fromkeys(units, StepState.QUEUED)
        self.queued += units
        return []

    def set(self, unit: Unit, state: StepState) -> None:
        key, index = unit
        before = self.states[key] if index is None else self.items[unit]
        assert before in step_sources(state)
        if index is None:
            self.states[key] = state
        else:
            self.items[unit] = state

    def assert_no_false_barrier(self) -> None:
        for key, needs in self.graph.dependencies.items():
            if all(self.states[need] in TERMINAL_STEP_STATES for need in needs):
                assert self.states[key] is not StepState.PENDING, f"{key} waits for nothing"


def expected(case: Case) -> dict[str, StepState]:
    """Work out the state of every step when nothing stops the run: no counters, no batches."""
    states: dict[str, StepState] = {}
    for step in case.spec.steps:
        needs = [(states[key], case.spec.step(key)) for key in case.graph.dependencies[step.key]]
        blocked = any(
            state is StepState.CANCELLED or (state is StepState.FAILED and not need.allow_failure)
            for state, need in needs
        )
        skipped = [state for state, _ in needs if state is StepState.SKIPPED]
        enough = not skipped or (step.accept_skipped and len(skipped) < len(needs))
        failures = sum(key == step.key for key, _ in case.failing)
        allowed = step.map.tolerance.count if step.map else 0
        if blocked:
            states[step.key] = StepState.CANCELLED
        elif not enough or not case.conditions.get(step.key, True):
            states[step.key] = StepState.SKIPPED
        else:
            failed = failures > (allowed or 0)
            states[step.key] = StepState.FAILED if failed else StepState.COMPLETED
    return states


@GOOD
@given(cases(), st.randoms(use_true_random=False))
def test_run_ends_and_nothing_runs_twice(case: Case, random: Random) -> None:
    """Every run ends with every step ended, and no step or item has run more than once.

    That a step runs only after its dependencies, that no step waits for one that it does not depend
    on, and that every change of state is in the table, the driver asserts at every moment.
    """
    driver = Driver(case, random)

    driver.run()

    assert set(driver.states.values()) <= TERMINAL_STEP_STATES
    assert set(driver.items.values()) <= TERMINAL_STEP_STATES
    assert set(driver.started.values()) <= {1}


@GOOD
@given(cases(), st.lists(st.randoms(use_true_random=False), min_size=2, max_size=4))
def test_order_of_completion_does_not_change_the_outcome(case: Case, orders: list[Random]) -> None:
    """Whoever is faster, the run comes to the same; when it goes on after failures, every step."""
    drivers = [Driver(case, random) for random in orders]

    outcomes = {driver.run() for driver in drivers}

    should = expected(case)
    failed = [key for key, state in should.items() if state is StepState.FAILED]
    assert {run_outcome(case.spec, failed, cancel_requested=False)} == outcomes
    if case.spec.on_failure is FailurePolicy.CONTINUE:
        assert all(should == driver.states for driver in drivers)


@GOOD
@given(cases(), st.randoms(use_true_random=False))
def test_run_that_fails_fast_begins_nothing_new(case: Case, random: Random) -> None:
    """What ends differently from a run that goes on has been cancelled."""
    driver = Driver(case, random)

    driver.run()

    for key, state in expected(case).items():
        assert driver.states[key] in {state, StepState.CANCELLED}


def step(key: str, **given: Any) -> StepSpec:
    return StepSpec(key=key, name="step", **given)


def test_steps_with_the_same_dependents_form_a_batch() -> None:
    """What becomes ready together is split by who waits for it."""
    spec = FlowSpec(
        name="flow",
        steps=(
            step("a"),
            step("b"),
            step("c"),
            step("d", after=("a", "c")),
            step("e", after=("b",)),
        ),
    )

    decided = plan(spec, Graph.of(spec), ["c", "b", "a"], {}, {})

    assert (("a", "c"), ("b",)) == decided.batches


def test_condition_is_asked_for_only_when_the_step_could_run() -> None:
    """A step behind a failure is cancelled without looking at results."""
    spec = FlowSpec(name="flow", steps=(step("a"), step("b", when={"$ref": "a"})))
    graph = Graph.of(spec)

    assert ("b",) == plan(spec, graph, ["b"], {"a": StepState.COMPLETED}, {}).evaluate
    assert ("b",) == plan(spec, graph, ["b"], {"a": StepState.FAILED}, {}).cancel
    assert ("b",) == plan(spec, graph, ["b"], {"a": StepState.SKIPPED}, {}).skip


def test_map_fails_as_soon_as_it_must() -> None:
    """A map does not wait for items that cannot save it."""
    mapped = step("a", map=MapSpec(parameter="x", items=[], tolerance=Tolerance(count=1)))

    one = {StepState.FAILED: 1, StepState.RUNNING: 3}
    two = {StepState.FAILED: 2, StepState.RUNNING: 2}

    assert map_outcome(mapped, one) is None
    assert StepState.FAILED is map_outcome(mapped, two)


def test_cancel_request_counts_unless_something_failed() -> None:
    """A failure is the better news to tell."""
    spec = FlowSpec(name="flow", steps=(step("a"), step("b", allow_failure=True)))

    assert RunState.CANCELLED is run_outcome(spec, ["b"], cancel_requested=True)
    assert RunState.FAILED is run_outcome(spec, ["a"], cancel_requested=True)
    assert RunState.COMPLETED is run_outcome(spec, ["b"], cancel_requested=False)
