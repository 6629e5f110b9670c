"""Unit tests of the values that the steps of a process share."""

from flowq.core.results import ResultRef, StorageKind
from flowq.engine.results.value_cache import ValueCache, own_copy


def ref(key: str, size: int, codec: str = "json") -> ResultRef:
    return ResultRef(place=StorageKind.ROW, key=key, size=size, codec=codec)


def test_what_was_put_last_is_kept_and_what_was_used_least_leaves() -> None:
    """The bound is on encoded bytes."""
    recent = ValueCache(most_bytes=100)
    recent.put(ref("a", 40), ["a"])
    recent.put(ref("b", 40), ["b"])
    recent.get(ref("a", 40))

    recent.put(ref("c", 40), ["c"])

    assert (["a"],) == recent.get(ref("a", 40))
    assert recent.get(ref("b", 40)) is None
    assert (["c"],) == recent.get(ref("c", 40))


def test_value_that_would_fill_it_alone_is_not_kept() -> None:
    """One huge list must not throw out all others."""
    recent = ValueCache(most_bytes=100)
    recent.put(ref("huge", 51), [])

    assert recent.get(ref("huge", 51)) is None


def test_only_json_is_shared() -> None:
    """Copies of tables and arrays would cost more than they spare."""
    recent = ValueCache()
    recent.put(ref("table", 5, codec="arrow"), object())

    assert recent.get(ref("table", 5, codec="arrow")) is None


def test_reader_may_change_its_part() -> None:
    """What one step does to its input is not seen by the next one."""
    shared = [{"x": 1}]

    own_copy(shared[0])["x"] = 2

    assert [{"x": 1}] == shared
