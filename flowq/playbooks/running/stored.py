"""Finds registered playbooks: for a program, as a recorded step, and for who starts one."""

import asyncio
from typing import Any

from flowq import bootstrap
from flowq.authoring.definitions.steps import step
from flowq.engine.engine import Engine
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
        return registered(engine, path, version, seen_by=user)

    found = await asyncio.to_thread(look_up)
    return None if found is None else dict(found.content)


def registered(
    engine: Engine, path: str, version: int | None = None, *, seen_by: str | None
) -> Document | None:
    """Return a registered playbook.

    Args:
        engine: Where it is stored.
        path: Its path.
        version: Its version; None for the newest.
        seen_by: The user who asks; None sees all.
    """
    return engine.records.autocommit(
        lambda tx: tx.documents.find(DocumentKind.PLAYBOOK, path, version, seen_by=seen_by)
    )
