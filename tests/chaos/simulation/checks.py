"""What must hold after every event of a simulation, and what must have come of it in the end.

Each state change is held against the tables of `flowq.core.states`; the rows as they stand, against
the invariants below, each a query that finds what breaks it.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Final
from uuid import UUID

from flowq.core.graph import Graph
from flowq.core.ids import RunId, StepRunId, item_id, node_id
from flowq.core.spec import FlowSpec
from flowq.core.states import (
    ACTIVE_STEP_STATES,
    TERMINAL_RUN_STATES,
    RunState,
    StepState,
    run_sources,
    step_sources,
)
from tests.chaos.simulation.database import Change, Database
from tests.tools.random_flows.expected import End, Expected

#: What an attempt writes when its code has run.
_WRITTEN: Final = {StepState.COMPLETED, StepState.FAILED, StepState.RETRYING}
_FIRST_STEP_STATES: Final = {StepState.PENDING, StepState.QUEUED}
#: Of what a rerun reuses.
_REUSED_STATES: Final = {StepState.COMPLETED, StepState.SKIPPED, StepState.FAILED}
#: Of what a program has called: timers wait, maps have their items, and a stopped run wants none.
_FIRST_CALL_STATES: Final = {
    StepState.QUEUED,
    StepState.WAITING,
    StepState.RUNNING,
    StepState.COMPLETED,
    StepState.CANCELLED,
}
_OPEN: Final = ", ".join(f"'{state}'" for state in sorted(ACTIVE_STEP_STATES))
_ENDED_RUN: Final = ", ".join(f"'{state}'" for state in sorted(TERMINAL_RUN_STATES))

#: From what holds to the rows that break it.
_INVARIANTS: Final = {
    "a running step has a lease, and only that": """
        SELECT s.id FROM flow_step_runs s
        WHERE (s.status = 'running' AND s.map_size IS NULL) <> (s.lease_token IS NOT NULL)
        OR (s.lease_token IS NULL) <> (s.lease_expires_at IS NULL)""",
    "what is to be sent has a time at which the sweeper looks": """
        SELECT s.id FROM flow_step_runs s
        WHERE s.status IN ('queued', 'retrying') AND (s.wake_at IS NULL OR s.batch_id IS NULL)""",
    "a pending step counts the steps that it waits for": """
        SELECT s.id FROM flow_step_runs s
        WHERE s.status = 'pending' AND s.pending_dependencies <> (
            SELECT count(*) FROM edges e JOIN flow_step_runs d
            ON d.flow_run_id = e.run AND d.step_key = e.dependency AND d.map_index IS NULL
            WHERE e.run = s.flow_run_id AND e.key = s.step_key AND NOT d.advanced)""",
    "a step that was begun waited for nothing": """
        SELECT s.id FROM flow_step_runs s WHERE s.map_index IS NULL
        AND s.status NOT IN ('pending', 'cancelled') AND EXISTS (
            SELECT 1 FROM edges e JOIN flow_step_runs d
            ON d.flow_run_id = e.run AND d.step_key = e.dependency AND d.map_index IS NULL
            WHERE e.run = s.flow_run_id AND e.key = s.step_key AND NOT d.advanced)""",
    "a run that has ended has no open step": f"""
        SELECT s.id FROM flow_step_runs s JOIN flow_runs r ON r.id = s.flow_run_id
        WHERE r.status IN ({_ENDED_RUN}) AND s.status IN ({_OPEN})""",
    "a step waits for a child run that goes on": f"""
        SELECT s.id FROM flow_step_runs s WHERE s.status = 'waiting'
        AND CASE WHEN s.spec IS NULL THEN s.observed IS NULL
        ELSE coalesce(json_extract(s.spec, '$.kind'), 'step') = 'flow' END AND NOT EXISTS (
            SELECT 1 FROM flow_runs r
            WHERE r.parent_step_run_id = s.id AND r.status NOT IN ({_ENDED_RUN}))""",
    "a child run that goes on has a step that waits, or was cancelled": f"""
        SELECT r.id FROM flow_runs r JOIN flow_step_runs s ON s.id = r.parent_step_run_id
        WHERE r.status NOT IN ({_ENDED_RUN}) AND s.status NOT IN ('waiting', 'cancelled')""",
    "a program that waits has a call that is open": """
        SELECT s.id FROM flow_step_runs s JOIN flow_runs r ON r.id = s.flow_run_id
        WHERE s.status = 'waiting' AND s.spec IS NULL AND s.observed IS NOT NULL
        AND r.status = 'running' AND NOT EXISTS (
            SELECT 1 FROM flow_step_runs c WHERE c.flow_run_id = s.flow_run_id
            AND c.spec IS NOT NULL AND (c.observed IS NULL OR c.status NOT IN
            ('completed', 'failed', 'cancelled')))""",
    "what a program has seen has ended": """
        SELECT s.id FROM flow_step_runs s WHERE s.spec IS NOT NULL AND s.observed IS NOT NULL
        AND s.status NOT IN ('completed', 'failed', 'skipped', 'cancelled')""",
    "a step that has completed has a result": """
        SELECT s.id FROM flow_step_runs s
        WHERE s.status = 'completed' AND (s.result IS NULL) <> (s.map_size IS NOT NULL)""",
    "a map that has begun has its items": """
        SELECT s.id FROM flow_step_runs s WHERE s.map_size IS NOT NULL AND s.map_size <> (
            SELECT count(*) FROM flow_step_runs i WHERE i.flow_run_id = s.flow_run_id
            AND i.step_key = s.step_key AND i.map_index IS NOT NULL)""",
    "a run that was cancelled does not complete": """
        SELECT r.id FROM flow_runs r
        WHERE r.status = 'completed' AND r.cancel_requested_at IS NOT NULL""",
    "a run begins no child run while it is paused": """
        SELECT r.id FROM flow_runs r JOIN flow_step_runs s ON s.id = r.parent_step_run_id
        JOIN begun b ON b.run = r.id WHERE b.paused
        -- A child run that someone let go on may itself go on as a new one.
        AND NOT EXISTS (SELECT 1 FROM flow_runs o WHERE o.continued_as = r.id)""",
    "attempts are counted": """
        SELECT s.id FROM flow_step_runs s WHERE s.attempt < s.recoveries""",
}
_ALL: Final = "\nUNION ALL\n".join(
    f"SELECT '{name}', broken.id FROM ({sql}) AS broken" for name, sql in _INVARIANTS.items()
)


class Broken(AssertionError):
    """The simulation has found what must not be."""


class Watch:
    """Looks at what the events of one simulation do to the rows."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._version = database.version
        self._checked = database.version
        self._names: dict[str, str] = {}
        self.completions: Counter[str] = Counter()

    def name(self, row_id: str) -> str:
        """Return the short name of a run or a step: `A`, `A.n3[2]`."""
        return self._names.get(row_id.replace("-", ""), row_id)

    def changes(self, began: Mapping[str, int]) -> list[str]:
        """Check the state changes since the last call; returns them in words.

        Args:
            began: The attempts whose code was run by what has made these changes, by step.

        Raises:
            Broken: one of them must not be.
        """
        if self.database.version == self._version:
            return []
        changes = self.database.changes()
        self._version = self.database.version
        return [self._check(change, began) for change in changes]

    def rows(self) -> None:
        """Check the rows as they stand, unless they have not changed.

        Raises:
            Broken: an invariant does not hold.
        """
        if self.database.version == self._checked:
            return
        self._checked = self.database.version
        found = self.database.query(_ALL)
        if found:
            texts = [f"{self.name(row_id)}: not so: {name}" for name, row_id in found]
            raise Broken("\n".join(texts))

    def _check(self, change: Change, began: Mapping[str, int]) -> str:
        if change.before is None:
            self._learn(change)
        name = self.name(change.id)
        text = f"{name} {change.before or 'new'} → {change.after}"
        if change.kind == "record":
            raise Broken(f"{name} has ended as {change.before}, and its record has changed")
        wrote = began.get(change.id, change.attempt)
        if change.after in _WRITTEN and wrote != change.attempt:
            raise Broken(f"{text}: by attempt {wrote}, the row is at {change.attempt}")
        if change.before is not None and change.before not in _sources(change):
            raise Broken(f"{text}: the table of transitions lacks it")
        if change.before is None and change.kind == "step":
            known = _FIRST_CALL_STATES if "#" in (change.key or "") else _FIRST_STEP_STATES
            if change.after not in known and not (
                change.after in _REUSED_STATES and self._is_rerun(change.run)
            ):
                raise Broken(f"{name} began as {change.after}")
        if change.kind == "step" and change.after == StepState.COMPLETED:
            self.completions[change.id] += 1
        return text

    def _is_rerun(self, run: str) -> bool:
        found = self.database.query("SELECT rerun_of FROM flow_runs WHERE id = ?", run)
        return found[0][0] is not None

    def _learn(self, change: Change) -> None:
        """Name a new row; of a new run, write down who waits for whom."""
        if change.kind == "step":
            run = self._names[change.run]
            index = "" if change.map_index is None else f"[{change.map_index}]"
            self._names[change.id] = f"{run}.{change.key}{index}"
            return
        parents = sum("." not in name and ":" not in name for name in self._names.values())
        name = f"{self.name(change.key)}:" if change.key else f"run{parents + 1}"
        self._names[change.id] = name
        text = self.database.query("SELECT spec FROM flow_runs WHERE id = ?", change.id)[0][0]
        graph = Graph.of(FlowSpec.model_validate_json(text))
        self.database.connection.executemany(
            "INSERT INTO edges VALUES (?, ?, ?)",
            [(change.run, key, one) for key, names in graph.dependencies.items() for one in names],
        )


# --- in the end ----------------------------------------------------------------------------------


def lost_steps(
    database: Database,
    max_recoveries: int,
    cancelled: Collection[RunId],
    revoked: Collection[StepRunId] = (),
) -> set[StepRunId]:
    """Return the steps that failed as no plan foresees.

    They were recovered too often, or revoked, or somebody has cancelled the child run that they
    waited for.

    Raises:
        Broken: one of them had no reason to.
    """
    rows = database.query(
        "SELECT s.id, s.recoveries, s.error_type, r.id FROM flow_step_runs s "
        "LEFT JOIN flow_runs r ON r.parent_step_run_id = s.id AND r.status = 'cancelled' "
        "WHERE s.status = 'failed' AND (r.id IS NOT NULL OR s.error_type IN "
        "('WorkerLost', 'TaskRevoked', 'DatabaseUnavailable', 'StoreUnavailable'))"
    )
    for row_id, recoveries, error, child in rows:
        if child is not None and RunId(UUID(child)) not in cancelled:
            raise Broken(f"{row_id} failed since {child} was cancelled, and nobody asked for that")
        if error == "TaskRevoked":
            if StepRunId(UUID(row_id)) not in revoked:
                raise Broken(f"{row_id} was revoked, and nobody asked for that")
        elif child is None and recoveries < max_recoveries + (error == "WorkerLost"):
            raise Broken(f"{row_id} failed with {error} after {recoveries} recoveries")
    return {StepRunId(UUID(row[0])) for row in rows}


def check_counts(
    watch: Watch,
    attempts: Mapping[StepRunId, int],
    effects: Counter[tuple[UUID, int]],
    max_recoveries: int,
) -> None:
    """Check that each step took the attempts of its plan, ran its code and was completed once.

    Args:
        watch: What was seen.
        attempts: How many attempts of its own each step takes.
        effects: How often the code of each attempt was run.
        max_recoveries: From so many on, an outage counts as an attempt of the step's own.

    Raises:
        Broken: one did not.
    """
    rows = watch.database.query(
        "SELECT s.id, s.status, s.attempt, s.recoveries, s.map_size, "
        # No program, timer or signal has an attempt with users' code that would be counted.
        "coalesce(r.id, CASE WHEN s.observed IS NOT NULL AND s.spec IS NULL "
        "OR json_extract(s.spec, '$.kind') IN ('timer', 'signal') THEN s.id END), "
        "s.cached_from IS NOT NULL AND s.attempt = 0 "
        "FROM flow_step_runs s LEFT JOIN flow_runs r ON r.parent_step_run_id = s.id"
    )
    ran = {step_id for step_id, _ in effects}
    for row_id, status, attempt, recoveries, map_size, child, is_reused in rows:
        step_id, name = StepRunId(UUID(row_id)), watch.name(row_id)
        own, planned = attempt - recoveries, attempts.get(step_id)
        exact = planned is not None and recoveries < max_recoveries
        if exact and status in {"completed", "failed"} and own != planned:
            raise Broken(f"{name} took {own} attempts of its own, expected {planned}")
        if status != "completed":
            continue
        if watch.completions[row_id] != 1:
            raise Broken(f"{name} was completed {watch.completions[row_id]} times")
        if is_reused:
            if step_id in ran:
                raise Broken(f"{name} is reused, and its code has run")
            continue
        if map_size is None and child is None and effects[step_id, attempt] != 1:
            times = effects[step_id, attempt]
            raise Broken(f"{name} is recorded with attempt {attempt}, whose code ran {times} times")
    twice = [place for place, times in effects.items() if times > 1]
    if twice:
        raise Broken(f"the code of an attempt ran more than once: {twice}")


def planned_attempts(expected: Expected, run_id: RunId) -> dict[StepRunId, int]:
    """Return how many attempts of its own each step takes, where the plan says it."""
    found: dict[StepRunId, int] = {}

    def add(step_id: StepRunId, end: End) -> None:
        if end.attempts is not None:
            found[step_id] = end.attempts

    for key, end in expected.nodes.items():
        node = node_id(run_id, key)
        if end.items:
            for index, item in enumerate(end.items):
                add(item_id(node, index), item)
        else:
            add(node, end)
    for child_id, child in expected.children.items():
        found |= planned_attempts(child, child_id)
    return found


def _sources(change: Change) -> frozenset[str]:
    """Return the states from which the table allows a change to what `change` has become."""
    if change.kind == "run":
        return run_sources(RunState(change.after))
    return step_sources(StepState(change.after))
