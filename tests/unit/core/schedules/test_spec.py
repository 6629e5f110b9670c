"""Schedules that can never work are refused where they are given."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from flowq.core.errors import InvalidInput
from flowq.core.schedules.spec import CatchUp, Overlap, ScheduleSpec, checked, choice

SPEC = ScheduleSpec(name="nightly", flow_name="f", cron="0 2 * * *")
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"name": ""}, "1 to 120 printable characters"),
        ({"name": "x" * 121}, "1 to 120 printable characters"),
        ({"name": "a\nb"}, "1 to 120 printable characters"),
        ({"name": "eu/backfill"}, "whose part 'backfill' means"),
        ({"name": "../nightly"}, "whose part '..' means"),
        ({"every": HOUR}, "both cron and every"),
        ({"cron": None}, "neither cron nor every"),
        ({"cron": "0 2 * *"}, "4 fields and not 5"),
        ({"cron": "0 0 2 * * *"}, r"6 fields and not 5(.|\n)*every=timedelta\(seconds=30\)"),
        ({"cron": "@daily"}, "1 fields and not 5"),
        ({"cron": "60 2 * * *"}, "bad minute"),
        ({"cron": "0 2 * * fri-mon"}, "bad day-of-week"),
        ({"cron": "0 0 30 2 *"}, "bad day-of-month"),
        ({"timezone": "Europe/Berlim"}, "'Europe/Berlim', which is not known here"),
        ({"timezone": "../../etc/passwd"}, "not known here"),
        ({"timezone": ""}, "not known here"),
        ({"cron": None, "every": timedelta(0)}, r"every=0:00:00"),
        ({"cron": None, "every": timedelta(milliseconds=999)}, "give 0:00:01 to 3660 days"),
        ({"jitter": timedelta(days=2)}, "jitter=2 days"),
        ({"jitter": -HOUR}, "jitter=-1 day"),
        ({"cron": None, "every": HOUR, "jitter": 2 * HOUR}, "give 0 to 1:00:00"),
        ({"starts_at": datetime(2030, 1, 1)}, "without a time zone"),  # noqa: DTZ001
        ({"starts_at": datetime.min.replace(tzinfo=timezone(HOUR))}, "outside the years"),
        (
            {
                "starts_at": datetime(2030, 1, 2, tzinfo=UTC),
                "ends_at": datetime(2030, 1, 1, tzinfo=UTC),
            },
            "before it starts",
        ),
        ({"catch_up_limit": 0}, "catch_up_limit=0"),
        ({"catch_up_limit": 1001}, "give 1 to 1000"),
        ({"catch_up": CatchUp.ALL}, "only one would get a whole run"),
    ],
)
def test_what_cannot_work_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        checked(SPEC.model_copy(update=change))
    assert caught.match(words) or pytest.fail(str(caught.value))


def test_times_are_kept_in_utc_and_expressions_in_one_form() -> None:
    begin = datetime(2030, 1, 1, 2, tzinfo=timezone(2 * HOUR))
    spec = checked(
        SPEC.model_copy(update={"cron": " 0  2 * * mon ", "starts_at": begin, "name": "n"})
    )

    assert ("0 2 * * mon", begin) == (spec.cron, spec.starts_at)
    assert spec.starts_at is not None
    assert spec.starts_at.tzinfo is UTC


def test_digests_tell_definitions_apart() -> None:
    same = SPEC.model_copy(update={"inputs": {"a": 1, "b": 2}})
    swapped = SPEC.model_copy(update={"inputs": {"b": 2, "a": 1}})

    assert same.digest == swapped.digest
    assert same.digest != SPEC.model_copy(update={"inputs": {"a": True, "b": 2}}).digest


def test_choices_name_what_there_is() -> None:
    assert Overlap.CANCEL_RUNNING is choice(Overlap, "overlap", "cancel_running")
    with pytest.raises(InvalidInput, match="one of: skip, queue, allow, cancel_running"):
        choice(Overlap, "overlap", "wait")


@pytest.mark.parametrize(
    "seconds, words",
    [
        (3600, "every hour"),
        (5400, "every 90 minutes"),
        (1.5, "every 1.5 seconds"),
        (172800, "every 2 days"),
    ],
)
def test_intervals_have_words(seconds: float, words: str) -> None:
    assert (
        words == SPEC.model_copy(update={"cron": None, "every": timedelta(seconds=seconds)}).timing
    )
