"""The routes of blueprints: their versions, clones and templates.

POST   /api/v2/blueprints               a blueprint becomes version 1 of its lineage
GET    /api/v2/blueprints, /templates   the newest versions that one may read
GET    /api/v2/blueprints/{id}, /{id}/versions
PUT    /api/v2/blueprints/{id}          the next version: a new row with a new id
DELETE /api/v2/blueprints/{id}          all its versions
POST   /api/v2/blueprints/{id}/clone
"""

from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Query, Response

from flowq import bootstrap
from flowq.engine.model.documents import Viewer
from flowq.entrypoints.http.blueprints import models
from flowq.entrypoints.http.blueprints.access import ViewerHere
from flowq.entrypoints.http.bodies import StrictRoute
from flowq.entrypoints.http.problems import documented
from flowq.playbooks.blueprints import catalogue
from flowq.playbooks.blueprints.catalogue import Terms

router = APIRouter(prefix="/api/v2", tags=["blueprints"], route_class=StrictRoute)

_PAGE: Final = 100
_Before = Annotated[UUID | None, Query(description="Only those that were changed before this.")]
_Limit = Annotated[int, Query(ge=1, le=500)]


@router.post("/blueprints", status_code=201)
def create(
    given: models.NewBlueprint, viewer: ViewerHere, response: Response
) -> models.StoredBlueprint:
    """Store a blueprint; one without nodes is a draft."""
    terms = Terms(given.is_template, given.visibility, given.team_id)
    made = catalogue.create(bootstrap.engine(), given.blueprint, viewer, terms)
    response.headers["Location"] = f"/api/v2/blueprints/{made.id}"
    return models.StoredBlueprint.whole(made)


@router.get("/blueprints")
def list_blueprints(
    viewer: ViewerHere,
    template: Annotated[bool | None, Query(description="Only templates, or only others.")] = None,
    before: _Before = None,
    limit: _Limit = _PAGE,
) -> models.BlueprintList:
    """List the newest version of each blueprint that one may read, the latest change first."""
    return _listed(viewer, before, limit, is_template=template)


@router.get("/templates")
def list_templates(
    viewer: ViewerHere, before: _Before = None, limit: _Limit = _PAGE
) -> models.BlueprintList:
    """List the templates that one may read and clone."""
    return _listed(viewer, before, limit, is_template=True)


def _listed(
    viewer: Viewer, before: UUID | None, limit: int, *, is_template: bool | None
) -> models.BlueprintList:
    found = catalogue.listed(
        bootstrap.engine(), viewer, is_template=is_template, before=before, limit=limit + 1
    )
    part = [models.BlueprintHead.of(head) for head in found[:limit]]
    return models.BlueprintList(blueprints=part, next=part[-1].id if len(found) > limit else None)


@router.get("/blueprints/{blueprint_id}")
def show(blueprint_id: UUID, viewer: ViewerHere) -> models.StoredBlueprint:
    """Return a version of a blueprint, the newest or an old one."""
    found = catalogue.get(bootstrap.engine(), blueprint_id, viewer)
    return models.StoredBlueprint.whole(found)


@router.get("/blueprints/{blueprint_id}/versions")
def versions(blueprint_id: UUID, viewer: ViewerHere) -> models.BlueprintList:
    """List the versions of a blueprint, the newest first, 100 at most."""
    found = catalogue.versions(bootstrap.engine(), blueprint_id, viewer)
    return models.BlueprintList(
        blueprints=[models.BlueprintHead.of(head) for head in found], next=None
    )


@router.put(
    "/blueprints/{blueprint_id}",
    responses=documented({409: "There is a newer version; `hint` says which."}),
)
def update(
    blueprint_id: UUID, changes: models.BlueprintChanges, viewer: ViewerHere
) -> models.StoredBlueprint:
    """Store the next version of a blueprint; it has a new id, and the old one stays."""
    made = catalogue.update(bootstrap.engine(), blueprint_id, changes.given, viewer)
    return models.StoredBlueprint.whole(made)


@router.delete("/blueprints/{blueprint_id}")
def delete(blueprint_id: UUID, viewer: ViewerHere) -> models.Deleted:
    """Delete all versions of a blueprint; its instances stay."""
    return models.Deleted(deleted=catalogue.delete(bootstrap.engine(), blueprint_id, viewer))


@router.post("/blueprints/{blueprint_id}/clone", status_code=201)
def clone(
    blueprint_id: UUID, viewer: ViewerHere, response: Response, body: models.Clone | None = None
) -> models.StoredBlueprint:
    """Make a private copy of a blueprint that one may read."""
    changes = body.given if body is not None else {}
    made = catalogue.clone(bootstrap.engine(), blueprint_id, viewer, changes)
    response.headers["Location"] = f"/api/v2/blueprints/{made.id}"
    return models.StoredBlueprint.whole(made)
