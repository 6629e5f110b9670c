"""Reruns in the simulation: a run that has ended is rerun, amid the same troubles.

Chance decides whether what failed is mended, from which step on the rerun begins, and which inputs
are others; and whether the rerun is rerun in turn. At rest each of them is what plain Python says
of it (`tests.tools.random_flows.reused`): what is reused has the result of the first time and ran
no code, and everything else ran. Programs are rerun as they are: they end as they did before.
Some runs are canvases of Celery tasks, nested chords among them, whose reruns may be mended.
"""

import copy
import random
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Final
from unittest import mock

from flowq import bootstrap
from flowq.canvas.program import canvas
from flowq.core.ids import RunId, StepRunId
from flowq.core.states import RunState
from flowq.engine.engine import Engine
from flowq.engine.runs import reruns, submission
from flowq.engine.runs.signals import newest
from flowq.engine.runtime.context import StepContext
from tests.chaos.simulation.checks import Broken
from tests.chaos.simulation.database import Database
from tests.chaos.simulation.play import Job, Play
from tests.chaos.simulation.report import Report
from tests.tools.random_flows import canvases
from tests.tools.random_flows.expected import Expected, evaluate
from tests.tools.random_flows.programs import Node, Program
from tests.tools.random_flows.reused import Earlier

#: More than any step fails.
_NEVER_FAILS: Final = 1_000
_MENDED: Final = "mended"
#: Share of the seeds whose run is a canvas.
_CANVASES: Final = 0.25
#: The idempotency key of the outermost run of a run.
_KEY: Final = """
WITH RECURSIVE up(parent, name) AS (
    SELECT parent_step_run_id, idempotency_key FROM flow_runs WHERE id = ?
    UNION ALL SELECT r.parent_step_run_id, r.idempotency_key FROM up
    JOIN flow_step_runs s ON s.id = up.parent JOIN flow_runs r ON r.id = s.flow_run_id
) SELECT name FROM up WHERE parent IS NULL
"""
#: Reused rows whose result is not that of the row that made it.
_OTHER_RESULTS: Final = """
SELECT s.id FROM flow_step_runs s JOIN flow_step_runs made ON made.id = s.cached_from
WHERE json_extract(s.result, '$.sha256') IS NOT json_extract(made.result, '$.sha256')
"""


@dataclass
class Rerun(Job):
    """A rerun that a client wants, once the earlier run has ended.

    Attributes:
        key: Its idempotency key.
        inputs: The inputs that are others.
        given: What the program is given.
    """

    earlier: Job = field(kw_only=True)
    key: str = field(kw_only=True)
    inputs: dict[str, Any] = field(default_factory=dict)
    from_step: str | None = None
    given: list[int] = field(default_factory=list)

    @property
    def is_mended(self) -> bool:
        """Whether none of its steps fails."""
        return self.key.startswith(_MENDED)


class RerunPlay(Play):
    """One seed with reruns."""

    in_turn = frozenset()

    def __init__(self, database: Database, seed: int) -> None:
        super().__init__(database, seed)
        self._events = self._chance.randint(60, 200)
        if self._chance.random() < _CANVASES:
            tree = canvases.random_tree(self._chance)
            # Of a program in the words of plays: it waits for nothing by its own wish.
            program = {"body": [], "again": 0, "tree": tree}
            self._jobs = [Job(RunId(self._world.new_id()), program)]
            self._world.never_lost()
        for number, job in enumerate([one for one in self._jobs if not one.signals]):
            self._add(job, f"{number}")

    def run(self) -> Report:
        """Play it to its end."""
        with mock.patch.object(bootstrap, "app", return_value=canvases.app):
            return super().run()

    def _add(self, job: Job, name: str) -> None:
        chance = self._chance
        key = f"{_MENDED if chance.random() < 0.6 else 'again'} {name}"
        if "tree" in job.program:
            again = Rerun(job.run_id, job.program, earlier=job, key=key)
        elif job.is_async:
            again = Rerun(job.run_id, job.program, earlier=job, key=f"again {name}")
        else:
            again = _random_rerun(chance, job, key)
        self._jobs.append(again)
        if chance.random() < 0.4 and name.count(".") < 2:
            self._add(again, f"{name}.1")

    def _wanted(self) -> list[Job]:
        return [job for job in super()._wanted() if not isinstance(job, Rerun) or self._may(job)]

    def _may(self, job: Rerun) -> bool:
        return job.earlier.accepted and not self._is_open(job.earlier)

    def _begin(self, engine: Engine, job: Job) -> None:
        if not isinstance(job, Rerun):
            if "tree" in job.program:
                inputs = canvases.inputs_of(job.program["tree"])
                submission.submit(engine, canvas.type, inputs, run_id=job.run_id)
            else:
                super()._begin(engine, job)
            return
        if self._troubled:
            self._world.faults_left = max(self._world.faults_left, 2)
        job.run_id = reruns.rerun(
            engine,
            newest(engine, job.earlier.run_id),
            from_step=job.from_step,
            inputs=job.inputs or None,
            idempotency_key=job.key,
        )
        self._world.counts["reruns"] += 1

    def _attempt(self, here: StepContext) -> int:
        number = super()._attempt(here)
        found = self._world.database.query(_KEY, here.run_id.hex)
        return _NEVER_FAILS if (found[0][0] or "").startswith(_MENDED) else number

    def _compare(self) -> None:
        super()._compare()
        query = self._world.database.query
        if found := query(_OTHER_RESULTS):
            raise Broken(f"{self._watch.name(found[0][0])} is reused with another result")
        reused = "SELECT count(*) FROM flow_step_runs WHERE cached_from IS NOT NULL"
        self._world.counts["reused"] += query(reused)[0][0]

    def _foreseen(self, job: Job) -> tuple[RunState, Any]:
        if "tree" not in job.program:
            return super()._foreseen(job)
        # What a run of the chain has mended stays so: the reruns of it reuse that.
        value = canvases.evaluate(job.program["tree"], is_mended=_is_mended(job))
        return RunState.FAILED if value is None else RunState.COMPLETED, value

    def _expected(self, job: Job, lost: Collection[StepRunId]) -> Expected:
        if not isinstance(job, Rerun):
            return super()._expected(job, lost)
        earlier = Earlier.read(self._reader, job.earlier.run_id, fork=job.from_step)
        return evaluate(
            job.program,
            job.run_id,
            lost=lost,
            given=job.given,
            earlier=earlier,
            is_mended=job.is_mended,
        )


def _is_mended(job: Job) -> bool:
    """Return whether a run, or one that it reruns, was one whose steps do not fail."""
    return isinstance(job, Rerun) and (job.is_mended or _is_mended(job.earlier))


def _random_rerun(chance: random.Random, job: Job, key: str) -> Rerun:
    """Make a rerun of a graph: mended or not, from a step on, with inputs that are others."""
    again = Rerun(job.run_id, job.program, earlier=job, key=key)
    again.given = list(job.given) if isinstance(job, Rerun) else []
    kind = chance.random()
    if kind < 0.3:
        again.program = _changed(chance, job.program)
        again.inputs = {"nodes": again.program["nodes"], "outputs": again.program["outputs"]}
    elif kind < 0.4:
        again.given = [chance.randint(1, 9)]
        again.inputs = {"given": again.given}
    if chance.random() < 0.4:
        again.from_step = _random_step(chance, again.program["nodes"])
    return again


def _changed(chance: random.Random, program: Program) -> Program:
    """Change what one node does, or one in a child program."""
    changed = copy.deepcopy(program)
    node = chance.choice(changed["nodes"])
    if "child" in node and chance.random() < 0.7:
        node["child"] = _changed(chance, node["child"])
    elif chance.random() < 0.5:
        node["fails"] = [0 for _ in node["fails"]]
    else:
        node["unlike"], node["size"] = chance.randint(0, 3), chance.choice([1, 2, 3])
    return changed


def _random_step(chance: random.Random, nodes: list[Node]) -> str:
    number = chance.randrange(len(nodes))
    op = nodes[number]["op"]
    if op not in {"map", "list", "remap", "fan"}:
        return f"n{number}"
    lists = [f"list{number}"] if op == "map" else []
    return chance.choice([f"n{number}", f"n{number}[{chance.randint(0, 2)}]", *lists])
