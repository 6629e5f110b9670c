"""Which steps of a share are sent next, and that others never wait behind a whole line."""

from collections import Counter, deque
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from flowq.core.limits.queueing import MAX_PRIORITY
from flowq.core.limits.shares import (
    IN_LINE_FROM,
    SENT_UNTIL,
    most_unclaimed,
    place_in_line,
    to_send,
)

YEAR = timedelta(days=365)


@given(
    window=st.integers(1, 12),
    lines=st.lists(st.integers(0, 60), min_size=1, max_size=4),
    data=st.data(),
)
def test_all_are_sent_once_within_the_window_and_nobody_waits_behind_a_line(
    window: int, lines: list[int], data: st.DataObject
) -> None:
    left = dict(enumerate(lines))
    unclaimed: Counter[int] = Counter()
    queue: deque[tuple[int, int]] = deque()  # of the share, and how many were before it
    claimed: Counter[int] = Counter()

    def send(share: int) -> None:
        now = min(to_send(window, unclaimed[share]), left[share])
        left[share] -= now
        unclaimed[share] += now
        for _ in range(now):
            queue.append((share, len(queue)))
        assert unclaimed[share] <= window
        # Someone will send the rest: whoever claims one of these.
        assert not left[share] or unclaimed[share] > most_unclaimed(window)

    waiting = data.draw(st.permutations(list(left)))
    while queue or waiting:
        if waiting and (not queue or data.draw(st.booleans())):
            send(waiting.pop())
            continue
        share, before = queue.popleft()
        assert before < window * len(lines)
        unclaimed[share] -= 1
        claimed[share] += 1
        send(share)

    assert claimed == Counter({share: size for share, size in enumerate(lines) if size})


@given(
    st.lists(
        st.tuples(st.integers(0, MAX_PRIORITY), st.integers(0, 9 * 365)), min_size=2, max_size=2
    )
)
def test_urgent_runs_are_first_and_of_equal_ones_the_oldest(steps: list[tuple[int, int]]) -> None:
    first, second = sorted(steps, key=lambda one: (-one[0], one[1]))
    at = [timedelta(days=days) + place_in_line(priority) for priority, days in (first, second)]
    assert at[0] <= at[1]
    # Neither what is sent nor what a pause parks, a hundred years from now, is taken for a place.
    now = timedelta(days=9 * 365)
    assert now + SENT_UNTIL < now + 100 * YEAR < now + IN_LINE_FROM < min(at)


def test_cost_is_shared_by_half_a_window() -> None:
    assert [to_send(20, unclaimed) for unclaimed in (0, 10, 11, 20, 35)] == [20, 10, 0, 0, 0]
    assert [to_send(1, unclaimed) for unclaimed in (0, 1)] == [1, 0]
