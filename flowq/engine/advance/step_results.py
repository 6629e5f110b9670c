"""The stored results of steps for those who show or send them: sizes and bytes, without decoding.

A result of JSON is sent as its stored bytes, part by part. That of a map is the list of the results
of its items, which is made while it is sent; an item that was allowed to fail is a failure in it.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from flowq.core.errors import NotSerializable, StepError
from flowq.core.ids import RunId
from flowq.core.results import ResultRef, StorageKind
from flowq.core.states import StepState
from flowq.engine.advance.resolve import copies_of, failure
from flowq.engine.engine import Engine
from flowq.engine.model.rows import StoredStep
from flowq.engine.results.store import DATA_CODECS

_JSON: Final = "application/json"


@dataclass(frozen=True, slots=True)
class StepResult:
    """The result of a step that has completed.

    Attributes:
        ref: Where it is; None for a map, which has no bytes of its own.
        media_type: Of its bytes.
        parts: Its bytes; reading them may raise `ResultMissing`, `ResultCorrupt`,
            `StoreUnavailable`.
    """

    ref: ResultRef | None
    media_type: str
    parts: Iterator[bytes]


def step_result(engine: Engine, run_id: RunId, key: str) -> StepResult | None:
    """Return the result of a step of a run; None if it has no such step.

    Raises:
        StepError: the step has no result: it has not completed.
        NotSerializable: an item of a map has no JSON form.
    """
    rows = engine.records.autocommit(lambda tx: tx.steps.stored(run_id, [key]))
    if not rows:
        return None
    row = rows[0]
    if row.status is not StepState.COMPLETED:
        raise StepError(f"step {key} of run {run_id} has no result: it is {row.status}")
    if row.map_size is not None:
        items = engine.records.autocommit(lambda tx: tx.steps.items(run_id, key))
        _refuse_other_forms(items)
        return StepResult(None, _JSON, _list_of(engine, items))
    if row.result is None or row.result.place is StorageKind.NOWHERE:
        return StepResult(row.result, _JSON, iter([b"null"]))
    return StepResult(row.result, row.result.media_type, _bytes_of(engine, row.result))


def _bytes_of(engine: Engine, ref: ResultRef) -> Iterator[bytes]:
    return engine.results.stream(ref, copies_of(engine))


def _refuse_other_forms(items: Sequence[StoredStep]) -> None:
    for item in items:
        ref = item.result
        if ref and ref.place is not StorageKind.NOWHERE and ref.codec not in DATA_CODECS:
            raise NotSerializable(
                f"item {item.map_index} of {item.key} is {ref.media_type}, not JSON",
                hint="read the items one by one in a step",
            )


def _list_of(engine: Engine, items: Sequence[StoredStep]) -> Iterator[bytes]:
    yield b"["
    for number, item in enumerate(items):
        yield b"," if number else b""
        ref = item.result
        if item.status is StepState.FAILED:
            yield failure(item).model_dump_json().encode()
        elif ref is None or ref.place is StorageKind.NOWHERE:
            yield b"null"
        elif ref.codec == "text":
            text = b"".join(_bytes_of(engine, ref)).decode()
            yield json.dumps(text, ensure_ascii=False).encode()
        else:
            yield from _bytes_of(engine, ref)
    yield b"]"
