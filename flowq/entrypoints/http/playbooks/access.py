"""Which execution a path names: by the id of its run, or by the id that its caller gave it.

A caller's id is bound to the document that the execution runs, and is the idempotency key of the
run, whose name is the path of the document. An execution of somebody else does not exist.
"""

from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Path

from flowq import bootstrap
from flowq.client import Run
from flowq.core.errors import RunNotFound
from flowq.core.ids import RunId
from flowq.engine.engine import Engine
from flowq.engine.model.rows import Definition
from flowq.entrypoints.http.auth import Caller
from flowq.entrypoints.http.runs.access import CallerHere
from flowq.entrypoints.http.runs.models import Text
from flowq.playbooks import catalogue
from flowq.playbooks.running.program import NAME


@dataclass(frozen=True, slots=True)
class Execution:
    """An execution that the caller may see; `id` is what the caller calls it."""

    id: str
    run: Run[Any]


def execution_of(execution_id: str, caller: Caller) -> Execution | None:
    """Return an execution; None if there is none, or none that the caller may see."""
    engine = bootstrap.engine()
    bound = catalogue.execution(engine, execution_id, seen_by=caller.sees)
    for run_id in filter(None, (_as_run(execution_id), bound)):
        known = _definition(engine, run_id)
        program = known.spec.program if known is not None else None
        if known is None or program is None or program.name != NAME:
            continue
        if caller.may_see(known.user_id):
            return Execution(execution_id, Run(run_id, known.flow_name))
    return None


def visible(execution_id: Annotated[Text, Path()], caller: CallerHere) -> Execution:
    """Return the execution of a path.

    Raises:
        RunNotFound: there is none, or the caller may not see it.
    """
    found = execution_of(execution_id, caller)
    if found is None:
        raise RunNotFound(f"there is no execution {execution_id}")
    return found


#: The execution of the path, which the caller may see.
ExecutionHere = Annotated[Execution, Depends(visible)]


def _definition(engine: Engine, run_id: RunId) -> Definition | None:
    return engine.records.autocommit(lambda tx: tx.runs.definition(run_id))


def _as_run(text: str) -> RunId | None:
    try:
        return RunId(UUID(text))
    except ValueError:
        return None
