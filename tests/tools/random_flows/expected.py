"""What plain Python says of a random program, and how the records of a run differ from that.

`evaluate` goes through the nodes in order and says what becomes of each by the words of the
concepts; it knows of no engine, batch or message. `differences` reads the rows. When a run of a
`strict` program fails, chance decides how far it has got: then a node may be cancelled, too.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flowq.core.ids import RunId, StepRunId, child_run_id, item_id, node_id
from flowq.core.results import StepFailure
from flowq.core.states import RunState, StepState
from flowq.engine.advance.finish import output
from flowq.engine.advance.resolve import load
from flowq.engine.engine import Engine
from flowq.engine.model.rows import StoredStep
from tests.tools.random_flows.programs import Node, Program, flatten, planned
from tests.tools.random_flows.reused import Earlier, OldEnd, Reuse

COMPLETED, FAILED, SKIPPED = StepState.COMPLETED, StepState.FAILED, StepState.SKIPPED
CANCELLED = StepState.CANCELLED


@dataclass(frozen=True, slots=True)
class End:
    """What becomes of a node, or of an item of a map.

    Attributes:
        attempts: How many attempts of its own it takes, none if it is reused; None when it has no
            plan.
        items: Of a map.
    """

    state: StepState
    value: Any = None
    attempts: int | None = None
    items: tuple["End", ...] = ()


@dataclass(frozen=True, slots=True)
class Expected:
    """What becomes of a run, of its nodes by key, and of its child runs by id."""

    state: RunState
    output: Any
    strict: bool
    nodes: Mapping[str, End] = field(default_factory=dict)
    children: Mapping[RunId, "Expected"] = field(default_factory=dict)


def evaluate(
    program: Program,
    run_id: RunId,
    *,
    lost: Collection[StepRunId] = (),
    given: Any = (),
    earlier: Earlier | None = None,
    is_mended: bool = False,
) -> Expected:
    """Say what becomes of a run.

    Args:
        program: What it runs.
        run_id: Its id, from which those of its steps follow.
        lost: Steps that failed since they lost their worker too often: nobody can foresee that.
        given: For a child program: the values of what it depends on.
        earlier: The run that it reruns.
        is_mended: Whether no step fails any more.
    """
    base = sum(flatten(given))
    return _Evaluation(program, run_id, lost, base, earlier=earlier, is_mended=is_mended).run()


class _Evaluation:
    """A program on its way through plain Python."""

    def __init__(
        self,
        program: Program,
        run_id: RunId,
        lost: Collection[StepRunId],
        base: int,
        *,
        earlier: Earlier | None,
        is_mended: bool,
    ) -> None:
        self._program = program
        self._nodes: list[Node] = program["nodes"]
        self._run_id = run_id
        self._lost = lost
        self._base = base
        self._reuse = None if earlier is None else Reuse(earlier, self._nodes, base)
        self._is_mended = is_mended
        self._ends: list[End] = []
        self._by_key: dict[str, End] = {}
        self._children: dict[RunId, Expected] = {}

    def run(self) -> Expected:
        allowed = {f"n{number}" for number, node in enumerate(self._nodes) if node["allowed"]}
        for number, node in enumerate(self._nodes):
            end = self._known(f"n{number}", self._end(number, node))
            self._ends.append(end)
            self._by_key[f"n{number}"] = end
        strict, outputs = self._program["strict"], self._program["outputs"]
        if any(end.state is FAILED and key not in allowed for key, end in self._by_key.items()):
            return Expected(RunState.FAILED, None, strict, self._by_key, self._children)
        values = [end.value for end in self._ends]
        value = [values[i] for i in outputs] if isinstance(outputs, list) else values[outputs]
        return Expected(RunState.COMPLETED, value, strict, self._by_key, self._children)

    def _end(self, number: int, node: Node) -> End:
        own = self._base + number
        step_id = node_id(self._run_id, f"n{number}")
        total = own + sum(flatten([self._ends[i].value for i in node["on"]]))
        gate = self._gate(node)
        if node["op"] == "map":
            # The list is a step of its own, and the map depends on nothing else.
            listed = gate or End(COMPLETED, list(range(total % 5)), attempts=1)
            kept = self._kept(f"list{number}")
            listed = self._by_key[f"list{number}"] = kept or self._known(f"list{number}", listed)
            if kept := self._kept(f"n{number}"):
                return kept
            if listed.state is not COMPLETED:
                return End(SKIPPED if listed.state is SKIPPED else CANCELLED)
            return self._map(number, own, listed.value)
        return self._kept(f"n{number}") or gate or self._begun(number, step_id, own, total)

    def _kept(self, key: str) -> End | None:
        """Return the end of a node that has that of the earlier run."""
        old = None if self._reuse is None else self._reuse.whole(key)
        if old is None:
            return None
        items = tuple(self._reused(one) for one in old.items or ())
        return self._reused(old, items)

    def _reused(self, old: OldEnd, items: tuple[End, ...] = ()) -> End:
        assert self._reuse is not None
        attempts = 0 if self._reuse.earlier.is_certain else None
        value = [one.value for one in items] if old.items is not None else old.value
        return End(old.state, value, attempts=attempts, items=items)

    def _begun(self, number: int, step_id: StepRunId, own: int, total: int) -> End:
        """Say how a node ends that is run."""
        node = self._nodes[number]
        if node["op"] == "sum":
            return self._leaf(node["fails"][0], node["tries"], total)
        if node["op"] == "child":
            given = [self._ends[i].value for i in node["on"]]
            return self._child(number, step_id, given)
        if node["op"] == "remap":
            # One that was skipped, where that is accepted, is a map over nothing.
            return self._map(number, own, self._ends[node["over"]].value or [])
        return self._map(number, own, list(range(node["size"])))

    def _gate(self, node: Node) -> End | None:
        """Say how a node ends without being run, if it does."""
        names = list(node["on"]) if node["op"] != "remap" else [node["over"]]
        if node["when"] is not None:
            names.append(node["when"])
        before = [(self._ends[i], self._nodes[i]) for i in dict.fromkeys(names)]
        failed = [end for end, one in before if end.state is FAILED and one["allowed"]]
        good = [end for end, _ in before if end.state is COMPLETED] + failed
        skipped = [end for end, _ in before if end.state is SKIPPED]
        if len(good) + len(skipped) < len(before):
            return End(CANCELLED)
        if skipped and not (node["accepts"] and good):
            return End(SKIPPED)
        if node["when"] is not None and self._ends[node["when"]].value == node["unlike"]:
            return End(SKIPPED)
        return None

    def _map(self, number: int, own: int, values: Sequence[Any]) -> End:
        node, key = self._nodes[number], f"n{number}"
        ends: list[End] = []
        for index, value in enumerate(values):
            one = item_id(node_id(self._run_id, key), index)
            old = None if self._reuse is None else self._reuse.item(key, index, value)
            if old is not None:
                ends.append(self._reused(old))
                continue
            if node["op"] == "fan":
                end = self._child(number, one, value, index)
            else:
                fails = planned(node["fails"], index)
                end = self._leaf(fails, node["tries"], own + sum(flatten(value)))
            ends.append(End(FAILED) if one in self._lost else end)
        failed = sum(end.state is FAILED for end in ends)
        state = FAILED if failed > (node["tolerate"] or 0) else COMPLETED
        return End(state, [end.value for end in ends], items=tuple(ends))

    def _child(self, number: int, step_id: StepRunId, given: Any, index: int | None = None) -> End:
        if step_id in self._lost:
            return End(FAILED)  # before its child run began
        child_id = child_run_id(step_id)
        child = evaluate(
            self._nodes[number]["child"],
            child_id,
            lost=self._lost,
            given=given,
            earlier=None if self._reuse is None else self._reuse.child(f"n{number}", index),
            is_mended=self._is_mended,
        )
        self._children[child_id] = child
        return End(COMPLETED, child.output) if child.state is RunState.COMPLETED else End(FAILED)

    def _known(self, key: str, end: End) -> End:
        return End(FAILED) if node_id(self._run_id, key) in self._lost else end

    def _leaf(self, fails: int, tries: int, value: int) -> End:
        if self._is_mended:
            fails = 0
        if fails >= tries:
            return End(FAILED, attempts=tries)
        return End(COMPLETED, value, attempts=fails + 1)


# --- the records ---------------------------------------------------------------------------------


def differences(
    engine: Engine, run_id: RunId, expected: Expected, cancelled: Collection[RunId] = ()
) -> list[str]:
    """Hold the records of a run and its children against what was expected; empty when equal.

    Args:
        engine: Reads the records.
        run_id: The run.
        expected: What becomes of it if nobody cancels it.
        cancelled: Runs that somebody has asked to cancel, in time or not.
    """
    view = engine.records.autocommit(lambda tx: tx.runs.view(run_id))
    if view is None:
        return [f"run {run_id} is not recorded"]
    was_cancelled = run_id in cancelled and view.status is RunState.CANCELLED
    if view.status is not expected.state and not was_cancelled:
        return [f"run {run_id} is {view.status}, expected {expected.state}: {view.error}"]
    failed = view.status is RunState.FAILED
    stopped = was_cancelled or (failed and (expected.strict or run_id in cancelled))
    keys = list(expected.nodes)
    stored = engine.records.autocommit(lambda tx: tx.steps.stored(run_id, keys))
    rows = {row.key: row for row in stored}
    found: list[str] = []
    if {step.key for step in view.steps} != set(keys):
        found.append(f"steps are {[step.key for step in view.steps]}, expected {keys}")
    if view.status is RunState.COMPLETED:
        value = plain(output(engine, engine.definitions.get(run_id).definition))
        if value != plain(expected.output):
            found.append(f"run {run_id} returned {value!r}, expected {expected.output!r}")
    orphans: set[RunId] = set()
    for key, end in expected.nodes.items():
        row = rows[key]
        items = [] if row.map_size is None else _items(engine, run_id, key)
        found += _different(engine, row, end, stopped=stopped)
        if row.map_size is not None:
            found += _different_items(engine, items, row, end, stopped=stopped)
        orphans |= _orphans(node_id(run_id, key), row, items, len(end.items))
    for child_id, child in expected.children.items():
        # One that nobody waits for any more is cancelled, or has not begun.
        if child_id not in orphans or _is_recorded(engine, child_id):
            found += differences(engine, child_id, child, {*cancelled, *orphans})
    return found


def _items(engine: Engine, run_id: RunId, key: str) -> list[StoredStep]:
    return engine.records.autocommit(lambda tx: tx.steps.items(run_id, key))


def _orphans(
    node: StepRunId, row: StoredStep, items: Sequence[StoredStep], size: int
) -> set[RunId]:
    """Return the child runs for which a step, or an item of a map, no longer waits."""
    begun = {item.map_index for item in items if item.status is not CANCELLED}
    steps = [item_id(node, index) for index in range(size) if index not in begun]
    if row.status is CANCELLED:
        steps.append(node)
    return {child_run_id(step) for step in steps}


def _is_recorded(engine: Engine, run_id: RunId) -> bool:
    return engine.records.autocommit(lambda tx: tx.runs.status(run_id)) is not None


def _different_items(
    engine: Engine, items: Sequence[StoredStep], node: StoredStep, end: End, *, stopped: bool
) -> list[str]:
    if end.state in {CANCELLED, SKIPPED}:
        return [f"{node.key} has {len(items)} items, expected none"]
    if len(items) != len(end.items):
        return [f"{node.key} has {len(items)} items, expected {len(end.items)}"]
    # A map that has failed, or was cancelled, cancels those of its items that had not begun.
    stopped = stopped or end.state is FAILED
    return [
        text
        for row, item in zip(items, end.items, strict=True)
        for text in _different(engine, row, item, stopped=stopped)
    ]


def _different(engine: Engine, row: StoredStep, end: End, *, stopped: bool) -> list[str]:
    if stopped and row.status is CANCELLED:
        return []
    place = row.key if row.map_index is None else f"{row.key}[{row.map_index}]"
    if row.status is not end.state:
        return [f"{place} is {row.status}, expected {end.state}: {row.error_message}"]
    if row.status is COMPLETED and row.map_size is None:
        value = load(engine, [row.result])[0] if row.result else None
        if plain(value) != plain(end.value):
            return [f"{place} is {value!r}, expected {end.value!r}"]
    return []


def plain(value: Any) -> Any:
    """Return a value with None in place of what failed, as `evaluate` has it."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    return None if isinstance(value, StepFailure | Mapping) else value
