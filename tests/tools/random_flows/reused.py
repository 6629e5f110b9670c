"""What a rerun of a random program reuses, by the words of docs/flows/rerun.md; it asks no engine.

A node is reused if the earlier run has completed it, whole, with the same work, and if all nodes
before it are reused. An item of a map that is not reused is reused if its index and input, and the
work of the map, are the same. A child run that has not completed is rerun itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flowq.core.ids import RunId, StepRunId, child_run_id, item_id, node_id
from flowq.core.states import TERMINAL_RUN_STATES, StepState
from flowq.engine.advance.resolve import load
from flowq.engine.engine import Engine
from flowq.engine.model.reruns import OldStep
from tests.tools.random_flows.programs import Node, flatten

COMPLETED, SKIPPED, CANCELLED = StepState.COMPLETED, StepState.SKIPPED, StepState.CANCELLED


@dataclass(frozen=True, slots=True)
class OldEnd:
    """What became of a node, or of an item, in the earlier run.

    Attributes:
        items: Of a map that has begun.
    """

    state: StepState
    value: Any = None
    items: tuple["OldEnd", ...] | None = None

    @property
    def is_whole(self) -> bool:
        """Whether it, and each of its items, has completed."""
        return self.state is COMPLETED and all(one.is_whole for one in self.items or ())


@dataclass(frozen=True)
class Earlier:
    """An earlier run, and what a rerun of it was asked for.

    Attributes:
        nodes: Its program.
        base: The sum of what it was given.
        ends: What became of its nodes, by key.
        fork: The step, or the item, from which on the rerun runs again.
        is_certain: Whether it had ended when its rerun began: a child run that nobody waits for any
            more may end later, and then nothing of it is reused.
        read: Reads a child run of it.
    """

    engine: Engine
    run_id: RunId
    nodes: Sequence[Node]
    base: int
    ends: Mapping[str, OldEnd]
    fork: str | None = None
    is_certain: bool = True

    @classmethod
    def read(
        cls, engine: Engine, run_id: RunId, *, fork: str | None = None, is_certain: bool = True
    ) -> "Earlier | None":
        """Read an earlier run; None if there is none that has ended."""
        old = engine.records.autocommit(lambda tx: tx.reruns.old_run(run_id))
        if old is None or old.status not in TERMINAL_RUN_STATES:
            return None
        rows = engine.records.autocommit(lambda tx: tx.reruns.old_steps(run_id))
        items: dict[str, list[OldStep]] = {}
        for row in rows:
            if row.map_index is not None:
                items.setdefault(row.key, []).append(row)
        ends = {
            row.key: OldEnd(
                row.status,
                _value(engine, row),
                tuple(OldEnd(one.status, _value(engine, one)) for one in items.get(row.key, ()))
                if row.map_size is not None
                else None,
            )
            for row in rows
            if row.map_index is None
        }
        given = sum(flatten(old.inputs.get("given", [])))
        return cls(engine, run_id, old.inputs["nodes"], given, ends, fork, is_certain)


def _value(engine: Engine, row: OldStep) -> Any:
    return None if row.result is None else load(engine, [row.result])[0]


@dataclass
class Reuse:
    """Decides about the nodes of a rerun, in their order.

    Attributes:
        nodes: The program of the rerun.
        base: The sum of what it is given.
    """

    earlier: Earlier
    nodes: Sequence[Node]
    base: int
    _ran: set[str] = field(default_factory=set)
    _after_fork: set[str] = field(default_factory=set)

    def whole(self, key: str) -> OldEnd | None:
        """Return the earlier end of a node that is reused."""
        old, before = self.earlier.ends.get(key), _before(self.nodes, key)
        fork = (self.earlier.fork or "").partition("[")[0]
        if any(one == fork or one in self._after_fork for one in before):
            self._after_fork.add(key)
        is_good = old is not None and (old.state is SKIPPED or old.is_whole)
        if key == fork or not is_good or self._ran & before or not self._is_same(key):
            self._ran.add(key)
            return None
        return old

    def item(self, key: str, index: int, value: Any) -> OldEnd | None:
        """Return the earlier end of an item that is reused, of a map that is not."""
        old = self.earlier.ends.get(key)
        if self._is_fresh(key, index) or old is None or not self._is_same(key, whole=False):
            return None
        if old.items is None or index >= len(old.items):
            return None
        one = old.items[index]
        given = self._old_item(key, index)
        return one if one.state is COMPLETED and given is not None and given == value else None

    def child(self, key: str, index: int | None) -> Earlier | None:
        """Return the child run that the child run of a node, or of an item, reruns."""
        old = self.earlier.ends.get(key)
        if old is None or self._is_fresh(key, index):
            return None
        one = old
        if index is not None:
            if old.items is None or index >= len(old.items):
                return None
            one = old.items[index]
        node: StepRunId = node_id(self.earlier.run_id, key)
        step = node if index is None else item_id(node, index)
        is_certain = self.earlier.is_certain and one.state is not CANCELLED
        return Earlier.read(self.earlier.engine, child_run_id(step), is_certain=is_certain)

    def _is_fresh(self, key: str, index: int | None) -> bool:
        label = key if index is None else f"{key}[{index}]"
        return key in self._after_fork or self.earlier.fork in (key, label)

    def _is_same(self, key: str, *, whole: bool = True) -> bool:
        number = _number(key)
        if number >= len(self.earlier.nodes):
            return False
        mine = _work(self.nodes[number], key, self.base, whole=whole)
        return mine == _work(self.earlier.nodes[number], key, self.earlier.base, whole=whole)

    def _old_item(self, key: str, index: int) -> Any:
        """Return what an item was given in the earlier run; None: what cannot be compared."""
        number = _number(key)
        node = self.earlier.nodes[number]
        if node["op"] == "map":
            return self.earlier.ends[f"list{number}"].value[index]
        if node["op"] == "remap":
            items = self.earlier.ends[f"n{node['over']}"].items or ()
            return items[index].value
        return index


def _number(key: str) -> int:
    return int(key.removeprefix("list").removeprefix("n"))


def _before(nodes: Sequence[Node], key: str) -> set[str]:
    """Return the keys of the nodes that a node waits for."""
    number = _number(key)
    node = nodes[number]
    if node["op"] == "map" and key.startswith("n"):
        return {f"list{number}"}
    names = [*node["on"], *([node["over"]] if node["op"] == "remap" else [])]
    names += [] if node["when"] is None else [node["when"]]
    return {f"n{one}" for one in names}


def _work(node: Node, key: str, base: int, *, whole: bool) -> tuple[Any, ...]:
    """Return what a node does: of a map's items without `whole`, which a list may give it."""
    op = node["op"]
    gate = (node["when"], node["unlike"] if node["when"] is not None else None)
    if key.startswith("list"):
        return ("spread", base, node["on"], gate)
    if op == "sum":
        return (op, base, node["on"], node["fails"][0], gate)
    if op in {"child", "fan"}:
        child = node["child"]
        called = (op, child["strict"], child["nodes"], child["outputs"])
        size = node["size"] if op == "fan" else None
        return (*called, node["on"], size, gate) if whole else called
    over = {"list": node["size"], "remap": node["over"], "map": None}[op]
    own = ("each", base, node["fails"])
    return (*own, over, *(gate if op != "map" else ())) if whole else own
