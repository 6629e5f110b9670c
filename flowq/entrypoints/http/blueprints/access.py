"""The blueprints and instances that a caller may see.

An instance of somebody else is answered as one that does not exist.
"""

from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Path

from flowq import bootstrap
from flowq.client import Run
from flowq.core.errors import RunNotFound
from flowq.core.ids import RunId
from flowq.engine.model.documents import DocumentKind, Viewer
from flowq.engine.queries.instances import DocumentRun
from flowq.entrypoints.http.auth import Role
from flowq.entrypoints.http.runs.access import CallerHere


def viewer(caller: CallerHere) -> Viewer:
    """Return the caller as who asks for documents."""
    return Viewer(caller.user_id, caller.team_id, is_admin=caller.role is Role.ADMIN)


#: Who sends the request.
ViewerHere = Annotated[Viewer, Depends(viewer)]


@dataclass(frozen=True, slots=True)
class FoundInstance:
    """An instance that the caller may see."""

    run: Run[Any]
    document: DocumentRun


def visible(instance_id: Annotated[UUID, Path()], caller: CallerHere) -> FoundInstance:
    """Return the instance of a path.

    Raises:
        RunNotFound: there is none, or the caller may not see it.
    """
    run_id, engine = RunId(instance_id), bootstrap.engine()
    known = engine.records.autocommit(lambda tx: tx.runs.stand_in(run_id))
    document = engine.records.autocommit(
        lambda tx: tx.overview.document_run(run_id, DocumentKind.BLUEPRINT)
    )
    if known is None or document is None or not caller.may_see(known.user_id):
        raise RunNotFound(
            f"there is no instance {instance_id}", hint="GET /api/v2/instances lists yours"
        )
    return FoundInstance(Run(run_id, known.flow_name), document)


#: The instance of the path, which the caller may see.
InstanceHere = Annotated[FoundInstance, Depends(visible)]
