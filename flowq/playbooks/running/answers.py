"""Values of an execution as answers show them: up to 64 KiB as they are, larger ones named.

    {"kind": "ref", "ref": "flowq://RUN/CALL/PATH", "size": 8388608, "sha256": "…", "preview": "…"}

`GET /api/runs/RUN/steps/CALL/result?path=/PATH` gives that value. A list that is made of several
results is `{"kind": "refs", "parts": […]}` when it is large. What a document holds, or a template
has computed, is in no result, and is always shown.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import groupby
from typing import Any, Final

from pydantic_core import to_json

from flowq.core.ids import RunId
from flowq.core.references import Concat, Reference, follow
from flowq.core.results import ResultRef, StorageKind
from flowq.core.text.json_values import shown
from flowq.engine.advance.resolve import copies_of, load, lookup
from flowq.engine.engine import Engine
from flowq.engine.model.rows import StoredStep
from flowq.playbooks.control.carrying import argument
from flowq.playbooks.control.commands import TEXT, Deferred
from flowq.playbooks.running.log import LogEvent

#: Bytes of results that one answer shows of one value, or of the payload of one event.
_MOST: Final = 64 * 1024
#: Bytes of the begin of a large value.
_PREVIEW: Final = 1024


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of a part of a result.

    Attributes:
        value: The value itself, if it is small.
        size: Its bytes as JSON.
    """

    value: Any
    size: int
    sha256: str
    begin: bytes


class Answers:
    """Makes answers of one execution; each result that they name is read once.

    Args:
        engine: Where it is recorded.
        run_id: Its run.
    """

    def __init__(self, engine: Engine, run_id: RunId) -> None:
        self._engine = engine
        self._run_id = run_id
        self._known: dict[Reference, _Known] = {}

    def value(self, value: Any) -> Any:
        """Return the JSON of a value of the execution's state."""
        return self.values({"": value})[""]

    def values(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the JSON of several values, as `value` each."""
        data = {name: argument(value) for name, value in values.items()}
        self._read(list(data.values()))
        answer = _Answer(self._run_id, self._known)
        return {name: answer.again().shown(one) for name, one in data.items()}

    def events(self, events: Sequence[LogEvent]) -> list[LogEvent]:
        """Return events of its log, with payloads of JSON."""
        self._read([one.payload for one in events])
        answer = _Answer(self._run_id, self._known)
        return [replace(one, payload=answer.again().shown(one.payload)) for one in events]

    def _read(self, data: Sequence[Any]) -> None:
        wanted = dict.fromkeys(one for value in data for one in _references(value))
        new = [one for one in wanted if one not in self._known]
        if not new:
            return
        keys = list({one.step for one in new})
        records = self._engine.records
        rows = records.autocommit(lambda tx: tx.steps.stored(self._run_id, keys))
        by_key = {row.key: row for row in rows}
        small = {key: ref for key, row in by_key.items() if (ref := _small(row)) is not None}
        values = dict(zip(small, load(self._engine, list(small.values())), strict=True))
        rest: list[Reference] = []
        for one in new:
            row = by_key[one.step]
            if one.step in values:
                self._known[one] = _known(follow(values[one.step], one.path, one))
            elif row.result is not None and row.map_size is None and not one.path:
                self._known[one] = self._unread(row.result)
            else:
                rest.append(one)
        # One large result after the other, so that few are in memory.
        for _, some in groupby(sorted(rest, key=lambda one: one.step), lambda one: one.step):
            group = list(some)
            find = lookup(self._engine, self._run_id, group)
            self._known |= {one: _known(find(one)) for one in group}

    def _unread(self, ref: ResultRef) -> _Known:
        """Return what is known of a large result without reading it."""
        parts = self._engine.results.stream(ref, copies_of(self._engine))
        return _Known(None, ref.size, ref.sha256, next(parts, b"")[:_PREVIEW])


@dataclass(slots=True)
class _Answer:
    """One answer.

    Attributes:
        left: How many bytes of results it may still show.
    """

    run_id: RunId
    known: Mapping[Reference, _Known]
    left: int = _MOST

    def again(self) -> "_Answer":
        """Return one that has shown nothing."""
        return replace(self, left=_MOST)

    def shown(self, value: Any) -> Any:
        """Return JSON data."""
        if isinstance(value, Reference):
            return self._part(value)
        if isinstance(value, Concat):
            return self._list(value)
        if isinstance(value, Deferred):
            return {TEXT: value.template, "names": self.shown(value.names)}
        if isinstance(value, Mapping):
            return {key: self.shown(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.shown(item) for item in value]
        return value

    def _part(self, reference: Reference) -> Any:
        known = self.known[reference]
        if known.size <= self.left:
            self.left -= known.size
            return known.value
        path = "".join(f"/{_escaped(str(part))}" for part in reference.path)
        return {
            "kind": "ref",
            "ref": f"flowq://{self.run_id}/{reference.step}{path}",
            "size": known.size,
            "sha256": known.sha256,
            "preview": known.begin.decode(errors="ignore"),
        }

    def _list(self, value: Concat) -> Any:
        size = sum(self.known[one].size for one in _references(value.parts))
        if size > self.left:
            return {"kind": "refs", "parts": [self.shown(part) for part in value.parts]}
        return [one for part in value.parts for one in self.shown(part)]


def _escaped(part: str) -> str:
    """Return a part of a path as in a JSON Pointer."""
    return part.replace("~", "~0").replace("/", "~1")


def _references(value: Any) -> Iterator[Reference]:
    if isinstance(value, Reference):
        yield value
    elif isinstance(value, Concat):
        yield from _references(value.parts)
    elif isinstance(value, Deferred):
        yield from _references(value.names)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _references(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _references(item)


def _small(row: StoredStep) -> ResultRef | None:
    ref = row.result
    is_small = ref is not None and ref.place is not StorageKind.NOWHERE and ref.size <= _MOST
    return ref if is_small and row.map_size is None else None


def _known(value: Any) -> _Known:
    """Return what is known of a value that was read; what has no JSON form is shown as text.

    Results are stored by the same encoder, so the bytes are those that are sent.
    """
    data = to_json(shown(value), fallback=str)
    kept = value if len(data) <= _MOST else None
    return _Known(kept, len(data), sha256(data).hexdigest(), data[:_PREVIEW])
