"""When a step that waits for all branches begins.

The graph of steps is static: an edge for each transition that a document can make. An arrival is
kept as long as something active, or something that is kept at another join, can still reach the
step without going through it. `end` comes last: when nothing is active and nothing else is kept.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Final

from flowq.playbooks.control.state import Arrival, ExecutionState
from flowq.playbooks.document.models import Branch, Next, Playbook, Step

END: Final = "end"
#: The argument of a join that has those of each arrival.
ARRIVALS: Final = "_arrivals"


class Graph:
    """Which steps can reach which; computed for a join when it is first asked about."""

    def __init__(self, playbook: Playbook) -> None:
        self._playbook = playbook
        self._reaching: dict[str, frozenset[str]] = {}

    @cached_property
    def _before(self) -> Mapping[str, list[str]]:
        before: dict[str, list[str]] = {}
        for step in self._playbook.workflow:
            for target in targets(step):
                before.setdefault(target, []).append(step.name)
        return before

    def reaching(self, join: str) -> frozenset[str]:
        """Return the steps from which a step can be reached without going through it."""
        if join not in self._reaching:
            seen: set[str] = set()
            waiting = deque([join])
            while waiting:
                for step in self._before.get(waiting.popleft(), ()):
                    if step not in seen and step != join:
                        seen.add(step)
                        waiting.append(step)
            self._reaching[join] = frozenset(seen)
        return self._reaching[join]


def targets(step: Step) -> Iterator[str]:
    """Yield the steps that a step can go on with, or begin."""
    for transition in step.next:
        yield transition.step
    for entry in step.case:
        for action in entry.then:
            if isinstance(action, Next):
                for transition in action.transitions:
                    yield transition.step
            elif isinstance(action, Branch):
                yield action.step


def released(state: ExecutionState, graph: Graph) -> list[Arrival]:
    """Take the arrivals at the next step that can begin, in order; none when all have to wait.

    Joins that wait for each other only, in a cycle, are released in the order of their arrivals.
    """
    waiting = list(dict.fromkeys(one.step for one in state.kept if one.step != END))
    ready = (join for join in waiting if _is_ready(join, waiting, state, graph))
    chosen = next(ready, None)
    if chosen is None and not state.active:
        chosen = next(iter(waiting), END)
    taken = [one for one in state.kept if one.step == chosen]
    state.kept = [one for one in state.kept if one.step != chosen]
    return taken


def _is_ready(join: str, waiting: list[str], state: ExecutionState, graph: Graph) -> bool:
    reaching = graph.reaching(join)
    is_reached = any(step in reaching for step in state.active)
    return not is_reached and not any(one in reaching for one in waiting if one != join)


def joined_args(arrivals: list[Arrival]) -> dict[str, object]:
    """Return the arguments for all arrivals: merged in order, and `ARRIVALS` has each."""
    merged: dict[str, object] = {}
    for one in arrivals:
        merged |= one.args
    return {**merged, ARRIVALS: [dict(one.args) for one in arrivals]}
