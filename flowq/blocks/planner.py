"""The execution planner of documents: computes the ready edges from states. Pure.

    planner = ExecutionPlanner(blocks, edges)
    while batch := planner.get_next_executable_batch():
        ...

A block is processed when its content exists; an edge is ready when all its input blocks are
processed. It does not decide about runs of flowq: the planner of the engine does, without levels.
It checks documents, computes the levels that reports have, and serves programs that embed it.
Blocks and edges may be models of a document or plain JSON.
"""

from collections.abc import Collection, Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any, Final

PENDING: Final = "pending"
PROCESSING: Final = "processing"
PROCESSED: Final = "processed"
COMPLETED: Final = "completed"


def _part(owner: Any, name: str, default: Any = None) -> Any:
    """Return a part of a model, or of plain JSON."""
    if isinstance(owner, Mapping):
        return owner.get(name, default)
    return getattr(owner, name, default)


class ExecutionPlanner:
    """The states of a document's blocks and edges.

    Args:
        blocks: By id.
        edges: By id.

    Attributes:
        block_states: From id to `pending` or `processed`.
        edge_states: From id to `pending`, `processing` or `completed`.
    """

    def __init__(self, blocks: Mapping[str, Any], edges: Mapping[str, Any]) -> None:
        self.blocks, self.edges = blocks, edges
        self._inputs = {key: _ends(edge, "inputs") for key, edge in edges.items()}
        self._outputs = {key: _ends(edge, "outputs") for key, edge in edges.items()}
        #: From a block to the edges that make it, in the order of the document.
        self.producers: dict[str, list[str]] = {}
        for edge, outputs in self._outputs.items():
            for block in outputs:
                self.producers.setdefault(block, []).append(edge)
        self.edge_states = dict.fromkeys(edges, PENDING)
        self.block_states = {key: PROCESSED if self._is_initial(key) else PENDING for key in blocks}

    def _is_initial(self, key: str) -> bool:
        """Return whether a block's content is there at the start; `""` is content, null is none."""
        block = self.blocks[key]
        data = _part(block, "data") or {}
        is_internal = _part(block, "storage_class", "internal") != "external"
        return (
            is_internal
            and not data.get("external_metadata")
            and data.get("content") is not None
            and key not in self.producers
        )

    def get_next_executable_batch(self) -> set[str]:
        """Return all pending edges whose input blocks are processed."""
        return {
            edge
            for edge, state in self.edge_states.items()
            if state == PENDING
            and all(self.block_states.get(block) == PROCESSED for block in self._inputs[edge])
        }

    def get_inputs_for_batch(self, batch: Iterable[str]) -> set[str]:
        """Return the input blocks of some edges."""
        return {block for edge in batch for block in self._inputs[edge]}

    def get_outputs_for_batch(self, batch: Iterable[str]) -> set[str]:
        """Return the output blocks of some edges."""
        return {block for edge in batch for block in self._outputs[edge]}

    def get_all_prefetch_candidates(self) -> set[str]:
        """Return the blocks whose content is stored outside and has to be fetched."""
        return {
            key
            for key, block in self.blocks.items()
            if (_part(block, "data") or {}).get("external_metadata")
            and self.block_states[key] == PENDING
        }

    def mark_edges_processing(self, edges: Iterable[str]) -> None:
        """Note that edges have begun."""
        self.edge_states |= _states(self.edge_states, edges, PROCESSING)

    def mark_edges_completed(self, edges: Iterable[str]) -> None:
        """Note that edges are finished."""
        self.edge_states |= _states(self.edge_states, edges, COMPLETED)

    def mark_blocks_processed(self, blocks: Iterable[str]) -> None:
        """Note that the content of blocks is there."""
        self.block_states |= _states(self.block_states, blocks, PROCESSED)

    def is_complete(self) -> bool:
        """Return whether all edges are finished."""
        return all(state == COMPLETED for state in self.edge_states.values())

    def get_progress(self) -> dict[str, Any]:
        """Return how many edges and blocks are in each state, and percent of edges completed."""
        edges, blocks = list(self.edge_states.values()), list(self.block_states.values())
        completed, processed = edges.count(COMPLETED), blocks.count(PROCESSED)
        return {
            "edges": {
                "total": len(edges),
                "completed": completed,
                "processing": edges.count(PROCESSING),
                "pending": edges.count(PENDING),
            },
            "blocks": {
                "total": len(blocks),
                "processed": processed,
                "pending": len(blocks) - processed,
            },
            "completion_percentage": 100 * completed / len(edges) if edges else 0,
        }

    def validate_dag(self) -> tuple[bool, list[str]]:
        """Return whether the edges form a graph without cycles over known blocks, and what not."""
        errors = []
        for edge in self.edges:
            for end, blocks in (("input", self._inputs[edge]), ("output", self._outputs[edge])):
                unknown = [block for block in blocks if block not in self.blocks]
                errors += [f"edge {edge!r}: {end} names block {block!r}" for block in unknown]
            both = [block for block in self._inputs[edge] if block in self._outputs[edge]]
            errors += [f"edge {edge!r}: block {block!r} is input and output" for block in both]
        cycle = self.cycle()
        if cycle and len(set(cycle)) > 1:
            errors.append(f"cycle: {' → '.join(cycle)}")
        return not errors, errors

    def cycle(self) -> list[str]:
        """Return edges that wait for each other, the first one again at the end; or none."""
        try:
            TopologicalSorter(self.waits()).prepare()
        except CycleError as error:
            return list(error.args[1])
        return []

    def waits(self) -> dict[str, list[str]]:
        """Return, by edge, the edges that make its inputs."""
        return {
            edge: list(
                dict.fromkeys(one for block in inputs for one in self.producers.get(block, ()))
            )
            for edge, inputs in self._inputs.items()
        }

    def levels(self) -> list[list[str]]:
        """Return the edges by level: one more than the largest of those that make their inputs.

        Raises:
            CycleError: edges wait for each other.
        """
        waits, level = self.waits(), dict[str, int]()
        for edge in TopologicalSorter(waits).static_order():
            level[edge] = 1 + max((level[one] for one in waits[edge]), default=0)
        found: list[list[str]] = [[] for _ in range(max(level.values(), default=0))]
        for edge in self.edges:
            found[level[edge] - 1].append(edge)
        return found


def _ends(edge: Any, name: str) -> list[str]:
    return list(_part(_part(edge, "data") or {}, name) or {})


def _states(known: Collection[str], keys: Iterable[str], state: str) -> dict[str, str]:
    return {key: state for key in keys if key in known}
