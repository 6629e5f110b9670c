"""Results: encoded once, stored by size, read by reference.

The number of encoded bytes decides: up to the threshold a result is in its step's row, with a copy
in the cache; above it only in the object store. An object is written before the row that references
it, under a key with the lease token: an attempt that lost its lease overwrites nothing, and
unreferenced objects can be deleted. The cache may lose anything at any moment; then the row is
read, and the cache filled again.

Data from the cache or the store is checked by digest. Data from the row is not: the database may
change the whitespace of JSON.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from flowq.core.errors import ResultCorrupt, ResultMissing
from flowq.core.ids import LeaseToken, RunId, StepRunId
from flowq.core.results import (
    NO_RESULT,
    ResultRef,
    StorageKind,
    given_key,
    object_key,
    row_key,
)
from flowq.engine.ports import ObjectStore, ResultCache
from flowq.engine.results.codecs import files
from flowq.engine.results.codecs.encoding import FILE, NONE, Encoded, decode, encode

logger = logging.getLogger(__name__)

#: From keys of small results to their durable copies; missing ones are left out.
Copies = Callable[[Sequence[str]], Mapping[str, bytes]]

#: Codecs whose bytes are UTF-8 text: of JSON data, or a text itself.
DATA_CODECS: Final = frozenset({"json", "json-floats", "text"})
_AGAIN: Final = "start the run again; `flowq doctor` checks the store that FLOWQ_RESULTS_URL names"


@dataclass(frozen=True, slots=True)
class Stored:
    """Where a result was stored.

    Attributes:
        ref: Its reference, for the step's row.
        copy: The bytes for the row; None when they are elsewhere, or there are none.
    """

    ref: ResultRef
    copy: bytes | None = None


class ResultStore:
    """Stores and loads results.

    Args:
        cache: Keeps small ones for a while; None: they are always read from the rows.
        objects: Returns the store of large ones. Called at first use: a store must be opened by the
            process that uses it.
        threshold_bytes: The largest result that goes into a row.
        inline_bytes: The largest result that is inside its reference and is not cached.
    """

    def __init__(
        self,
        cache: ResultCache | None,
        objects: Callable[[], ObjectStore],
        threshold_bytes: int,
        inline_bytes: int = 0,
    ) -> None:
        self._cache = cache
        self._inline = min(inline_bytes, threshold_bytes)
        self._objects = objects
        self._threshold = threshold_bytes

    @property
    def threshold_bytes(self) -> int:
        """The largest result that goes into a row."""
        return self._threshold

    @property
    def objects(self) -> ObjectStore:
        """The store of large results, opened; for processes that run steps only."""
        return self._objects()

    def store(
        self,
        value: Any,
        annotation: Any = Any,
        *,
        run_id: RunId,
        step_id: StepRunId,
        token: LeaseToken,
        where: str = "the step",
    ) -> Stored:
        """Store what an attempt returned.

        Args:
            value: What it returned.
            annotation: The step's return annotation.
            token: The attempt's lease.
            where: Name of the step, for errors.

        Raises:
            InvalidOutput: the annotation forbids the value.
            NotSerializable: no codec can store it.
            StoreUnavailable: it is large, and the object store cannot be used.
        """
        encoded = encode(value, annotation, where=where)
        if encoded.codec == NONE:
            return Stored(NO_RESULT)
        if encoded.size > self._threshold:
            return self._store_object(encoded, object_key(run_id, step_id, token))
        data = encoded.data.read_bytes() if isinstance(encoded.data, Path) else encoded.data
        inline = len(data) <= self._inline and encoded.codec in DATA_CODECS
        key, sha = row_key(step_id, token), sha256(data).hexdigest()
        ref = _ref(encoded, StorageKind.ROW, key, sha, len(data), data=data if inline else None)
        if not inline and self._cache is not None:
            self._cache.put(key, data)
        return Stored(ref, data)

    def give(self, value: Any, *, run_id: RunId, token: LeaseToken, room: int) -> ResultRef:
        """Store a value that a run is given: in its reference if it has no more than `room` bytes.

        Raises:
            NotSerializable: no codec can store it.
            StoreUnavailable: it is large, and the object store cannot be used.
        """
        encoded = encode(value, where="a given value")
        key = given_key(run_id, token)
        if encoded.codec == NONE:
            return NO_RESULT
        data = encoded.data
        if isinstance(data, Path) or encoded.codec not in DATA_CODECS or encoded.size > room:
            return self._store_object(encoded, key).ref
        return _ref(encoded, StorageKind.ROW, key, sha256(data).hexdigest(), len(data), data=data)

    def adopt(
        self, ref: ResultRef, copy: bytes | None, *, step_id: StepRunId, token: LeaseToken
    ) -> Stored:
        """Use a small result of another step, or None, as the result of an attempt."""
        if ref.place is not StorageKind.ROW or copy is None:
            return Stored(ref)
        own = ref.model_copy(update={"key": row_key(step_id, token)})
        if ref.data is None and self._cache is not None and _fits(ref, copy):
            self._cache.put(own.key, copy)
        return Stored(own, copy)

    def is_whole(self, ref: ResultRef, copy: bytes) -> bool:
        """Return whether a copy of a small result matches its reference, as far as known."""
        return not ref.sha256 or _fits(ref, copy)

    def _store_object(self, encoded: Encoded, key: str) -> Stored:
        data = encoded.data
        if isinstance(data, Path):
            sha, size = files.digest(data)
        else:
            sha, size = sha256(data).hexdigest(), len(data)
        self._objects().put(key, data)
        return Stored(_ref(encoded, StorageKind.OBJECT, key, sha, size))

    def load(self, ref: ResultRef, copies: Copies) -> Any:
        """Return one decoded value; see `load_many`."""
        return self.load_many([ref], copies)[0]

    def load_many(self, refs: Sequence[ResultRef], copies: Copies) -> list[Any]:
        """Return the decoded values of references, in their order; each is loaded once.

        Equal references give the same object.

        Args:
            copies: Reads rows, for small results that are not in the cache; called at most once.

        Raises:
            ResultMissing: a value is neither in its store nor in its row.
            ResultCorrupt: an object is not what was written.
            StoreUnavailable: the object store cannot be used.
            StepError: the codec is unknown, or its library is not installed.
        """
        unique = {ref.key: ref for ref in refs if ref.place is not StorageKind.NOWHERE}
        small = [ref for ref in unique.values() if ref.place is StorageKind.ROW]
        values = {
            key: decode(unique[key].codec, data, media_type=unique[key].media_type)
            for key, data in self._small(small, copies)
        }
        for key, ref in unique.items():
            if ref.place is StorageKind.OBJECT:
                values[key] = self._load_object(ref)
        return [None if ref.place is StorageKind.NOWHERE else values[ref.key] for ref in refs]

    def stream(self, ref: ResultRef, copies: Copies) -> Iterator[bytes]:
        """Yield the encoded bytes of a result, checked as a whole after the last.

        Raises:
            ResultMissing: it is neither in its store nor in its row.
            ResultCorrupt: the object is not what was written.
            StoreUnavailable: the object store cannot be used.
        """
        if ref.place is StorageKind.OBJECT:
            yield from _checked_parts(ref, self._objects().stream(ref.key))
        elif ref.place is StorageKind.ROW:
            for _, data in self._small([ref], copies):
                yield data

    def stored_size(self, ref: ResultRef) -> int | None:
        """Return the bytes of a reference's object; None when there is none.

        Raises:
            StoreUnavailable: the object store cannot be used.
        """
        return self._objects().size(ref.key)

    def _load_object(self, ref: ResultRef) -> Any:
        objects = self._objects()
        if ref.codec == FILE:
            parts = _checked_parts(ref, objects.stream(ref.key))
            return files.keep(parts, ref.media_type, ref.sha256)
        data = _checked(ref, objects.get(ref.key))
        return decode(ref.codec, data, media_type=ref.media_type)

    def _small(self, refs: Sequence[ResultRef], copies: Copies) -> Iterator[tuple[str, bytes]]:
        """Yield keys and bytes of small results: from the cache, missing ones from the rows."""
        yield from ((ref.key, ref.data.encode()) for ref in refs if ref.data is not None)
        lost = asked = [ref for ref in refs if ref.data is None]
        if self._cache is not None and asked:
            lost = []
            cached = self._cache.get_many([ref.key for ref in asked])
            for ref, data in zip(asked, cached, strict=True):
                if data is not None and _fits(ref, data):
                    yield ref.key, data
                    continue
                if data is not None:
                    logger.warning("the cache had a wrong value for %s; it is replaced", ref.key)
                lost.append(ref)
        if lost:
            yield from self._from_rows(lost, copies)

    def _from_rows(self, refs: Sequence[ResultRef], copies: Copies) -> Iterator[tuple[str, bytes]]:
        rows = copies([ref.key for ref in refs])
        for ref in refs:
            data = rows.get(ref.key)
            if data is None:
                raise ResultMissing(
                    f"a result is recorded under {ref.key}, but no row has it any more",
                    hint="its run was deleted, or ended long ago: start the run again",
                )
            # A copy with other whitespace, from the database, would not match the digest.
            if self._cache is not None and _fits(ref, data):
                self._cache.put(ref.key, data)
            yield ref.key, data


def _ref(
    encoded: Encoded,
    place: StorageKind,
    key: str,
    sha: str,
    size: int,
    *,
    data: bytes | None = None,
) -> ResultRef:
    return ResultRef(
        place=place,
        codec=encoded.codec,
        key=key,
        size=size,
        sha256=sha,
        media_type=encoded.media_type,
        length=encoded.length,
        data=None if data is None else data.decode(),
    )


def _fits(ref: ResultRef, data: bytes) -> bool:
    return len(data) == ref.size and sha256(data).hexdigest() == ref.sha256


def _checked(ref: ResultRef, data: bytes) -> bytes:
    if not _fits(ref, data):
        raise _corrupt(ref, len(data))
    return data


def _checked_parts(ref: ResultRef, parts: Iterable[bytes]) -> Iterator[bytes]:
    state, size = sha256(), 0
    for part in parts:
        state.update(part)
        size += len(part)
        yield part
    if size != ref.size or state.hexdigest() != ref.sha256:
        raise _corrupt(ref, size)


def _corrupt(ref: ResultRef, size: int) -> ResultCorrupt:
    found = f"{size} bytes" if size != ref.size else "other content of the same size"
    return ResultCorrupt(
        f"the object {ref.key} differs from what was stored: {ref.size} bytes were written, "
        f"{found} were read",
        hint=_AGAIN,
    )
