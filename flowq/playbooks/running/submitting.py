"""Starts executions of playbooks: runs of the one program, with the document as an input.

The run has the path of the playbook as its name. An execution id is text of the caller's and the
idempotency key of the run: the same id again is the same run.
"""

import copy
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final, Unpack
from uuid import UUID

from flowq.authoring.definitions.flows import AsyncFlow
from flowq.client import Run
from flowq.client.submitting import asubmit, submit
from flowq.engine.runs.options import SubmitOptions
from flowq.playbooks.document.models import Playbook
from flowq.playbooks.running.handle import PlaybookRun
from flowq.playbooks.running.program import playbook

#: What the metadata of a run of this face says of it.
FACE: Final = "playbooks"


def enqueue(
    document: Playbook,
    payload: Mapping[str, Any] | None = None,
    *,
    execution_id: str | None = None,
    document_id: UUID | None = None,
    **options: Unpack[SubmitOptions],
) -> PlaybookRun:
    """Start an execution on workers.

    Args:
        document: The playbook, which was checked.
        payload: Is merged over its workload.
        execution_id: The caller's own id; the same id again returns the same run.
        document_id: The stored document that it is.
        options: Options of the run; see `SubmitOptions`.

    Returns:
        The run. Its result has `status`, `final_step` and `result`.

    Raises:
        InvalidInput: the payload or an option does not fit; nothing was recorded.
        DatabaseUnavailable: the run could not be recorded.
    """
    inputs, options = _submission(document, payload, execution_id, options)
    return _handle(document, submit(playbook.type, inputs, document_id=document_id, **options))


async def aenqueue(
    document: Playbook,
    payload: Mapping[str, Any] | None = None,
    *,
    execution_id: str | None = None,
    document_id: UUID | None = None,
    **options: Unpack[SubmitOptions],
) -> PlaybookRun:
    """As `enqueue`, without blocking the event loop."""
    inputs, options = _submission(document, payload, execution_id, options)
    run = await asubmit(playbook.type, inputs, document_id=document_id, **options)
    return _handle(document, run)


def _handle(document: Playbook, run: Run[Any]) -> PlaybookRun:
    return PlaybookRun(run.id, document.metadata.path)


def _submission(
    document: Playbook,
    payload: Mapping[str, Any] | None,
    execution_id: str | None,
    options: SubmitOptions,
) -> tuple[dict[str, Any], SubmitOptions]:
    given: SubmitOptions = {**options}
    if execution_id is not None and given.get("idempotency_key") is None:
        given["idempotency_key"] = execution_id
    given["metadata"] = {**(given.get("metadata") or {}), "face": FACE}
    return _inputs(document.to_dict(), {"payload": payload, "execution_id": execution_id}), given


def _inputs(document: Mapping[str, Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs of the program; what is None is left to its default."""
    given = {name: value for name, value in inputs.items() if value is not None}
    return {"document": document, "payload": {}, **given}


def as_flow(document: Playbook) -> AsyncFlow[..., dict[str, Any]]:
    """Return a playbook as a flow, whose inputs are `payload` and `execution_id`."""
    made = copy.copy(playbook)
    complete = partial(_inputs, document.to_dict())
    made.type = replace(playbook.type, validate=lambda raw: playbook.type.validate(complete(raw)))
    return made
