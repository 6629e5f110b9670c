"""Finds a registered playbook for a program: a recorded step, so that a replay finds the same."""

import asyncio
from typing import Any

from flowq import bootstrap
from flowq.authoring.definitions.steps import step
from flowq.engine.model.documents import Document, DocumentKind
from flowq.engine.runtime.context import current


@step(name="flowq.playbook.find")
async def find(path: str, version: int | None = None) -> dict[str, Any] | None:
    """Return the registered playbook of a path, as the user of the run sees it; None without one.

    Args:
        path: Its path.
        version: Its version; None for the newest.
    """
    engine, run_id = bootstrap.engine(), current().run_id

    def look_up() -> Document | None:
        user = engine.definitions.get(run_id).definition.user_id
        return engine.records.autocommit(
            lambda tx: tx.documents.find(DocumentKind.PLAYBOOK, path, version, seen_by=user)
        )

    found = await asyncio.to_thread(look_up)
    return None if found is None else dict(found.content)
