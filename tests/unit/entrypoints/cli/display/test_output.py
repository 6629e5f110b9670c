"""How times, sums and addresses are written, and what a result looks like."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import BaseModel

from flowq.entrypoints import formatting
from flowq.entrypoints.cli.display.output import print_result
from flowq.entrypoints.cli.display.show import Failure
from flowq.entrypoints.formatting import short_ids


@pytest.mark.parametrize(
    "seconds, text",
    [
        (None, ""),
        (-1, "0 ms"),
        (0.0312, "31 ms"),
        (1, "1.0 s"),
        (59.94, "59.9 s"),
        (61, "1 min 01 s"),
        (3_600, "1 h 00 min"),
        (90_000, "25 h 00 min"),
    ],
)
def test_length_of_time(seconds: float | None, text: str) -> None:
    assert text == formatting.duration(seconds)


@pytest.mark.parametrize(
    "seconds, text", [(3, "3 s ago"), (130, "2 min ago"), (7_300, "2 h ago"), (200_000, "2 d ago")]
)
def test_moment(seconds: float, text: str) -> None:
    assert text == formatting.ago(datetime.now(UTC) - timedelta(seconds=seconds))


@pytest.mark.parametrize(
    "cost, text", [("0", "$0"), ("0.00123", "$0.0012"), ("1234.5", "$1,234.50")]
)
def test_money(cost: str, text: str) -> None:
    assert text == formatting.money(Decimal(cost))


class Model(BaseModel):
    name: str
    size: Decimal


@pytest.mark.parametrize(
    "value, text",
    [
        (None, ""),
        ("a [bold]text[/]", "a [bold]text[/]\n"),
        (Path("a/b"), "a/b\n"),
        (5, "5\n"),
    ],
)
def test_plain_result_is_printed_as_it_is(
    value: object, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    print_result(value)

    assert text == capsys.readouterr().out


def test_bytes_are_written_unchanged(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    print_result(b"\x00\xff")

    assert b"\x00\xff" == capfdbinary.readouterr().out


def test_model_is_printed_as_json_and_never_cut(capsys: pytest.CaptureFixture[str]) -> None:
    """A pipe gets all of it."""
    name = "ü" * 10_000

    print_result([Model(name=name, size=Decimal("1.5"))])

    assert [{"name": name, "size": "1.5"}] == json.loads(capsys.readouterr().out)


def test_ids_are_shortened_while_they_differ() -> None:
    same = "01a1fc49-0ee1-7425-88c1-4bfb25278e33"
    later = "01a1fc49-0ee2-7425-88c1-4bfb25278e33"
    same_millisecond = "01a1fc49-0ee1-7425-88c2-4bfb25278e33"

    assert ["01a1fc49-0ee1-7425", "01a1fc49-0ee2-7425"] == short_ids([same, later])
    assert ["01a1fc49-0ee1-7425-88c1", "01a1fc49-0ee1-7425-88c2"] == short_ids(
        [same, same_millisecond]
    )


def test_place_of_a_failure_is_the_last_frame() -> None:
    trace = (
        "Traceback (most recent call last):\n"
        '  File "/app/flows.py", line 3, in outer\n    inner()\n'
        '  File "/app/flows.py", line 9, in inner\n    raise ValueError\nValueError\n'
    )

    assert "/app/flows.py:9, in inner" == Failure("s", "ValueError", "", traceback=trace).place
    assert None is Failure("s", "ValueError", "").place


def test_place_of_a_failure_is_in_the_users_code_when_a_library_raised() -> None:
    trace = (
        '  File "/app/flows.py", line 9, in parse\n    httpx.get(url)\n'
        '  File "/app/.venv/lib/python3.11/site-packages/httpx/_api.py", line 1, in get\n'
        "httpx.ConnectError: refused\n"
    )
    only_library = (
        '  File "/usr/lib/python3.11/json/decoder.py", line 355, in raw_decode\nValueError\n'
    )

    assert Failure("s", "E", "", traceback=trace).place == "/app/flows.py:9, in parse"
    assert Failure("s", "E", "", traceback=only_library).place == (
        "/usr/lib/python3.11/json/decoder.py:355, in raw_decode"
    )


def test_causes_are_lines_that_say_what_they_are_to_the_error() -> None:
    causes = [
        {"relation": "member", "error_type": "ValueError", "message": "1", "place": "a.py:1, in f"},
        {"relation": "cause", "error_type": "TypeError", "message": "no", "place": "m.py:53, in p"},
        {"relation": "context", "error_type": "KeyError", "message": "", "place": None},
    ]

    assert formatting.causes(causes) == [
        "with ValueError: 1, at a.py:1, in f",
        "caused by TypeError: no, at m.py:53, in p",
        "raised while handling KeyError",
    ]
    assert formatting.causes(None) == []
