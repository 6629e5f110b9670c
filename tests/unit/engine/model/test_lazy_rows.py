"""A sequence that makes its values when they are read behaves as a tuple of them."""

import pytest

from flowq.engine.model.lazy_rows import LazySequence

MADE = LazySequence(3, lambda index: index * 10)


def test_it_reads_as_a_tuple() -> None:
    assert list(MADE) == [0, 10, 20]
    assert len(MADE) == 3
    assert (MADE[0], MADE[-1], MADE[1:], MADE[::-1]) == (0, 20, [10, 20], [20, 10, 0])
    assert 20 in MADE
    assert MADE
    assert not LazySequence(0, lambda index: index)


@pytest.mark.parametrize("index", [3, -4])
def test_there_is_nothing_beyond_its_ends(index: int) -> None:
    with pytest.raises(IndexError):
        MADE[index]


def test_values_are_made_when_they_are_read() -> None:
    made: list[int] = []

    def make(index: int) -> int:
        made.append(index)
        return index

    values = LazySequence(100_000, make)

    assert values[7] == 7
    assert made == [7]
