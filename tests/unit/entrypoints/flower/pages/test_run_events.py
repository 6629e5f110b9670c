"""The lines of the events tab: clocks differ, and what is read in one order is shown in it."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from flowq.entrypoints.flower.pages.run.events import EventLine, merged

_NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def line(second: float, what: str) -> EventLine:
    return EventLine(_NOON + timedelta(seconds=second), "KIND", what)


def test_a_run_that_ends_before_its_last_step_by_other_clocks_is_shown_after_it() -> None:
    events = [line(0, "started"), line(2, "step completed"), line(1.9, "run completed")]

    assert [one.what for one in merged(events, [line(1, "noted"), line(3, "deleted")])] == [
        "started",
        "noted",
        "step completed",
        "run completed",
        "deleted",
    ]


@given(st.lists(st.integers(0, 9)), st.lists(st.integers(0, 9)))
def test_events_keep_their_order_and_nothing_is_lost(events: list[int], actions: list[int]) -> None:
    emitted = [line(second, f"e{number}") for number, second in enumerate(events)]
    done = [line(second, f"a{number}") for number, second in enumerate(actions)]

    shown = merged(emitted, done)

    assert [one for one in shown if one in emitted] == emitted
    between = [one for one in shown if one in done]
    assert between == sorted(done, key=lambda one: one.at)
    assert len(shown) == len(emitted) + len(done)
    for place, one in enumerate(shown):
        if one in done:
            before = [other for other in shown[:place] if other in emitted]
            assert all(other.at < one.at for other in before)
