"""Submits a document: reads it, compiles it and records the run.

The flow of the run is not registered: its spec is complete, and every worker knows its step types.
The inputs of the run are the sketch of the document; the contents are given values. The metadata
`face` marks the runs of documents.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from flowq import bootstrap
from flowq.blocks.compiling import compile_document
from flowq.blocks.document import Document, parse
from flowq.blocks.errors import Code, DocumentInvalid, Problem, PuppyException
from flowq.blocks.storage.layout import is_users
from flowq.client import Run
from flowq.core.spec import FlowSpec
from flowq.engine.engine import Engine
from flowq.engine.registry.registry import RegisteredFlow
from flowq.engine.runs import submission

#: What the metadata of a run of this face says of it.
FACE: Final = "blocks"


def submit(
    document: Mapping[str, Any] | str | bytes,
    *,
    user_id: str | None = None,
    idempotency_key: str | None = None,
    deadline: datetime | timedelta | None = None,
    engine: Engine | None = None,
) -> Run[dict[str, Any]]:
    """Start a run of a document on workers.

    Args:
        document: The document, as JSON text or as the data of it.
        user_id: Whose run it is.
        idempotency_key: A run of the same name that has this key is returned instead of a new one.
        deadline: When the run has to be over.
        engine: Where it is recorded and sent; else the engine of this process.

    Returns:
        The run; its result is the content of each block that an edge makes. A block that no edge
        has set keeps its initial content.

    Raises:
        DocumentInvalid: the document cannot run; nothing was recorded.
        PuppyException: 7304: it names a stored content of another user.
        InvalidInput: an option does not fit.
        DatabaseUnavailable: the run could not be recorded.
        StoreUnavailable: a large content could not be stored.
    """
    found, warnings = parse(document if isinstance(document, str | bytes) else _as_json(document))
    return start(
        found,
        warnings,
        user_id=user_id,
        idempotency_key=idempotency_key,
        deadline=deadline,
        engine=engine,
    )


def start(
    document: Document,
    warnings: Sequence[str] = (),
    *,
    user_id: str | None = None,
    idempotency_key: str | None = None,
    deadline: datetime | timedelta | None = None,
    engine: Engine | None = None,
) -> Run[dict[str, Any]]:
    """Start a run of a document that was read; as `submit`.

    Args:
        document: What `flowq.blocks.document.parse` has returned.
        warnings: Likewise.
        user_id: As of `submit`; so are the others.
        idempotency_key: Likewise.
        deadline: Likewise.
        engine: Likewise.
    """
    if user_id is not None:
        _refuse_others(document, user_id)
    if engine is None:
        bootstrap.refuse_eager()
        engine = bootstrap.engine()
    said = {"warnings": list(warnings)} if warnings else {}
    sketch = document.sketch() | said
    _refuse_large(sketch, engine.policies.input_limit_bytes)
    compiled = compile_document(document)
    flow = flow_of(compiled.spec)
    run_id = submission.submit(
        engine,
        flow,
        sketch,
        values=compiled.values,
        metadata={"face": FACE, **said},
        user_id=user_id,
        idempotency_key=idempotency_key,
        deadline=deadline,
    )
    return Run(run_id, flow.name)


def _refuse_others(document: Document, user_id: str) -> None:
    """Refuse a document that names a stored content of another user than this one."""
    for key, block in document.blocks.items():
        named = block.external.get("resource_key") if isinstance(block.external, dict) else None
        if block.external and not is_users(str(named), user_id):
            raise PuppyException(
                Code.TASK_REFUSED,
                f"block {key!r} names a stored content of another user",
                hint="name a resource_key of your own, as a frame of your task has it",
            )


def _refuse_large(sketch: Mapping[str, Any], limit: int) -> None:
    """Refuse a document whose graph is too large to be recorded with its run."""
    size = len(json.dumps(sketch))
    if size > limit:
        edges = len(sketch["edges"])
        text = f"its graph of {edges:,} edges has {size:,} bytes, the limit is {limit:,}"
        text += "; split the document, or raise FLOWQ_INPUT_LIMIT_BYTES"
        raise DocumentInvalid([Problem(Code.LIMIT, "", text)])


def _as_json(document: Mapping[str, Any]) -> str:
    try:
        return json.dumps(document)
    except (TypeError, ValueError, RecursionError) as error:
        raise DocumentInvalid([Problem(Code.NO_WORKFLOW, "", f"it is not JSON: {error}")]) from None


def flow_of(spec: FlowSpec) -> RegisteredFlow:
    """Return a spec as a flow, which is not registered."""
    return RegisteredFlow(spec.name, trace=lambda _: spec, validate=lambda inputs: inputs)
