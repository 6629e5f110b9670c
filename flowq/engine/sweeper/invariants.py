"""What must hold between the rows of all runs, at any time: for `flowq doctor` and for tests.

    broken = check(engine.records, engine.definitions, grace=timedelta(seconds=60))

Most invariants are SQL (`flowq.adapters.records.invariants.invariants`). Those here need the graph
or the options of a run's spec. The check changes nothing, so it can run on a live database:
intermediate states are younger than `grace`. In a test without running work, `grace` is zero.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Final

from flowq.core.errors import RunNotFound, RunUnreadable
from flowq.core.graph import Graph
from flowq.core.ids import RunId
from flowq.core.states import TERMINAL_STEP_STATES, RunState, StepState
from flowq.engine.definitions import DefinitionCache, RunDefinition
from flowq.engine.engine import Policies
from flowq.engine.model.rows import Invariant, PlacedNode, PlacedRun, Violation
from flowq.engine.ports import Records
from flowq.engine.ports.invariants import Suspect
from flowq.engine.results.store import ResultStore

_POLICIES: Final = Policies()

_READABLE: Final = Invariant("readable", "The flow of every run can be read.")
_NODES: Final = Invariant("nodes", "A run has exactly the nodes of its spec.")
_DEPENDENCIES: Final = Invariant(
    "dependencies",
    "A pending step counts those of its dependencies that are not terminal and advanced; "
    "any other that was not cancelled has none.",
)
_ORDER: Final = Invariant("order", "A step begins after all its dependencies are terminal.")
_READY: Final = Invariant("ready", "A step of a running run that waits for nothing is queued.")
_ATTEMPTS: Final = Invariant("attempts", "No step was tried more often than its retry policy says.")
_ALLOWED: Final = Invariant(
    "allowed failure", "In a completed run only steps that are allowed to fail have failed."
)
_OBJECTS: Final = Invariant("objects", "Every object that a row names is stored, with its size.")

_BY_SPEC: Final = (_READABLE, _NODES, _DEPENDENCIES, _ORDER, _READY, _ATTEMPTS, _ALLOWED)


def invariants(records: Records, *, objects: bool = False) -> tuple[Invariant, ...]:
    """Return all invariants."""
    listed = records.autocommit(lambda tx: tx.invariants.listed)
    return (*listed, *_BY_SPEC, *((_OBJECTS,) if objects else ()))


def check(
    records: Records,
    definitions: DefinitionCache | None = None,
    *,
    grace: timedelta,
    max_recoveries: int = _POLICIES.max_recoveries,
) -> list[Violation]:
    """Return all violations; empty when all is well.

    Args:
        definitions: A cache of specs, if there is one.
        grace: How long intermediate states may last; younger ones are not reported.
        max_recoveries: How often a step may be recovered.
    """
    known = definitions or DefinitionCache(records)
    found = records.autocommit(
        lambda tx: tx.invariants.violations(grace=grace, max_recoveries=max_recoveries)
    )
    for suspect in records.autocommit(lambda tx: tx.invariants.suspects()):
        found += _suspicion(known, suspect)
    for run in _placed(records):
        found += _unreadable(known, run)
        spec = _known(known, run.id)
        if spec is not None:
            found += _of_graph(run, spec.graph, grace)
    return found


def missing_objects(records: Records, results: ResultStore) -> list[Violation]:
    """Return the rows whose object is missing or has another size; asks the store for each.

    Raises:
        StoreUnavailable: the object store cannot be used.
    """
    found = []
    for row in records.autocommit(lambda tx: tx.invariants.objects()):
        size = results.stored_size(row.result)
        if size != row.result.size:
            have = "is not there" if size is None else f"has {size} bytes"
            what = f"the object {row.result.key} {have}, {row.result.size} bytes were written"
            found.append(
                Violation(_OBJECTS.name, row.run_id, what, row.step_id, row.key, row.map_index)
            )
    return found


def _placed(records: Records) -> Iterator[PlacedRun]:
    after = None
    while page := records.autocommit(lambda tx: tx.invariants.placed(after)):  # noqa: B023 - at once
        yield from page
        after = page[-1].id


def _known(definitions: DefinitionCache, run_id: RunId) -> RunDefinition | None:
    try:
        return definitions.get(run_id)
    except (RunNotFound, RunUnreadable):
        return None  # deleted since its rows were read, or reported by `_unreadable`


def _unreadable(definitions: DefinitionCache, run: PlacedRun) -> Iterator[Violation]:
    try:
        definitions.get(run.id)
    except RunNotFound:
        return
    except RunUnreadable as error:
        yield Violation(_READABLE.name, run.id, error.message)


def _suspicion(definitions: DefinitionCache, step: Suspect) -> Iterator[Violation]:
    known = _known(definitions, step.run_id)
    if known is None:
        return
    try:
        spec = known.step(step.key)
    except (RunNotFound, RunUnreadable):
        return
    most = spec.retry.max_attempts
    if step.failures > most:
        what = f"it was tried {step.failures} times, {most} are allowed"
        yield Violation(_ATTEMPTS.name, step.run_id, what, step.step_id, step.key, step.map_index)
    if step.has_failed and not spec.allow_failure and not known.is_called(step.key):
        what = "it has failed, and the run has completed"
        yield Violation(_ALLOWED.name, step.run_id, what, step.step_id, step.key, step.map_index)


def _of_graph(run: PlacedRun, graph: Graph, grace: timedelta) -> Iterator[Violation]:
    nodes = {node.key: node for node in run.nodes}
    if nodes.keys() != graph.order.keys():
        lacks = sorted(graph.order.keys() - nodes.keys())
        extra = sorted(nodes.keys() - graph.order.keys())
        what = f"it lacks the nodes {lacks} and has {extra} of its own"
        yield Violation(_NODES.name, run.id, what)
        return
    for node in run.nodes:
        before = [nodes[key] for key in graph.dependencies[node.key]]
        for invariant, what in _of_node(run, node, before, grace):
            yield Violation(invariant.name, run.id, what, node.id, node.key)


def _of_node(
    run: PlacedRun, node: PlacedNode, before: list[PlacedNode], grace: timedelta
) -> Iterator[tuple[Invariant, str]]:
    if node.status is StepState.PENDING:
        still = [one.key for one in before if not (_has_ended(one) and one.advanced)]
        if node.pending != len(still):
            yield _DEPENDENCIES, f"it counts {node.pending}, but waits for {still}"
        since = _latest([run.started_at, *(one.completed_at for one in before)])
        late = since is not None and since <= run.read_at - grace
        if run.status is RunState.RUNNING and node.pending == 0 and not still and late:
            yield _READY, f"it waits for nothing since {since}"
    elif node.status is not StepState.CANCELLED:
        still = [one.key for one in before if not _has_ended(one)]
        if still:
            yield _DEPENDENCIES, f"it is {node.status}, but {still} are not terminal"
    if node.started_at is None:
        return
    for one in before:
        if one.completed_at is not None and node.started_at < one.completed_at - grace:
            yield _ORDER, f"it began at {node.started_at}, {one.key} ended at {one.completed_at}"


def _has_ended(node: PlacedNode) -> bool:
    return node.status in TERMINAL_STEP_STATES


def _latest(times: Iterable[datetime | None]) -> datetime | None:
    return max((time for time in times if time is not None), default=None)
