"""Size decides where a result lies; what was lost or changed on the way is found."""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from flowq.adapters.results.memory import MemoryCache, MemoryObjects
from flowq.core.errors import InvalidOutput, ResultCorrupt, ResultMissing
from flowq.core.ids import LeaseToken, RunId, StepRunId
from flowq.core.results import NO_RESULT, ResultRef, StorageKind
from flowq.engine.results.codecs import local_files
from flowq.engine.results.store import ResultStore, Stored

RUN, STEP, TOKEN = RunId(UUID(int=1)), StepRunId(UUID(int=2)), LeaseToken(UUID(int=3))
THRESHOLD = 100


class Shelf:
    """Results over memory, with rows that count how often they are read."""

    def __init__(self, *, cached: bool = True) -> None:
        self.cache = MemoryCache()
        self.objects = MemoryObjects()
        self.results = ResultStore(self.cache if cached else None, lambda: self.objects, THRESHOLD)
        self.rows: dict[str, bytes] = {}
        self.asked: list[Sequence[str]] = []

    def store(self, value: Any, annotation: Any = Any, token: int = 3) -> ResultRef:
        stored = self.results.store(
            value,
            annotation,
            run_id=RUN,
            step_id=STEP,
            token=LeaseToken(UUID(int=token)),
            where="measure",
        )
        if stored.copy is not None:
            self.rows[stored.ref.key] = stored.copy
        return stored.ref

    def copies(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        self.asked.append(keys)
        return {key: self.rows[key] for key in keys if key in self.rows}

    def load(self, *refs: ResultRef) -> list[Any]:
        return self.results.load_many(refs, self.copies)


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.mark.parametrize(
    "value,size",
    [
        ("x" * 99, 99),
        ("x" * 100, 100),
        ("x" * 101, 101),
        ("é" * 50, 100),
        ("é" * 50 + "x", 101),
        ("🙂" * 25, 100),
        ("🙂" * 25 + "x", 101),
        (b"\xff" * 100, 100),
        (b"\xff" * 101, 101),
        (["x" * 96], 100),
        (["x" * 97], 101),
        (["é" * 48], 100),
        (["é" * 48 + "x"], 101),
    ],
)
def test_more_than_the_threshold_goes_to_the_object_store(
    shelf: Shelf, value: Any, size: int
) -> None:
    """The bytes count, not the characters; exactly the threshold is still small."""
    ref = shelf.store(value)
    assert size == ref.size
    assert (StorageKind.OBJECT if size > THRESHOLD else StorageKind.ROW) == ref.place
    assert (size > THRESHOLD) == bool(shelf.objects.keys())
    assert (size > THRESHOLD) == (not shelf.rows)
    assert [value] == shelf.load(ref)


def test_none_has_no_bytes_anywhere(shelf: Shelf) -> None:
    assert NO_RESULT == shelf.store(None)
    assert Stored(NO_RESULT) == Stored(NO_RESULT, None)
    assert [None] == shelf.load(NO_RESULT)
    assert not shelf.rows


def test_none_where_a_value_is_annotated_is_refused(shelf: Shelf) -> None:
    with pytest.raises(InvalidOutput, match="measure"):
        shelf.store(None, int)


@pytest.mark.parametrize("value", [[], "", b"", 0, False, {}])
def test_an_empty_value_is_a_value(shelf: Shelf, value: Any) -> None:
    ref = shelf.store(value)
    assert StorageKind.ROW == ref.place
    assert [value] == shelf.load(ref)


def test_keys_hold_the_lease_token(shelf: Shelf) -> None:
    """A loser of a lease overwrites nothing that a winner wrote."""
    small, large = shelf.store(1), shelf.store("x" * 101)
    assert f"flowq:result:{STEP}:{TOKEN}" == small.key
    assert f"results/{RUN}/{STEP}/{TOKEN}" == large.key
    again = shelf.store("y" * 101, token=4)
    assert ["x" * 101, "y" * 101] == shelf.load(large, again)


def test_a_reference_describes_the_bytes(shelf: Shelf) -> None:
    ref = shelf.store([1, 2, 3])
    assert ("json", 7, 3, "application/json") == (ref.codec, ref.size, ref.length, ref.media_type)
    assert sha256(b"[1,2,3]").hexdigest() == ref.sha256


def test_small_results_are_read_from_the_cache_alone(shelf: Shelf) -> None:
    refs = [shelf.store(n, token=n) for n in range(1, 20)]
    assert list(range(1, 20)) == shelf.load(*refs)
    assert [] == shelf.asked


def test_what_the_cache_lost_is_read_from_the_rows_at_once_and_put_back(shelf: Shelf) -> None:
    refs = [shelf.store(n, token=n) for n in range(1, 5)]
    shelf.cache.clear()
    kept = shelf.store("kept", token=9)
    assert [1, 2, "kept", 3, 4] == shelf.load(refs[0], refs[1], kept, refs[2], refs[3])
    assert [[ref.key for ref in refs]] == shelf.asked
    shelf.asked.clear()
    assert [1, 2, 3, 4] == shelf.load(*refs)
    assert [] == shelf.asked


def test_without_a_cache_rows_are_read() -> None:
    shelf = Shelf(cached=False)
    assert [5] == shelf.load(shelf.store(5))


def test_a_wrong_value_in_the_cache_is_replaced_from_the_row(shelf: Shelf) -> None:
    ref = shelf.store({"a": 1})
    shelf.cache.put(ref.key, b'{"a":2}')
    assert [{"a": 1}] == shelf.load(ref)
    assert [b'{"a":1}'] == shelf.cache.get_many([ref.key])


def test_a_row_that_spaces_its_json_differently_is_read_but_not_cached(shelf: Shelf) -> None:
    ref = shelf.store({"a": 1})
    shelf.cache.clear()
    shelf.rows[ref.key] = b'{"a": 1}'
    assert [{"a": 1}] == shelf.load(ref)
    assert [None] == shelf.cache.get_many([ref.key])


def test_a_result_that_no_row_holds_is_missing(shelf: Shelf) -> None:
    ref = shelf.store(1)
    shelf.cache.clear()
    shelf.rows.clear()
    with pytest.raises(ResultMissing, match=ref.key):
        shelf.load(ref)


def test_an_object_that_is_gone_is_missing(shelf: Shelf) -> None:
    ref = shelf.store("x" * 101)
    shelf.objects.delete([ref.key])
    with pytest.raises(ResultMissing, match=ref.key) as caught:
        shelf.load(ref)
    assert "start a new run" in str(caught.value)


@pytest.mark.parametrize("found", [b"y" * 101, b"x" * 100, b""])
def test_an_object_that_was_changed_is_corrupt(shelf: Shelf, found: bytes) -> None:
    ref = shelf.store("x" * 101)
    shelf.objects.put(ref.key, found)
    with pytest.raises(ResultCorrupt, match="101 bytes were written"):
        shelf.load(ref)
    with pytest.raises(ResultCorrupt, match=ref.key):
        shelf.load(ref)


def test_a_repeated_reference_is_loaded_once(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = shelf.store([1]), shelf.store(["x" * 101], token=4)
    read: list[str] = []
    get = shelf.objects.get

    def counting(key: str) -> bytes:
        read.append(key)
        return get(key)

    monkeypatch.setattr(shelf.objects, "get", counting)
    values = shelf.load(large, small, large, small, NO_RESULT)
    assert [["x" * 101], [1], ["x" * 101], [1], None] == values
    assert values[0] is values[2]
    assert [large.key] == read


def test_the_store_is_not_touched_for_small_results() -> None:
    """A store must be opened only by a process that needs it."""

    def refuse() -> MemoryObjects:
        raise AssertionError

    results = ResultStore(MemoryCache(), refuse, THRESHOLD)
    stored = results.store(1, run_id=RUN, step_id=STEP, token=TOKEN)
    assert 1 == results.load(stored.ref, lambda keys: {})


@pytest.mark.parametrize("size", [3, 101, 9_000_000])
def test_files_travel_by_content(shelf: Shelf, tmp_path: Path, size: int) -> None:
    path = tmp_path / "facts.bin"
    path.write_bytes(b"x" * size)
    ref = shelf.store(path, Path)
    assert (size, size > THRESHOLD) == (ref.size, ref.place is StorageKind.OBJECT)
    with local_files():
        (copy,) = shelf.load(ref)
        assert ("facts.bin", path.read_bytes()) == (copy.name, copy.read_bytes())
    assert not copy.exists()


def test_a_changed_object_leaves_no_file(shelf: Shelf, tmp_path: Path) -> None:
    path = tmp_path / "facts.bin"
    path.write_bytes(b"x" * 101)
    ref = shelf.store(path, Path)
    shelf.objects.put(ref.key, b"y" * 101)
    with local_files(), pytest.raises(ResultCorrupt):
        shelf.load(ref)
